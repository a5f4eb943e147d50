import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BackingExhausted, createPhysicalMemory, FRAME_NONE, FRAME_RAM, FRAME_WATCHED } from '../src/index.ts'
import type { PhysicalMemory, RamRange } from '../src/index.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30
const TIB = 2 ** 40

const create = (ram: readonly RamRange[], fill?: number): PhysicalMemory =>
  createPhysicalMemory({ ram, overhead: MIB, ...fill === undefined ? {} : { fill } })
const at0 = (length: number): RamRange[] => [{ start: 0, length }]
const read = (memory: PhysicalMemory, address: number, length: number): number[] => {
  const out = new Uint8Array(length).fill(0xee)
  memory.read(address, out)
  return [...out]
}

describe('RAM', () => {
  it('reads as zero before anybody writes, and takes no frame for it', () => {
    const memory = create(at0(16 * MIB))
    expect(read(memory, 0x1234, 8)).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
    expect(memory.backedBytes()).toBe(0)
  })

  it('keeps what is written, over page ends', () => {
    const memory = create(at0(16 * MIB))
    memory.write(0x1ffd, Uint8Array.of(1, 2, 3, 4, 5, 6))
    expect(read(memory, 0x1ffc, 8)).toEqual([0, 1, 2, 3, 4, 5, 6, 0])
    expect(memory.backedBytes()).toBe(8192)
  })

  it('fills a range and nothing beside it', () => {
    const memory = create(at0(MIB))
    memory.write(0, new Uint8Array(0x4000).fill(9))
    memory.fill(0xfff, 0x2002, 7)
    expect(read(memory, 0xffe, 2)).toEqual([9, 7])
    expect(read(memory, 0x3000, 2)).toEqual([7, 9])
  })

  it('holds what a plain array would hold', () => {
    const write = fc.record({ at: fc.nat(0x5fff), bytes: fc.uint8Array({ minLength: 1, maxLength: 0x1800 }) })
    fc.assert(fc.property(fc.array(write, { maxLength: 12 }), (writes) => {
      const memory = create(at0(0x6000))
      const model = new Uint8Array(0x6000)
      for (const { at, bytes } of writes) {
        memory.write(at, bytes)
        model.set(bytes.subarray(0, 0x6000 - at), at)
      }
      expect(read(memory, 0, 0x6000)).toEqual([...model])
    }), { numRuns: 30 })
  })

  it('costs what is touched: a terabyte with three pages in use', () => {
    const memory = create([{ start: 0, length: 3 * GIB }, { start: 4 * GIB, length: TIB - 3 * GIB }])
    const top = TIB + GIB - 3
    for (const address of [0x1000, 5 * GIB, top]) memory.write(address, Uint8Array.of(1, 2, 3))
    expect(read(memory, top, 4)).toEqual([1, 2, 3, 0])
    expect(read(memory, 5 * GIB, 3)).toEqual([1, 2, 3])
    expect(memory.backedBytes()).toBe(3 * 4096)
    expect(memory.frameWord((TIB + GIB) / 4096)).toBe(FRAME_NONE)
  })

  it('does not mix up pages that are 16 TiB apart', () => {
    const memory = create(at0(MIB))
    memory.write(0x1000, Uint8Array.of(5))
    expect(read(memory, 16 * TIB + 0x1000, 1)).toEqual([0])
    expect(memory.frameWord(2 ** 32 + 1)).toBe(FRAME_NONE)
  })

  it('gives each page a frame of its own, outside the memory kept for processors', () => {
    const memory = create(at0(MIB))
    const frames = Array.from({ length: 256 }, (_, page) => memory.backPage(page))
    expect(new Set(frames).size).toBe(256)
    expect(Math.min(...frames)).toBeGreaterThanOrEqual(MIB)
    expect(frames.every((frame) => frame % 4096 === 0)).toBe(true)
    expect(memory.backPage(3)).toBe(frames[3])
    expect(memory.frameWord(3)).toBe(frames[3] + FRAME_RAM)
  })
})

describe('what is no RAM', () => {
  const holes = (): PhysicalMemory => create([{ start: 0, length: 0xa_0000 }, { start: MIB, length: MIB }])

  it('reads as zero and loses what is written', () => {
    const memory = holes()
    memory.write(0x9_fffe, Uint8Array.of(1, 2, 3, 4))
    expect(read(memory, 0x9_fffe, 4)).toEqual([1, 2, 0, 0])
    expect(memory.frameWord(0xa0)).toBe(FRAME_NONE)
  })

  it('is never backed', () => {
    expect(() => holes().backPage(0xa0)).toThrow('page 0xa0 is no RAM')
    expect(() => holes().backPage(0x10_0000)).toThrow('no RAM')
  })

  it('is not watched, and does not become RAM by being watched', () => {
    const memory = holes()
    for (const page of [0xa0, 0x10_0000]) {
      memory.watchPage(page, true)
      expect(memory.frameWord(page)).toBe(FRAME_NONE)
      memory.watchPage(page, false)
      expect(memory.frameWord(page)).toBe(FRAME_NONE)
    }
    memory.write(0xa_0000, Uint8Array.of(1))
    expect(memory.backedBytes()).toBe(0)
  })
})

