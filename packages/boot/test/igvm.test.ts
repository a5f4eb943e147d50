import {
  IgvmHeader, IgvmMemoryMapEntry, IgvmPlatform, IgvmSupportedPlatform, IgvmType, SevFeatures, Vmsa,
} from '@cofferdam/spec'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BootError, igvmLaunch, isIgvm, parseIgvm, VMSA_GPA, writeIgvm } from '../src/index.ts'
import type { IgvmDirective, IgvmImage, IgvmLaunchOptions } from '../src/index.ts'
import { crc32 } from '../src/efi/crc32.ts'

const MiB = 2 ** 20
const PAGE = 4096

const vmsa = Vmsa.create({ sevFeatures: SevFeatures.mask.SNPActive, rip: 0x10_0000n })
const vp: IgvmDirective = { kind: 'vp', gpa: VMSA_GPA, vp: 0, vmsa }
const area: IgvmDirective = { kind: 'area', index: 3, length: 2 * PAGE }
const page = (gpa: number, byte = 1): IgvmDirective =>
  ({ kind: 'page', gpa, length: PAGE, type: 'normal', bytes: new Uint8Array(PAGE).fill(byte) })

const image: IgvmImage = {
  policy: 0x3_0000n,
  directives: [
    area, { kind: 'parameter', what: 'memory map', index: 3, offset: 0x10 },
    { kind: 'parameter', what: 'VP count', index: 3, offset: 0 },
    { kind: 'parameter', what: 'command line', index: 3, offset: 0x1000 },
    { kind: 'parameter', what: 'MADT', index: 3, offset: 0x1100 }, page(0x10_0000),
    { kind: 'required', gpa: 0x10_0000, length: 0x10_0000 }, { kind: 'insert', gpa: 0x20_0000, index: 3 }, vp,
  ],
}

const ram = [{ start: 0, length: 0xa_0000 }, { start: MiB, length: 63 * MiB }]
const facts: Omit<IgvmLaunchOptions, 'file'> = {
  ram, vcpus: 2, cmdline: 'quiet', acpi: { apicIds: [0, 1] },
  mmio: [{ start: 64 * MiB, length: MiB }, { start: 2 ** 40, length: 2 ** 30 }],
}
const launch = (directives: readonly IgvmDirective[], more: Partial<typeof facts> = {}) =>
  igvmLaunch({ file: { name: 'a.igvm', bytes: writeIgvm({ directives }) }, ...facts, ...more })

/** A file with changes, and its checksum right again. */
function changed(change: (view: DataView, bytes: Uint8Array) => void, from = writeIgvm(image)): Uint8Array {
  const bytes = from.slice()
  const view = new DataView(bytes.buffer)
  change(view, bytes)
  const end = Math.min(
    bytes.length, IgvmHeader.get(view, 'variableHeaderOffset') + IgvmHeader.get(view, 'variableHeaderSize'),
  )
  IgvmHeader.set(view, 'checksum', 0)
  IgvmHeader.set(view, 'checksum', crc32(bytes.subarray(0, end)))
  return bytes
}

/** Where the content of the nth header of a type begins. */
function contentOf(bytes: Uint8Array, type: number): number {
  const view = new DataView(bytes.buffer)
  for (let at = IgvmHeader.size; at < bytes.length; at += 8 + Math.ceil(view.getUint32(at + 4, true) / 8) * 8) {
    if (view.getUint32(at, true) === type) return at + 8
  }
  throw new Error('there is none')
}
const at = (type: number): number => contentOf(writeIgvm(image), type)

