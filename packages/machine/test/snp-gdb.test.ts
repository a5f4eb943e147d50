import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { describe, expect, it } from 'vitest'
import { createGdbStub, createMachine, inspectProcessor } from '../src/index.ts'
import type { Machine } from '../src/index.ts'
import { framePacket } from '../src/gdb/packets.ts'
import { bzImage } from './kernels.ts'

const { rax, rbx, r8 } = Reg
const SECRET = 0x5ec2_e75e_c2e7_5ec3n
const PLACE = 0x180_0000
/** Where `bzImage` puts the code: the 64-bit entry behind the protected-mode code's start. */
const create = (code: (asm: Assembler) => void): Machine => createMachine({
  kernel: bzImage(code), append: '', memory: 64 * 2 ** 20, vcpus: 2, seed: 1, engine: 'auto', cpu: 'amd', cc: 'snp',
})
/** Writes a secret, then counts in RBX for ever. */
const counting = (asm: Assembler): void => {
  asm.set(rax, SECRET)
  asm.set(r8, PLACE)
  asm.store(r8, 0, rax)
  asm.set(rbx, 0)
  asm.set(rax, 1)
  asm.label('again')
  asm.alu('add', rbx, rax)
  asm.jump('again')
}

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0))
/** Asks gdb's questions of a machine that stands. */
function attach(machine: Machine): (text: string) => string | undefined {
  const sent: string[] = []
  const stub = createGdbStub({ machine, send: (text) => { sent.push(text) } })
  return (text) => {
    sent.length = 0
    stub.receive(bytes(framePacket(text)))
    return sent.filter((s) => s.startsWith('$')).map((s) => s.slice(1, -3)).at(-1)
  }
}
const hex = (value: bigint): string =>
  [...new Uint8Array(BigUint64Array.of(value).buffer)].map((b) => b.toString(16).padStart(2, '0')).join('')

describe('a debugger of an SNP guest', () => {
  it('sees the guest\'s registers and its memory in plain text, which the host does not', () => {
    const machine = create(counting)
    machine.run({ instructions: 1_000_000 })
    const cpu = inspectProcessor(machine)
    expect(cpu.get('r8')).toBe(BigInt(PLACE))
    expect(cpu.get('rbx')).toBeGreaterThan(100n)
    expect(new BigUint64Array(cpu.read(BigInt(PLACE), 8).buffer)).toEqual(BigUint64Array.of(SECRET))
    const ask = attach(machine)
    expect(ask(`m${PLACE.toString(16)},8`)).toBe(hex(SECRET))
    expect(ask('p8')).toBe(hex(BigInt(PLACE)))
    expect(cpu.write(BigInt(PLACE), Uint8Array.of(1, 2))).toBe(true)
    expect([...cpu.read(BigInt(PLACE), 3)]).toEqual([1, 2, Number(SECRET >> 16n & 0xffn)])
  })

  it('has nothing to show of a processor that the guest has not started', () => {
    const machine = create(counting)
    machine.run({ instructions: 1_000_000 })
    const ask = attach(machine)
    expect(ask('Hg2')).toBe('OK')
    expect(ask('p0')).toBe('x'.repeat(16))
    expect(ask(`m${PLACE.toString(16)},8`)).toBe('E0e')
    expect(() => inspectProcessor(machine, 1).get('rax')).toThrow('processors: 1: nothing runs there')
  })

  it('steps, and stops at breakpoints and writes', () => {
    const machine = create(counting)
    machine.run({ instructions: 1_000_000 })
    const cpu = inspectProcessor(machine)
    const before = cpu.get('rbx')
    machine.step(0)
    machine.step(0)
    expect(cpu.get('rbx')).toBe(before + 1n)
    const at = cpu.get('rip')
    machine.watch([{ kind: 'execute', address: at, length: 1 }])
    machine.step(0)
    for (let n = 2n; n < 5n; n++) {
      expect(machine.run({ instructions: 1_000_000 })).toMatchObject({ reason: 'watch', cpu: 0 })
      expect(cpu.get('rip')).toBe(at)
    }
    machine.watch([])
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'budget' })
  })

  it('changes nothing by looking', () => {
    const [one, other] = [create(counting), create(counting)]
    for (const machine of [one, other]) machine.run({ instructions: 500_000 })
    const cpu = inspectProcessor(one)
    for (let i = 0; i < 10; i++) cpu.read(BigInt(PLACE), 4096)
    for (const machine of [one, other]) machine.run({ instructions: 500_000 })
    const [left, right] = [one, other].map((machine) => machine.stats())
    expect(left.instructions).toBe(right.instructions)
    expect(left.virtualTime).toBe(right.virtualTime)
    expect(inspectProcessor(other).get('rbx')).toBe(cpu.get('rbx'))
  })
})
