/// <reference types="node" />
import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { Msr } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { Machine, MachineEvent, MachineOptions } from '../src/index.ts'
import { bzImage } from './kernels.ts'

const { rax, rcx, rdx, rbx, r8, r9, r15 } = Reg
const MiB = 2 ** 20
/** Made in the guest of two halves, so that what the host launches does not hold it. */
const [LEFT, RIGHT] = [0x1357_9bdf_0246_8aceen, 0x0f1e_2d3c_4b5a_6978n]
const SECRET = BigInt.asUintN(64, LEFT ^ RIGHT)
const bytesOf = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}

/** Keeps the secret in memory, on its stack and in registers, and exits to its host over and over. */
const kernel = (confidential: boolean) => (asm: Assembler): void => {
  asm.set(rbx, LEFT)
  asm.set(r15, RIGHT)
  asm.alu('xor', r15, rbx)
  asm.set(r8, 0x180_0000)
  asm.store(r8, 0x123, r15) // not aligned
  asm.move(r9, r15)
  asm.bytes(0x0f, 0x20, 0xe0) // mov rax, cr4
  asm.set(rcx, 1 << 9) // OSFXSR
  asm.alu('or', rax, rcx)
  asm.bytes(0x0f, 0x22, 0xe0) // mov cr4, rax
  asm.bytes(0x66, 0x49, 0x0f, 0x6e, 0xc7) // movq xmm0, r15
  asm.label('again')
  if (confidential) {
    asm.set(rax, 0x80) // the host's features
    asm.set(rdx, 0)
    asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
    asm.plain('wrmsr')
    asm.plain('vmgexit')
  }
  asm.jump('again')
}

/** All that a host can read: each page without a key, at any alignment. */
function sightings({ memory }: Machine): number {
  const wanted = bytesOf(SECRET)
  const page = new Uint8Array(4096)
  let found = 0
  for (const { start, length } of memory.ram) {
    for (let at = start; at < start + length; at += 4096) {
      memory.read(at, page)
      if (Buffer.from(page.buffer).includes(wanted)) found++
    }
  }
  return found
}

const run = (cc: 'none' | 'snp', more: Partial<MachineOptions> = {}) => {
  const events: MachineEvent[] = []
  const sent: number[] = []
  const machine = createMachine({
    kernel: bzImage(kernel(cc === 'snp')), append: '', memory: 64 * MiB, vcpus: 1, seed: 1, engine: 'auto', cpu: 'amd',
    cc,
    onSerial: (bytes) => { sent.push(...bytes) }, onEvent: (event) => { events.push(event) },
    ...more,
  })
  const result = machine.run({ instructions: 500_000 })
  const told = JSON.stringify([machine.stats(), events, sent, result], (_, value: unknown) =>
    (typeof value === 'bigint' ? value.toString(16) : value))
  return { machine, told, events }
}

const spellings = [
  SECRET.toString(16), SECRET.toString(10), bytesOf(SECRET).toString('hex'), bytesOf(SECRET).toString('base64'),
]

describe('a secret in memory and registers', () => {
  it('of a plain machine is there for whoever looks at its memory', () => {
    const { machine } = run('none')
    expect(machine.stats().instructions).toBeGreaterThan(400_000)
    expect(sightings(machine)).toBe(1)
  })

  it('of an SNP guest is nowhere that its host can look: memory, VMCB, GHCB, events, counters', () => {
    const { machine, told, events } = run('snp')
    expect(machine.stats().snp?.exits['msr:hv-features']).toBeGreaterThan(100)
    expect(events.length).toBeGreaterThan(1000)
    expect(sightings(machine)).toBe(0)
    for (const spelling of spellings) expect(told).not.toContain(spelling)
  })

  it.each(['unmap', 'remap', 'replay', 'flip', 'inject-vc', 'lie-psc', 'refuse-psc'] as const)(
    'of an SNP guest stays there when its host attacks (%s)', (mode) => {
      const { machine, told } = run('snp', { hostile: [{ mode, at: 50_000 }] })
      expect(sightings(machine)).toBe(0)
      for (const spelling of spellings) expect(told).not.toContain(spelling)
    })
})