describe('ranges of RAM', () => {
  it.each([
    ['a start inside a page', [{ start: 0x800, length: 0x1000 }], 'RAM at 0x800'],
    ['a length that is no multiple of 4096', [{ start: 0, length: 0x1001 }], 'multiples of 4096'],
    ['no length', [{ start: 0x1000, length: 0 }], 'RAM at 0x1000'],
    ['an overlap', [{ start: 0x2000, length: 0x1000 }, { start: 0, length: 0x3000 }], 'RAM at 0x2000 overlaps'],
    ['an end above 16 TiB', [{ start: 16 * TIB - 4096, length: 8192 }], 'above 16 TiB'],
  ])('refuses %s', (_what, ram, message) => {
    expect(() => create(ram)).toThrow(RangeError)
    expect(() => create(ram)).toThrow(message)
  })

  it('may come in any order', () => {
    const memory = create([{ start: 4 * GIB, length: MIB }, { start: 0, length: MIB }])
    expect(memory.ram.map(({ start }) => start)).toEqual([0, 4 * GIB])
  })
})

describe('the pattern at power-on', () => {
  it('has no zero word, in any page, and differs by page and by seed', () => {
    const words = (page: number, seed: number): Uint32Array => {
      const memory = create(at0(MIB), seed)
      expect(memory.filled).toBe(true)
      return memory.views.u32.slice(memory.backPage(page) / 4, memory.backPage(page) / 4 + 1024)
    }
    const all = [words(0, 1), words(1, 1), words(0, 2)]
    for (const one of all) expect(one.includes(0)).toBe(false)
    expect(new Set(all.map((one) => one.join())).size).toBe(3)
    expect(words(0, 1)).toEqual(all[0])
  })

  it('is what a read finds before any write, and stays around what is written', () => {
    const [memory, other] = [create(at0(MIB), 7), create(at0(MIB), 7)]
    const untouched = read(memory, 0x3000, 16)
    expect(untouched).not.toEqual(new Array(16).fill(0))
    other.write(0x3004, Uint8Array.of(1))
    expect(read(other, 0x3000, 16)).toEqual([...untouched.slice(0, 4), 1, ...untouched.slice(5)])
  })
})

describe('watched pages', () => {
  const watched = (): { memory: PhysicalMemory; heard: [number, number][] } => {
    const memory = create(at0(MIB))
    const heard: [number, number][] = []
    memory.onWrite((address, length) => { heard.push([address, length]) })
    memory.watchPage(1, true)
    return { memory, heard }
  }

  it('tell of every write, page by page, after the write', () => {
    const { memory, heard } = watched()
    memory.watchPage(2, true)
    const seen: number[] = []
    memory.onWrite((address) => { seen.push(...read(memory, address, 1)) })
    memory.write(0xffe, Uint8Array.of(1, 2, 3, 4))
    memory.fill(0x1ffe, 4, 9)
    expect(heard).toEqual([[0x1000, 2], [0x1ffe, 2], [0x2000, 2]])
    expect(seen).toEqual([3, 9, 9])
  })

  it('are silent about reads, and when they are no longer watched', () => {
    const { memory, heard } = watched()
    read(memory, 0x1000, 4)
    memory.watchPage(1, false)
    memory.write(0x1000, Uint8Array.of(1))
    expect(heard).toEqual([])
  })

  it('keep the flag when they get a frame, and the frame when they lose the flag', () => {
    const { memory } = watched()
    expect(memory.frameWord(1)).toBe(FRAME_RAM | FRAME_WATCHED)
    const frame = memory.backPage(1)
    expect(memory.frameWord(1)).toBe(frame + (FRAME_RAM | FRAME_WATCHED))
    memory.watchPage(1, false)
    expect(memory.frameWord(1)).toBe(frame + FRAME_RAM)
  })

  it('do not make the neighbours watched, in a range that shares its untouched pages', () => {
    const memory = create(at0(64 * MIB))
    memory.watchPage(0x1001, true)
    expect(memory.frameWord(0x1000)).toBe(FRAME_RAM)
    expect(memory.frameWord(0x3001)).toBe(FRAME_RAM)
    expect(create(at0(64 * MIB)).frameWord(0x1001)).toBe(FRAME_RAM)
  })
})

describe('the memory kept for processors', () => {
  it('is handed out in pieces of 64 bytes that do not overlap', () => {
    const memory = create(at0(MIB))
    const [a, b, c] = [memory.reserve(1), memory.reserve(65), memory.reserve(64)]
    expect([a % 64, b - a, c - b]).toEqual([0, 64, 128])
  })

  it('ends', () => {
    const memory = create(at0(MIB))
    expect(() => memory.reserve(MIB)).toThrow(`${MIB} bytes do not fit in the memory kept for processors`)
  })
})

describe('more touched pages than can be backed', () => {
  it('is an error of its own that names the limit, and what was written before stays', () => {
    const memory = createPhysicalMemory({ ram: at0(8 * GIB), overhead: 4 * GIB - 4 * MIB })
    const touch = (): void => { for (let page = 1; page < 2000; page++) memory.write(page * 4096, Uint8Array.of(page)) }
    expect(touch).toThrow(BackingExhausted)
    expect(touch).toThrow('the guest touched more memory than the 4095 MiB that can back it here')
    expect(memory.backedBytes()).toBeLessThanOrEqual(4 * MIB)
    expect(read(memory, 0x1000, 1)).toEqual([1])
  })

  it('cannot happen where RAM and what is kept fit below 4 GiB', () => {
    const memory = createPhysicalMemory({ ram: at0(8 * MIB), overhead: MIB })
    memory.fill(0, 8 * MIB, 1)
    expect(memory.backedBytes()).toBe(8 * MIB)
  })
})