describe('an IGVM file', () => {
  it('has its magic, version, sizes and checksum where the format has them', () => {
    const bytes = writeIgvm({ directives: [vp] })
    const view = new DataView(bytes.buffer)
    expect(new TextDecoder().decode(bytes.subarray(0, 4))).toBe('IGVM')
    // Two headers, 8 + 16 and 8 + 20 bytes, each up to a multiple of 8; then the VMSA.
    expect([4, 8, 12, 16].map((offset) => view.getUint32(offset, true))).toEqual([1, 24, 56, 24 + 56 + PAGE])
    expect([24, 28].map((offset) => view.getUint32(offset, true))).toEqual([IgvmType.SUPPORTED_PLATFORM, 16])
    expect(bytes[24 + 8 + 5]).toBe(IgvmPlatform.SEV_SNP)
    expect([48, 52].map((offset) => view.getUint32(offset, true))).toEqual([IgvmType.VP_CONTEXT, 20])
    // The file offset of the VMSA.
    expect(view.getUint32(48 + 8 + 12, true)).toBe(24 + 56)
    expect(isIgvm(bytes)).toBe(true)
    expect(isIgvm(new Uint8Array(3))).toBe(false)
  })

  it('reads as it was written', () => {
    expect(parseIgvm(writeIgvm(image), 'a.igvm')).toEqual(image)
    const kinds = fc.constantFrom('normal', 'unmeasured', 'shared', 'secrets', 'cpuid')
    const pages = fc.array(fc.record({
      kind: fc.constant('page'), gpa: fc.nat(2 ** 30).map((n) => n * PAGE), length: fc.constant(PAGE), type: kinds,
    }))
    fc.assert(fc.property(pages, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (some, policy) => {
      const given: IgvmImage = { policy, directives: [...some as IgvmDirective[], vp] }
      expect(parseIgvm(writeIgvm(given), 'a.igvm')).toEqual(given)
    }))
  })

  it('is read for SEV-SNP among several platforms: what is for others is passed over', () => {
    const bytes = changed((view) => {
      // The platform gets bit 1; the page stays with bit 0, somebody else's.
      view.setUint32(at(IgvmType.SUPPORTED_PLATFORM), 2, true)
      for (const type of [IgvmType.GUEST_POLICY, IgvmType.PARAMETER_INSERT, IgvmType.VP_CONTEXT]) {
        view.setUint32(at(type) + 8, 2, true)
      }
    })
    expect(parseIgvm(bytes, 'a').directives.filter(({ kind }) => kind === 'page' || kind === 'required')).toEqual([])
  })

  it.each([
    ['a file of nothing', () => new Uint8Array(0), /IGVM header, size: 0 bytes/],
    ['another magic', () => changed((v) => { v.setUint32(0, 1, true) }), /magic: 0x1; expected 0x4d564749/],
    ['version 3', () => changed((v) => { v.setUint32(4, 3, true) }), /format_version: 3; expected 1 or 2/],
    ['version 2 with the header of version 1', () => changed((v) => { v.setUint32(4, 2, true) }), /variable_header_offset: 24; expected 32/],
    ['a file that was cut', () => writeIgvm(image).subarray(0, -1), /total_file_size/],
    ['headers that go past the end', () => changed((v) => { v.setUint32(12, 0x10_0000, true) }), /variable_header_size/],
    ['a checksum of something else', () => {
      const bytes = writeIgvm(image)
      bytes[40] ^= 1
      return bytes
    }, /checksum: 0x[\da-f]+; expected 0x/],
    ['a length that goes past the headers', () => changed((v) => { v.setUint32(at(IgvmType.VP_CONTEXT) - 4, 30, true) }), /VP_CONTEXT.*length 30/],
    ['a length that is not the type\'s', () => changed((v) => { v.setUint32(at(IgvmType.PAGE_DATA) - 4, 23, true) }), /PAGE_DATA.*length 23; expected 24/],
    ['padding that is not zero', () => changed((_, b) => { b[at(IgvmType.VP_CONTEXT) + 20] = 1 }), /VP_CONTEXT.*padding/],
    ['a type that nobody knows', () => changed((v) => { v.setUint32(at(IgvmType.PAGE_DATA) - 8, 0x3ff, true) }), /type 0x3ff.*does not know/],
    ['a section that is over', () => changed((v) => { v.setUint32(at(IgvmType.PAGE_DATA) - 8, IgvmType.GUEST_POLICY, true) }), /GUEST_POLICY.*section that is over/],
    ['no SEV-SNP', () => changed((_, b) => { b[at(IgvmType.SUPPORTED_PLATFORM) + 5] = IgvmPlatform.TDX }), /IGVM platforms: TDX; expected SEV_SNP/],
    ['a mask of two bits', () => changed((v) => { v.setUint32(at(IgvmType.SUPPORTED_PLATFORM), 3, true) }), /compatibility_mask 0x3/],
    ['a virtual top of memory', () => changed((v) => {
      v.setBigUint64(at(IgvmType.SUPPORTED_PLATFORM) + IgvmSupportedPlatform.offset.sharedGpaBoundary, 1n << 46n, true)
    }), /shared_gpa_boundary/],
    ['a page at an odd place', () => changed((v) => { v.setBigUint64(at(IgvmType.PAGE_DATA), 0x10_0800n, true) }), /gpa 0x100800; expected a multiple of 0x1000/],
    ['contents outside of the file', () => changed((v) => { v.setUint32(at(IgvmType.PAGE_DATA) + 12, 0x100_0000, true) }), /PAGE_DATA.*file_offset 0x1000000/],
    ['contents among the headers', () => changed((v) => { v.setUint32(at(IgvmType.PAGE_DATA) + 12, 24, true) }), /PAGE_DATA.*file_offset 0x18/],
    ['flags that are none', () => changed((v) => { v.setUint32(at(IgvmType.PAGE_DATA) + 16, 8, true) }), /flags 0x8/],
    ['a data type that is none', () => changed((v) => { v.setUint16(at(IgvmType.PAGE_DATA) + 20, 4, true) }), /data_type 4/],
    ['reserved bytes', () => changed((v) => { v.setUint16(at(IgvmType.VP_CONTEXT) + 18, 4, true) }), /VP_CONTEXT.*reserved field is 0x4/],
    ['a VMSA without SNP', () => writeIgvm({ directives: [{ ...vp, vmsa: new Uint8Array(PAGE) }] }), /SEV_FEATURES 0x0/],
    ['two first states', () => writeIgvm({ directives: [vp, vp] }), /context of VP 0 is there twice/],
    ['no first state', () => writeIgvm({ directives: [page(0)] }), /no VP_CONTEXT of VP 0/],
    ['a parameter without an area', () => writeIgvm({ directives: [{ kind: 'insert', gpa: 0, index: 1 }, vp] }), /area 1 is not there/],
    ['a parameter after its area is inserted', () => writeIgvm({
      directives: [
        area, { kind: 'insert', gpa: 0, index: 3 }, { kind: 'parameter', what: 'VP count', index: 3, offset: 0 }, vp,
      ],
    }), /area 3 is not there, or was inserted/],
    ['a parameter past its area', () => writeIgvm({ directives: [area, { kind: 'parameter', what: 'VP count', index: 3, offset: 2 * PAGE }, vp] }), /byte_offset 0x2000/],
    ['areas of gigabytes', () => writeIgvm({ directives: [{ kind: 'area', index: 0, length: 2 ** 40 }, vp] }), /number_of_bytes/],
    ['an area of half a page', () => writeIgvm({ directives: [{ kind: 'area', index: 0, length: 2048 }, vp] }), /number_of_bytes 0x800/],
  ] as const)('is refused with %s, which the message names', (_what, bytes, message) => {
    let error: unknown
    try {
      parseIgvm(bytes(), 'a.igvm')
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(BootError)
    expect(String(error)).toMatch(message)
  })

  it('is read or refused with BootError, whatever bytes are changed', () => {
    const original = writeIgvm(image)
    const headers = IgvmHeader.size + IgvmHeader.get(new DataView(original.buffer), 'variableHeaderSize')
    const change = fc.record({
      place: fc.nat(headers - 1), value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
    })
    let read = 0
    fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.boolean(), (changes, whole) => {
      const bytes = changed((_, b) => { for (const { place, value } of changes) b[place] = value }, original)
      try {
        igvmLaunch({ file: { name: 'a', bytes: whole ? bytes : bytes.subarray(0, -PAGE) }, ...facts })
        read++
      } catch (error) {
        if (!(error instanceof BootError)) throw error
      }
    }), { numRuns: 3000 })
    // The checksum is right, so that changes of values get through.
    expect(read).toBeGreaterThan(30)
  })
})

