import { describe, expect, it } from 'vitest'
import { createMachine, inspectProcessor, MachineError, registerNames } from '../src/index.ts'
import type { Machine, RegisterName } from '../src/index.ts'
import { ENTRY, flatKernel } from './kernels.ts'

const start = (code: string, vcpus = 1): Machine => createMachine({
  kernel: flatKernel(code), append: '', memory: 16 * 2 ** 20, vcpus, seed: 1, engine: 'auto', cpu: 'intel',
  traceHash: true,
})

/** Page tables (32-bit, 4 MiB pages) with 4 MiB of linear addresses from C0000000h on at 400000h; then a loop. */
const paged = `
  b8 10000000 0f22e0                                      ; CR4.PSE
  c705 00002000 83000000 c705 000c2000 83004000           ; page directory at 200000h
  b8 00002000 0f22d8 0f20c0 0d 00000080 0f22c0            ; CR3, CR0.PG
  c705 040000c0 78563412 b9 efbeadde ebfe                 ; mov [C0000004h], 12345678h; mov ecx, DEADBEEFh; jmp $
`

describe('a processor from outside', () => {
  it('has its registers by name', () => {
    const machine = start(paged)
    machine.run({ instructions: 100 })
    const cpu = inspectProcessor(machine)
    expect(cpu.get('rcx')).toBe(0xdead_beefn)
    expect(cpu.get('cr3')).toBe(0x20_0000n)
    expect(cpu.get('cr0') >> 31n).toBe(1n)
    expect(cpu.get('rip')).toBeGreaterThan(BigInt(ENTRY))
    expect(registerNames.every((name) => cpu.get(name) >= 0n)).toBe(true)
    expect(registerNames.length).toBe(65)
  })

  it('goes on with registers that were written', () => {
    const machine = start('40 ebfd') // inc eax; jmp $ - 1
    machine.run({ instructions: 2 })
    const cpu = inspectProcessor(machine)
    cpu.set('rax', 1000n)
    cpu.set('xmm3', (1n << 127n) | 5n)
    machine.run({ instructions: 2 })
    expect(cpu.get('rax')).toBe(1001n)
    expect(cpu.get('xmm3')).toBe((1n << 127n) | 5n)
    cpu.set('rip', BigInt(ENTRY))
    expect(cpu.get('rip')).toBe(BigInt(ENTRY))
  })

  it('sees memory by virtual addresses, as far as it is mapped', () => {
    const machine = start(paged)
    machine.run({ instructions: 100 })
    const cpu = inspectProcessor(machine)
    expect([...cpu.read(0xc000_0004n, 4)]).toEqual([0x78, 0x56, 0x34, 0x12])
    expect(cpu.write(0xc000_0006n, Uint8Array.of(1, 2, 3))).toBe(true)
    const physical = new Uint8Array(8)
    machine.memory.read(0x40_0004, physical)
    expect([...physical]).toEqual([0x78, 0x56, 1, 2, 3, 0, 0, 0])
    expect(cpu.read(0xc040_0000n, 16).length).toBe(0)
    expect(cpu.read(0xc03f_fff0n, 32).length).toBe(16)
    expect(cpu.write(0xc03f_fffen, Uint8Array.of(1, 2, 3))).toBe(false)
  })

  it('is not changed by looking', () => {
    const machine = start(paged)
    machine.run({ instructions: 100 })
    const before = machine.snapshot()
    const cpu = inspectProcessor(machine)
    for (const name of registerNames) cpu.get(name)
    cpu.read(0xc000_0000n, 8192)
    expect({ ...machine.snapshot(), fork: 0 }).toEqual({ ...before, fork: 0 })
  })

  it('refuses what there is not', () => {
    const machine = start('ebfe', 2)
    const cpu = inspectProcessor(machine, 1)
    expect(() => inspectProcessor(machine, 2)).toThrow('processors: number: 2; expected 0 to 1')
    expect(() => inspectProcessor(machine, 0.5)).toThrow(MachineError)
    expect(() => cpu.get('rxx' as RegisterName)).toThrow('registers: rxx: there is no such register')
    expect(() => { cpu.set('cr3' as 'rax', 0n) }).toThrow('registers: cr3: it cannot be written')
    expect(() => { cpu.set('rax', 1n << 64n) }).toThrow('expected a number of 64 bits')
    expect(() => { cpu.set('rax', -1n) }).toThrow('expected a number of 64 bits')
    expect(() => cpu.read(0n, -1)).toThrow('memory: length: -1')
  })
})
