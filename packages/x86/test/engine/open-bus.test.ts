/** Code outside of RAM: devices give its bytes, and all ones come from where nobody is. */
import { describe, expect, it } from 'vitest'
import { AT, createBare } from './bare.ts'
import type { Bare } from './bare.ts'

/** Behind the RAM of `createBare`, inside of what it maps. */
const RAM = 0x10_0000
const DEVICE = RAM + 0x1000

describe.each(['interp', 'jit'] as const)('code outside of RAM, with the %s engine', (engine) => {
  const create = (device: (offset: number) => number): { bare: Bare, reads: number[] } => {
    const reads: number[] = []
    const bare = createBare({ width: 32, engine, ramBytes: RAM })
    bare.memory.mmio.attach({
      name: 'device', start: DEVICE, length: 0x1000, handlers: {
        read: (offset) => {
          reads.push(offset)
          return device(offset)
        },
        write: () => undefined,
      },
    })
    return { bare, reads }
  }
  const rom = (bytes: readonly number[], from = 0) => (offset: number): number => bytes[offset - from] ?? 0x90

  it('is all ones where nobody answers: FF FF is no instruction', () => {
    const { bare } = create(() => 0)
    bare.program('b8 00 00 20 00 ff e0 ; mov eax,200000h; jmp eax')
    bare.run(20)
    expect(bare.events()[0]).toMatchObject({ vector: 6, rip: 0x20_0000n })
  })

  it('is what a device answers, with loops, and goes on in RAM', () => {
    // mov ecx,5; again: inc ebx; dec ecx; jnz again; ret
    const { bare } = create(rom([0xb9, 5, 0, 0, 0, 0x43, 0x49, 0x75, 0xfc, 0xc3]))
    bare.program(`b8 00 10 10 00 ff d0 f4 ; mov eax,${DEVICE.toString(16)}h; call eax; hlt`)
    bare.run()
    expect([bare.get('rbx'), bare.get('rcx')]).toEqual([5n, 0n])
  })

  it('is fetched anew each time it runs', () => {
    // mov al,imm8, which counts reads; then hlt.
    let n = 0
    const { bare } = create((offset) => (offset === 0 ? 0xb0 : offset === 1 ? ++n : 0xf4))
    bare.program('b9 00 10 10 00 ff e1 ; mov ecx,DEVICE; jmp ecx')
    for (const expected of [1n, 2n, 3n]) {
      bare.jump(AT.code)
      bare.run()
      expect(bare.get('rax')).toBe(expected)
    }
  })

  it('may begin in RAM, and end there: instructions across the ends of pages', () => {
    const { bare } = create(() => 0)
    // RAM's last byte is the opcode of mov eax,imm32; the operand and hlt are the device's.
    const near = rom([0x11, 0x22, 0x33, 0x44, 0xf4])
    bare.memory.mmio.attach({
      name: 'near', start: RAM, length: 0x1000, handlers: { read: near, write: () => undefined },
    })
    bare.poke(RAM - 1, 0xb8)
    bare.jump(RAM - 1)
    bare.run()
    expect(bare.get('rax')).toBe(0x4433_2211n)
  })

  it('crosses from one such page into the next', () => {
    const { bare, reads } = create(rom([0x22, 0x33, 0x44, 0xf4]))
    const near = (offset: number): number => (offset === 0xffe ? 0xb8 : 0x11)
    bare.memory.mmio.attach({
      name: 'near', start: RAM, length: 0x1000, handlers: { read: near, write: () => undefined },
    })
    bare.jump(DEVICE - 2)
    bare.run()
    expect(bare.get('rax')).toBe(0x4433_2211n)
    expect(reads.length).toBeGreaterThan(0)
  })

  it('counts as many instructions as run, in slices of any length', () => {
    for (const slice of [1, 2, 7]) {
      const { bare } = create(rom([0xb9, 5, 0, 0, 0, 0x43, 0x49, 0x75, 0xfc, 0xf4]))
      bare.jump(DEVICE)
      let done = 0
      while (!bare.processor.halted) done += bare.processor.run(slice)
      expect([slice, done, bare.get('rbx')]).toEqual([slice, 17, 5n])
    }
  })
})
