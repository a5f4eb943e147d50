import { describe, expect, it } from 'vitest'
import { createPhysicalMemory, FRAME_NONE, FRAME_RAM, FRAME_ROM, FRAME_WATCHED } from '../src/index.ts'
import type { PhysicalMemory } from '../src/index.ts'

const PAGE = 4096
const create = (): { memory: PhysicalMemory, rom: number } => {
  const memory = createPhysicalMemory({ ram: [{ start: 0, length: 16 * PAGE }], overhead: 2 ** 20 })
  const rom = Math.ceil(memory.reserve(2 * PAGE) / PAGE) * PAGE
  memory.views.u8.fill(0xaa, rom, rom + PAGE)
  return { memory, rom }
}
const byteAt = (memory: PhysicalMemory, address: number): number => {
  const out = new Uint8Array(1)
  memory.read(address, out)
  return out[0]
}

describe('a page with a device in front', () => {
  it('reads as the device\'s frame, and its word says that writes are not RAM\'s', () => {
    const { memory, rom } = create()
    memory.cover(3, rom)
    expect(byteAt(memory, 3 * PAGE + 5)).toBe(0xaa)
    expect(memory.frameWord(3)).toBe(rom + FRAME_RAM + FRAME_ROM)
    expect(memory.backPage(3)).toBe(rom)
  })

  it('loses what DMA and loaders write, and keeps the RAM below', () => {
    const { memory, rom } = create()
    memory.write(3 * PAGE, Uint8Array.of(1))
    memory.cover(3, rom)
    memory.write(3 * PAGE - 1, Uint8Array.of(7, 8))
    memory.fill(3 * PAGE, PAGE, 9)
    expect([byteAt(memory, 3 * PAGE - 1), byteAt(memory, 3 * PAGE)]).toEqual([7, 0xaa])
    memory.cover(3)
    expect(byteAt(memory, 3 * PAGE)).toBe(1)
    memory.write(3 * PAGE, Uint8Array.of(2))
    expect(byteAt(memory, 3 * PAGE)).toBe(2)
  })

  it('is no memory while the device hides its contents', () => {
    const { memory, rom } = create()
    memory.cover(3, rom)
    memory.cover(3, 0)
    expect(memory.frameWord(3)).toBe(FRAME_NONE)
    memory.cover(3)
    expect(memory.frameWord(3)).toBe(FRAME_RAM)
  })

  it('may lie where there is no RAM', () => {
    const { memory, rom } = create()
    memory.cover(0xf_ffff, rom)
    expect(byteAt(memory, 0xffff_ffff)).toBe(0xaa)
    memory.cover(0xf_ffff)
    expect(memory.frameWord(0xf_ffff)).toBe(FRAME_NONE)
  })

  it('tells watchers that everything in it changed, and is watched no more', () => {
    const { memory, rom } = create()
    const heard: [number, number][] = []
    memory.onWrite((address, length) => { heard.push([address, length]) })
    memory.watchPage(3, true)
    memory.cover(3, rom)
    memory.cover(3, 0)
    expect(heard).toEqual([[3 * PAGE, PAGE]])
    memory.cover(3)
    expect(memory.frameWord(3) & FRAME_WATCHED).toBe(0)
  })
})