describe('the launch of an IGVM file', () => {
  it('adds pages and VMSA in the file\'s order, and writes what the host has to tell', () => {
    const { launch: pages, policy } = igvmLaunch({ file: { name: 'a', bytes: writeIgvm(image) }, ...facts })
    expect(policy).toBe(0x3_0000n)
    expect(pages.map(({ type, start, length, vp: index }) => [type, start, length, index])).toEqual([
      ['normal', 0x10_0000, PAGE, undefined], ['unmeasured', 0x20_0000, 2 * PAGE, undefined],
      ['vmsa', VMSA_GPA, PAGE, 0],
    ])
    const told = pages[1].bytes ?? new Uint8Array(0)
    const view = new DataView(told.buffer)
    expect(view.getUint32(0, true)).toBe(2)
    const entry = (n: number) => IgvmMemoryMapEntry.read(view, 0x10 + n * IgvmMemoryMapEntry.size)
    ram.forEach(({ start, length }, n) => {
      expect(entry(n)).toMatchObject({
        startingGpaPageNumber: BigInt(start / PAGE), numberOfPages: BigInt(length / PAGE), entryType: 0,
      })
    })
    expect(entry(ram.length).numberOfPages).toBe(0n)
    expect(new TextDecoder().decode(told.subarray(0x1000, 0x1006))).toBe('quiet\0')
    expect(new TextDecoder().decode(told.subarray(0x1100, 0x1104))).toBe('APIC')
  })

  it('is refused when pages meet, when what is told does not fit, and when the host has none', () => {
    const parameter = (
      what: 'VP count' | 'memory map' | 'device tree' | 'command line', offset: number
    ): IgvmDirective =>
      ({ kind: 'parameter', what, index: 3, offset })
    expect(() => launch([page(0), page(PAGE), page(0), vp])).toThrow('a.igvm: page at 0x0: it is added twice')
    expect(() => launch([area, { kind: 'insert', gpa: 0, index: 3 }, page(PAGE), vp]))
      .toThrow('page at 0x1000: it is added twice')
    expect(() => launch([area, parameter('VP count', 2 * PAGE - 3), vp]))
      .toThrow(/parameter VP count: 4 bytes at 0x1ffd/)
    expect(() => launch([area, parameter('command line', 2 * PAGE - 5), vp])).toThrow(/parameter command line: 6 bytes/)
    expect(() => launch([area, parameter('device tree', 0), vp])).toThrow(/parameter device tree: this host has none/)
    expect(() => launch([{ kind: 'required', gpa: 64 * MiB - PAGE, length: 2 * PAGE }, vp])).toThrow(/REQUIRED_MEMORY/)
    expect(() => launch([vp, { ...vp, vp: 2 }])).toThrow('VP_CONTEXT of VP 2: the guest has 2 processors')
  })
})
