import fc from 'fast-check'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { bits, bits64, layout } from '../src/index.ts'

const Rmp = bits({ assigned: 0, pageSize: 1, immutable: 2, gpa: [50, 12], asid: [60, 51], vmsa: 61, validated: 62 })
const Small = bits({ a: 0, b: [31, 28], c: [7, 4] })

describe('bits', () => {
  it('refuses overlapping fields', () => {
    expect(() => bits({ a: [4, 2], b: 4 })).toThrow('b overlaps a')
  })
  it('refuses a range that is turned round or outside 64 bits', () => {
    expect(() => bits({ a: [2, 4] })).toThrow(RangeError)
    expect(() => bits({ a: 64 })).toThrow(RangeError)
  })
  it('has numbers when all fields lie below bit 32, and bigints above', () => {
    expectTypeOf(Small.used).toEqualTypeOf<number>()
    expectTypeOf(Rmp.used).toEqualTypeOf<bigint>()
    expect(Small.used).toBe(0xf000_00f1)
    expect(Rmp.mask.gpa).toBe(0x7_ffff_ffff_f000n)
    expect(bits64({ a: 3 }).mask.a).toBe(8n)
  })
  it('refuses a value that does not fit into its field', () => {
    expect(() => Small.set(0, 'c', 16)).toThrow(RangeError)
    expect(() => Rmp.pack({ asid: 1024n })).toThrow(RangeError)
    expect(() => Small.set(0, 'c', Number.NaN)).toThrow(RangeError)
  })
  it('packs what it unpacks', () => {
    fc.assert(fc.property(fc.bigInt(0n, 0xffff_ffff_ffff_ffffn), (v) => {
      expect(Rmp.pack(Rmp.unpack(v))).toBe(v & Rmp.used)
    }))
    fc.assert(fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (v) => {
      expect(Small.pack(Small.unpack(v))).toBe((v & Small.used) >>> 0)
    }))
  })
  it('sets one field and leaves the others, declared or not', () => {
    expect(Small.set(0xffff_ffff, 'b', 0)).toBe(0x0fff_ffff)
    expect(Rmp.set(0xffff_ffff_ffff_ffffn, 'gpa', 1n)).toBe(0xfff8_0000_0000_1fffn)
  })
  it('names what is set', () => {
    expect(Small.describe(0x5000_0001)).toBe('a b=0x5')
  })
})

const Info = layout(32, { base: [0, 8], kind: [8, 2], flags: [10, 1], id: [12, 4], tag: [16, 4, 'bytes'],
  rest: [20, 12] })

describe('layout', () => {
  it('refuses overlap and fields outside the structure', () => {
    expect(() => layout(8, { a: [0, 4], b: [3, 2] })).toThrow('b overlaps a')
    expect(() => layout(8, { a: [4, 8] })).toThrow('outside')
  })
  it('is little-endian at the stated offsets', () => {
    const made = Info.create({ base: 0x1122n, kind: 0x3344, id: 0xdead_beef, tag: new Uint8Array([1, 2, 3, 4]) })
    expect([...made.subarray(0, 20)]).toEqual(
      [0x22, 0x11, 0, 0, 0, 0, 0, 0, 0x44, 0x33, 0, 0, 0xef, 0xbe, 0xad, 0xde, 1, 2, 3, 4])
    expect(Info.offset.id).toBe(12)
  })
  it('reads what it wrote, at any base', () => {
    const view = new DataView(new ArrayBuffer(100))
    Info.write(view, { base: 5n, flags: 7 }, 61)
    expect(Info.read(view, 61)).toMatchObject({ base: 5n, flags: 7, kind: 0 })
    expect(Info.get(view, 'base', 61)).toBe(5n)
  })
  it('refuses a view that is too short', () => {
    expect(() => Info.read(new DataView(new ArrayBuffer(31)))).toThrow(RangeError)
    expect(() => { Info.set(new DataView(new ArrayBuffer(40)), 'kind', 1, 9) }).toThrow(RangeError)
  })
  it('refuses values that do not fit', () => {
    expect(() => Info.create({ kind: 0x1_0000 })).toThrow('kind')
    expect(() => Info.create({ base: -1n })).toThrow('base')
    expect(() => Info.create({ tag: new Uint8Array(5) })).toThrow('tag')
  })
})
