import { describe, expect, it } from 'vitest'
import { createPhysicalMemory, IMAGE_PIECE, MemoryImageError, PATTERN_WORDS, pieceBytes } from '../src/index.ts'
import type { MemoryImage, PhysicalMemory } from '../src/index.ts'

const MIB = 2 ** 20
const GIB4 = 2 ** 32
const ram = [{ start: 0, length: 8 * MIB }, { start: GIB4, length: 8 * MIB }]
const create = (fill = 0): PhysicalMemory => createPhysicalMemory({ ram, overhead: MIB, fill })

const contents = (memory: PhysicalMemory): Uint8Array => {
  const out = new Uint8Array(16 * MIB)
  memory.read(0, out.subarray(0, 8 * MIB))
  memory.read(GIB4, out.subarray(8 * MIB))
  return out
}

/** A page whose 64-byte structures differ by constants: it can be kept as a pattern. */
const regularPage = (first: number): Uint8Array => {
  const words = new Uint32Array(1024)
  words.forEach((_, i) => { words[i] = first + (i >>> 4) * 3 + (i & 15) })
  return new Uint8Array(words.buffer)
}

/** Memory with some of everything: contents, zeroes, patterns, untouched pages. */
function used(): PhysicalMemory {
  const memory = create()
  memory.write(0x1ff0, Uint8Array.from({ length: 40 }, (_, i) => i + 1))
  memory.write(0x5000, new Uint8Array(4096)) // in use, and zero
  memory.write(3 * MIB - 1, Uint8Array.from({ length: 2 * MIB }, (_, i) => i * 7 + 1))
  for (let i = 0; i < 8; i++) memory.write(GIB4 + (i + 3) * 4096, regularPage(1000 + i * 64 * 3))
  memory.write(GIB4 + 6 * MIB, regularPage(77))
  memory.write(GIB4 + 7 * MIB, Uint8Array.of(9))
  memory.pack()
  return memory
}

const changed = (change: Partial<MemoryImage>): MemoryImage => ({ ...used().capture(), ...change })

