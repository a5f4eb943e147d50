import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPflash, FLASH_SECTOR, SnapshotError } from '../src/index.ts'
import type { FlashMode, Pflash, PflashOptions, PflashSnapshot } from '../src/index.ts'

const create = (options: Partial<PflashOptions> = {}): { flash: Pflash, data: Uint8Array, modes: FlashMode[] } => {
  const data = new Uint8Array(4 * FLASH_SECTOR).fill(0xff)
  const modes: FlashMode[] = []
  return { flash: createPflash({ data, onMode: (mode) => modes.push(mode), ...options }), data, modes }
}
/** Writes bytes to one address, one after the other. */
const command = (flash: Pflash, at: number, ...bytes: number[]): void => {
  for (const byte of bytes) flash.handlers.write(at, 1, byte)
}
const status = (flash: Pflash): number => {
  command(flash, 0, 0x70)
  return flash.handlers.read(0, 1)
}

describe('a flash', () => {
  it('shows its array at power-on, and after READ ARRAY', () => {
    const { flash, data, modes } = create()
    data[5] = 0x12
    expect(flash.handlers.read(4, 4)).toBe(0xffff_12ff)
    command(flash, 0, 0x90, 0xff)
    expect(flash.handlers.read(5, 1)).toBe(0x12)
    expect(modes).toEqual(['command', 'array'])
  })

  it('programs a byte and then shows its status: ready', () => {
    const { flash, data } = create()
    command(flash, 100, 0x40, 0x5a)
    expect([data[100], flash.handlers.read(7, 1), flash.mode()]).toEqual([0x5a, 0x80, 'command'])
  })

  it('programs all bytes of a wide write', () => {
    const { flash, data } = create()
    command(flash, 8, 0x10)
    flash.handlers.write(8, 4, 0x0403_0201)
    expect([...data.subarray(8, 12)]).toEqual([1, 2, 3, 4])
  })

  it('programs ones to zeroes only', () => {
    const { flash, data } = create()
    command(flash, 0, 0x40, 0xf0, 0x40, 0x3c)
    expect(data[0]).toBe(0x30)
  })

  it('erases the sector of an address, and nothing beside it', () => {
    const { flash, data } = create()
    data.fill(0)
    command(flash, FLASH_SECTOR + 17, 0x20, 0xd0)
    expect(data.map((byte) => byte & 1).reduce((sum, bit) => sum + bit, 0)).toBe(FLASH_SECTOR)
    expect([data[FLASH_SECTOR - 1], data[FLASH_SECTOR], data[2 * FLASH_SECTOR]]).toEqual([0, 0xff, 0])
  })

  it('leaves the sector alone when the erase is not confirmed, and says that it was no command', () => {
    const { flash, data } = create()
    data.fill(0)
    command(flash, 0, 0x20, 0x11)
    expect([data[0], status(flash)]).toEqual([0, 0xb0])
  })

  it('programs a buffer at its confirmation', () => {
    const { flash, data } = create()
    command(flash, 0x1000, 0xe8)
    expect(flash.handlers.read(0x1000, 1)).toBe(0x80)
    command(flash, 0x1000, 2)
    for (let i = 0; i < 3; i++) command(flash, 0x1010 + i, 0x10 + i)
    expect(data[0x1010]).toBe(0xff)
    command(flash, 0x1000, 0xd0)
    expect([...data.subarray(0x1010, 0x1014)]).toEqual([0x10, 0x11, 0x12, 0xff])
  })

  it('programs no buffer that reaches out of its block', () => {
    const { flash, data } = create()
    command(flash, 0, 0xe8, 0)
    command(flash, 0x2000, 0x11)
    command(flash, 0, 0xd0)
    expect([data[0x2000], status(flash) & 0x30]).toEqual([0xff, 0x30])
  })

  it('answers firmware\'s probe as the flash of its platform does: a cleared status is 0', () => {
    const { flash, data } = create()
    data[0] = 0x22
    command(flash, 0, 0x50)
    expect(flash.handlers.read(0, 1)).toBe(0x22)
    expect(status(flash)).toBe(0)
  })

  it('keeps its contents when it is read-only, and says why', () => {
    const { flash, data } = create({ readOnly: true })
    command(flash, 0, 0x40, 0)
    expect(status(flash)).toBe(0x90)
    command(flash, 0, 0x50, 0x20, 0xd0)
    expect([status(flash), data[0], flash.changed()]).toEqual([0xa0, 0xff, false])
  })

  it('tells its maker and its geometry', () => {
    const { flash } = create()
    command(flash, 0, 0x90)
    expect([flash.handlers.read(0, 1), flash.handlers.read(1, 1)]).toEqual([0x89, 0x18])
    command(flash, 0, 0xff, 0x98)
    const at = (offset: number): number => flash.handlers.read(offset, 1)
    expect(String.fromCharCode(at(0x10), at(0x11), at(0x12))).toBe('QRY')
    expect([at(0x27), at(0x2c), at(0x2d) + 1, (at(0x2f) | at(0x30) << 8) * 256]).toEqual([14, 1, 4, FLASH_SECTOR])
    expect([at(0), at(0x1000)]).toEqual([0, 0])
  })

  it('goes on from a snapshot, in another flash of the same contents', () => {
    const first = create()
    command(first.flash, 0x1004, 0x40, 0x77, 0xe8, 1)
    command(first.flash, 0x1008, 0x55)
    const saved = JSON.parse(JSON.stringify(first.flash.snapshot())) as PflashSnapshot
    const second = create()
    command(second.flash, 0x2000, 0x40, 0)
    second.flash.restore(saved)
    expect([second.data[0x1004], second.data[0x2000], second.flash.mode()]).toEqual([0x77, 0xff, 'command'])
    command(second.flash, 0x1009, 0x66, 0xd0)
    expect([...second.data.subarray(0x1008, 0x100a)]).toEqual([0x55, 0x66])
  })

  it('refuses a snapshot that does not fit', () => {
    const { flash } = create()
    const saved = flash.snapshot()
    const broken: PflashSnapshot[] = [
      { ...saved, changed: { 9: 'ff'.repeat(FLASH_SECTOR) } }, { ...saved, changed: { 1: 'ff' } },
      { ...saved, buffer: [[0, 256]] }, { ...saved, state: { ...saved.state, expected: 1e6 } },
    ]
    for (const wrong of broken) expect(() => { flash.restore(wrong) }).toThrow(SnapshotError)
  })

  it('survives any writes, and its snapshot always fits it', () => {
    const access = fc.tuple(fc.nat(4 * FLASH_SECTOR - 4), fc.constantFrom(1, 2, 4), fc.oneof(
      fc.constantFrom(0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xd0, 0xe8, 0xf0, 0xff), fc.nat(0xffff)))
    fc.assert(fc.property(fc.array(access, { maxLength: 200 }), (accesses) => {
      const { flash } = create()
      for (const [at, size, value] of accesses) {
        flash.handlers.write(at, size, value)
        expect(flash.handlers.read(at, size)).toBeLessThan(2 ** (8 * size))
      }
      create().flash.restore(flash.snapshot())
    }), { numRuns: 60 })
  })
})
