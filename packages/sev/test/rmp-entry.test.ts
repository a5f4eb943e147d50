import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeRmpEntry, encodeRmpEntry, type RmpFields } from '@cofferdam/sev'

const entry: fc.Arbitrary<RmpFields> = fc.record({
  assigned: fc.boolean(), large: fc.boolean(), immutable: fc.boolean(), asid: fc.nat(1023), vmsa: fc.boolean(),
  guestPage: fc.integer({ min: 0, max: 2 ** 39 - 1 }), validated: fc.boolean(),
  permissions: fc.integer({ min: 0, max: 0xffff_ffff }), inUse: fc.boolean(),
})

describe('an RMP entry in memory', () => {
  it('is taken apart into what it was put together from, whatever is counted in it', () => {
    fc.assert(fc.property(entry, fc.nat(511), (fields, subpages) => {
      const { low, high } = encodeRmpEntry(fields, subpages)
      expect(decodeRmpEntry(low, high)).toEqual(fields)
    }))
  })

  it('has its fields where Zen 3 has them', () => {
    expect(encodeRmpEntry({
      assigned: true, large: true, immutable: false, guestPage: 1, asid: 2, vmsa: true, validated: true,
      permissions: 0xf, inUse: false,
    })).toEqual({ low: 0x6010_0000_0000_1003n, high: 0xfn })
  })
})