describe('an image of memory', () => {
  it('holds what memory held, and only what was touched', () => {
    const memory = used()
    const image = memory.capture()
    expect(image.contents.map(({ length }) => length))
      .toEqual([...Array.from({ length: 32 }, () => IMAGE_PIECE), 4 * 4096])
    expect([...image.zero]).toEqual([5, 1])
    expect(image.packed.length).toBe(2 * 3)
    expect(image.patterns.length).toBe(2 * PATTERN_WORDS)
    const copy = create()
    copy.restore(image)
    expect(copy.backedBytes()).toBe(memory.backedBytes())
    expect(contents(copy)).toEqual(contents(memory))
  })

  /** An image whose pieces come when they are asked for, and the numbers of those that were. */
  const deferred = (image: MemoryImage): { image: MemoryImage, asked: number[] } => {
    const asked: number[] = []
    const contents = image.contents.map((piece, number) => ({
      length: piece.length,
      load: () => {
        asked.push(number)
        return pieceBytes(piece).slice()
      },
    }))
    return { image: { ...image, contents }, asked }
  }

  it('may give its contents when somebody looks at them, and gives no more', () => {
    const { image, asked } = deferred(used().capture())
    const copy = create()
    copy.restore(image)
    expect(asked).toEqual([])
    expect(copy.backedBytes()).toBe(used().backedBytes())
    const byte = new Uint8Array(1)
    copy.read(0x5000, byte)
    copy.read(GIB4 + 6 * MIB, byte)
    copy.read(7 * MIB, byte)
    expect(asked).toEqual([])
    copy.read(0x1ff0, byte)
    copy.read(0x2000, byte)
    expect([...byte, ...asked]).toEqual([17, 0])
    // A write of part of a page finds the rest of it.
    copy.write(4 * MIB + 4, Uint8Array.of(1))
    expect(asked.length).toBe(2)
    const whole = used()
    whole.write(4 * MIB + 4, Uint8Array.of(1))
    expect(contents(copy)).toEqual(contents(whole))
    expect(asked.toSorted((a, b) => a - b)).toEqual([...image.contents.keys()])
  })

  it('has all its contents in the copy\'s image and in what the copy packs', () => {
    const before = used().capture()
    const { image } = deferred(before)
    for (const packs of [false, true]) {
      const copy = create()
      copy.restore(image)
      if (packs) copy.pack()
      expect(copy.capture()).toEqual({ ...before, packAbove: copy.capture().packAbove })
    }
  })

  it('lets nobody take a piece of another length', () => {
    const before = used().capture()
    const contents = before.contents.map(({ length }) => ({ length, load: () => new Uint8Array(4096) }))
    const copy = create()
    copy.restore({ ...before, contents })
    expect(() => copy.frameWord(2)).toThrow(new MemoryImageError('contents', `expected ${IMAGE_PIECE} bytes, got 4096`))
  })

  it('is the same of the copy, whose frames lie elsewhere', () => {
    const image = used().capture()
    const copy = create()
    copy.restore(image)
    expect(copy.capture()).toEqual(image)
  })

  it('does not change with the memory, and serves many memories', () => {
    const memory = used()
    const image = memory.capture()
    const before = contents(memory)
    memory.write(0x1000, Uint8Array.of(0xff))
    const [one, two] = [create(), create()]
    one.restore(image)
    one.write(0x1000, Uint8Array.of(0xee))
    two.restore(image)
    expect(contents(two)).toEqual(before)
  })

  it('keeps what is untouched as it was at power-on where that is a pattern', () => {
    const memory = create(5)
    memory.write(0x3000, new Uint8Array(4096))
    const copy = create(5)
    copy.restore(memory.capture())
    expect(contents(copy)).toEqual(contents(memory))
  })

  it('holds RAM behind a ROM, and not the ROM', () => {
    const memory = used()
    const rom = memory.reserve(8192)
    memory.cover(1, Math.ceil(rom / 4096) * 4096)
    expect(memory.capture()).toEqual(used().capture())
    const copy = create()
    copy.cover(1, Math.ceil(copy.reserve(8192) / 4096) * 4096)
    copy.restore(memory.capture())
    copy.cover(1)
    expect(contents(copy)).toEqual(contents(used()))
  })

  it('leaves zeroed pages usable: they are written like others', () => {
    const copy = create()
    copy.restore(used().capture())
    copy.write(0x5004, Uint8Array.of(3))
    const out = new Uint8Array(8)
    copy.read(0x5000, out)
    expect([...out]).toEqual([0, 0, 0, 0, 3, 0, 0, 0])
  })

  it.each([
    ['stored', changed({ stored: Uint32Array.of(1, 1, 0, 1) })],
    ['stored', changed({ stored: Uint32Array.of(1, 2, 3) })],
    ['stored', changed({ stored: Uint32Array.of(1, 0) })],
    ['stored', changed({ stored: Uint32Array.of(0, 0xffff_ffff) })],
    ['stored', changed({ stored: Uint32Array.of(2047, 2), zero: new Uint32Array(), contents: [new Uint8Array(8192)] })],
    ['zero', changed({ zero: Uint32Array.of(1, 1) })],
    ['contents', changed({ contents: [new Uint8Array(4096)] })],
    ['patterns', changed({ patterns: new Uint32Array(PATTERN_WORDS + 1) })],
    ['packed', changed({ packed: Uint32Array.of(GIB4 / 4096 + 3, 1, 2) })],
    ['packed', changed({ packed: Uint32Array.of(900, 1, 0) })],
    ['packed', changed({ packed: Uint32Array.of(GIB4 / 4096, 2 ** 24 + 1, 0) })],
    ['keys', changed({
      keys: { keys: Array.from({ length: 2 ** 16 }, () => new Uint8Array(32)), slots: [], pages: [] },
    })],
    ['readAsZero', changed({ readAsZero: Uint32Array.of(1) })],
    ['keys', changed({ keys: { keys: [new Uint8Array(31)], slots: [], pages: [] } })],
    ['keys', changed({ keys: { keys: [], slots: [[1, 1]], pages: [] } })],
    ['keys', changed({ keys: { keys: [], slots: [], pages: [[0, new Uint16Array(512).fill(1)]] } })],
    ['packAbove', changed({ packAbove: Number.NaN })],
  ] as const)('is refused when %s does not fit', (field, image) => {
    expect(() => { create().restore(image) }).toThrow(MemoryImageError)
    expect(() => { create().restore(image) }).toThrow(expect.objectContaining({ field }) as Error)
  })
})
