import fc from 'fast-check'
import { GhcbError, GhcbMsr, SvmExit, VmgExit } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import {
  GHCB_EXITS, decodeGhcbMsrRequest, decodeGhcbMsrResponse, describeGhcb, describeGhcbMsr, encodeGhcbMsrRequest,
  encodeGhcbMsrResponse, encodePsc, ghcbExposed, ghcbFlaw, ghcbPage, ghcbScratch, readPscEntry, readPscHeader,
  terminationText, writePscCurrent, writePscProgress,
} from '../src/index.ts'
import type { GhcbMsrRequest, GhcbMsrResponse, GhcbPage } from '../src/index.ts'

const gfn = fc.bigInt({ min: 0n, max: 0xff_ffff_ffffn })
const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const request: fc.Arbitrary<GhcbMsrRequest> = fc.oneof(
  fc.constantFrom<GhcbMsrRequest>({ kind: 'sev-info' }, { kind: 'ap-reset-hold' }, { kind: 'preferred-gpa' },
    { kind: 'hv-features' }),
  fc.record({ kind: fc.constant('cpuid' as const), leaf: u32, register: fc.integer({ min: 0, max: 3 }) }),
  fc.record({ kind: fc.constant('register-gpa' as const), gfn }),
  fc.record({ kind: fc.constant('page-state' as const), gfn, operation: fc.integer({ min: 0, max: 15 }) }),
  fc.record({ kind: fc.constant('run-vmpl' as const), vmpl: fc.integer({ min: 0, max: 255 }) }),
  fc.record({
    kind: fc.constant('termination' as const), reasonSet: fc.integer({ min: 0, max: 15 }),
    reason: fc.integer({ min: 0, max: 255 }),
  }),
)
const response: fc.Arbitrary<GhcbMsrResponse> = fc.oneof(
  fc.record({
    kind: fc.constant('sev-info' as const), minVersion: fc.integer({ min: 0, max: 65535 }),
    maxVersion: fc.integer({ min: 0, max: 65535 }), cBit: fc.integer({ min: 0, max: 255 }),
  }),
  fc.record({ kind: fc.constant('cpuid' as const), register: fc.integer({ min: 0, max: 3 }), value: u32 }),
  fc.record({ kind: fc.constantFrom('preferred-gpa' as const, 'register-gpa' as const), gfn: fc.option(gfn) }),
  fc.record({ kind: fc.constantFrom('page-state' as const, 'run-vmpl' as const), errorCode: u32 }),
  fc.record({ kind: fc.constant('hv-features' as const), features: gfn }),
  fc.record({ kind: fc.constant('ap-reset-hold' as const), value: gfn }),
)

describe('the MSR protocol', () => {
  it('says what was said', () => {
    fc.assert(fc.property(request, (r) => {
      expect(decodeGhcbMsrRequest(encodeGhcbMsrRequest(r))).toMatchObject({ message: r, undefinedBits: 0n })
    }))
    fc.assert(fc.property(response, (r) => {
      expect(decodeGhcbMsrResponse(encodeGhcbMsrResponse(r))).toMatchObject({ message: r, undefinedBits: 0n })
    }))
  })
  it('takes any value apart', () => {
    fc.assert(fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      const { message, undefinedBits } = decodeGhcbMsrRequest(value)
      expect(undefinedBits & ~value).toBe(0n)
      if (message !== null && undefinedBits === 0n) expect(encodeGhcbMsrRequest(message)).toBe(value)
      expect(describeGhcbMsr(value).length).toBeGreaterThan(0)
    }))
  })
  it('has the values that Linux writes', () => {
    expect(encodeGhcbMsrRequest({ kind: 'cpuid', leaf: 0x8000_001f, register: 1 })).toBe(0x8000_001f_4000_0004n)
    expect(encodeGhcbMsrRequest({ kind: 'page-state', gfn: 0x12345n, operation: 2 })).toBe(0x0020_0000_1234_5014n)
    expect(encodeGhcbMsrRequest({ kind: 'register-gpa', gfn: 0x2n })).toBe(0x2012n)
    expect(encodeGhcbMsrResponse({ kind: 'sev-info', minVersion: 1, maxVersion: 2, cBit: 51 }))
      .toBe(0x0002_0001_3300_0001n)
    expect(encodeGhcbMsrResponse({ kind: 'preferred-gpa', gfn: null })).toBe(0xffff_ffff_ffff_f011n)
  })
  it('names the bits of a request that its code does not define', () => {
    // f7387eff4bad in Linux: a VMPL request whose code was shifted along with the level.
    const wrong = (BigInt(GhcbMsr.RUN_VMPL_REQ) | 2n) << 32n | BigInt(GhcbMsr.RUN_VMPL_REQ) | 1n << 20n
    expect(decodeGhcbMsrRequest(wrong).undefinedBits).toBe(1n << 20n)
    expect(decodeGhcbMsrRequest(0x1_0000_0002n).undefinedBits).toBe(0x1_0000_0000n)
    expect(decodeGhcbMsrRequest(0x0100_0000_0000_0014n).undefinedBits).toBe(1n << 56n)
    expect(decodeGhcbMsrRequest(0x3ffn)).toMatchObject({ message: null, info: 0x3ff })
  })
  it('tells in words why a guest gave up', () => {
    expect(describeGhcbMsr(0x7_1100n)).toBe('the guest asked to be terminated: '
      + 'the secrets page names no SVSM, but the guest does not run at VMPL0 (Linux reason 0x7)')
    expect(terminationText(9, 0x21)).toContain('unknown reason (set 9 reason 0x21)')
  })
})

/** A page with a valid request. */
function asking(code: number, fields: Partial<Record<Parameters<GhcbPage['set']>[0], bigint>> = {}): GhcbPage {
  const page = ghcbPage(new Uint8Array(4096))
  page.start(2)
  for (const [field, value] of Object.entries({
    swExitCode: BigInt(code), swExitInfo1: 0n, swExitInfo2: 0n, ...fields,
  })) page.set(field as 'rax', value)
  return page
}

describe('the GHCB page', () => {
  it('has a valid bit for each qword', () => {
    const page = ghcbPage(new Uint8Array(4096))
    page.set('rax', 5n)
    // Offset 0x1f8: bit 63 of the bitmap at 0x3f0.
    expect(page.bytes[0x3f0 + 7]).toBe(0x80)
    page.set('x87StateGpa', 1n)
    expect(page.bytes[0x3ff]).toBe(0)
    page.clearValid()
    expect(page.get('rax')).toBeUndefined()
    expect(page.peek('rax')).toBe(5n)
  })
  it('is refused with another usage or version', () => {
    const page = asking(SvmExit.RDTSC)
    expect(ghcbFlaw(page)).toBeNull()
    new DataView(page.bytes.buffer).setUint16(0xffa, 3, true)
    expect(ghcbFlaw(page)?.error).toBe(GhcbError.INVALID_USAGE)
    page.start(2)
    new DataView(page.bytes.buffer).setUint32(0xffc, 1, true)
    expect(ghcbFlaw(page)?.error).toBe(GhcbError.INVALID_USAGE)
  })
  it('has to name the fields of its exit', () => {
    const flaw = (code: number, fields = {}) => ghcbFlaw(asking(code, fields))?.error ?? 0
    expect(flaw(SvmExit.CPUID, { rax: 1n })).toBe(GhcbError.MISSING_INPUT)
    expect(flaw(SvmExit.CPUID, { rax: 1n, rcx: 0n })).toBe(0)
    expect(flaw(SvmExit.CPUID, { rax: 0xdn, rcx: 0n })).toBe(GhcbError.MISSING_INPUT)
    expect(flaw(SvmExit.CPUID, { rax: 0xdn, rcx: 0n, xcr0: 7n })).toBe(0)
    expect(flaw(SvmExit.MSR, { rcx: 1n })).toBe(0)
    expect(flaw(SvmExit.MSR, { rcx: 1n, swExitInfo1: 1n })).toBe(GhcbError.MISSING_INPUT)
    expect(flaw(SvmExit.IOIO, { swExitInfo1: 0x3f8_0010n })).toBe(GhcbError.MISSING_INPUT)
    expect(flaw(SvmExit.IOIO, { swExitInfo1: 0x3f8_0011n })).toBe(0)
    expect(flaw(SvmExit.IOIO, { swExitInfo1: 0x3f8_0015n })).toBe(GhcbError.MISSING_INPUT)
    expect(flaw(VmgExit.AP_CREATION, { swExitInfo1: 1n })).toBe(GhcbError.MISSING_INPUT)
    expect(flaw(VmgExit.AP_CREATION, { swExitInfo1: 2n })).toBe(0)
    expect(flaw(0x1234)).toBe(GhcbError.INVALID_EVENT)
    const silent = ghcbPage(new Uint8Array(4096))
    silent.start(2)
    expect(ghcbFlaw(silent)?.error).toBe(GhcbError.MISSING_INPUT)
  })
  it('should show no register that its exit has no use for, and no bits of RAX beyond a port\'s size', () => {
    const shown = (code: number, fields = {}) => ghcbExposed(asking(code, fields))
    expect(shown(SvmExit.CPUID, { rax: 1n, rcx: 2n, xcr0: 7n })).toEqual([])
    expect(shown(SvmExit.CPUID, { rax: 1n, rcx: 2n, rdx: 0n, rbx: 3n, r15: 4n })).toEqual(['RBX', 'R15'])
    expect(shown(SvmExit.MSR, { rcx: 1n, rax: 5n })).toEqual(['RAX'])
    expect(shown(SvmExit.MSR, { rcx: 1n, rax: 5n, rdx: 6n, swExitInfo1: 1n })).toEqual([])
    const [out8, out16, out32, in8] = [0x3f8_0010n, 0x3f8_0020n, 0x3f8_0040n, 0x3f8_0011n]
    expect(shown(SvmExit.IOIO, { swExitInfo1: out8, rax: 0xffn })).toEqual([])
    expect(shown(SvmExit.IOIO, { swExitInfo1: out8, rax: 0x100n })).toEqual(['bits of RAX beyond the port\'s size'])
    expect(shown(SvmExit.IOIO, { swExitInfo1: out16, rax: 0x1_0000n })).toHaveLength(1)
    expect(shown(SvmExit.IOIO, { swExitInfo1: out32, rax: 0xffff_ffffn })).toEqual([])
    expect(shown(SvmExit.IOIO, { swExitInfo1: in8, rax: 0n })).toEqual([])
    expect(shown(SvmExit.IOIO, { swExitInfo1: in8, rax: 1n })).toEqual(['RAX'])
    expect(shown(SvmExit.VMMCALL, { rax: 1n, cpl: 0n, rbx: 1n })).toEqual([])
  })
  it('keeps its scratch area in the shared buffer', () => {
    const scratch = (at: bigint, bytes: number) => ghcbScratch(asking(1, { swScratch: at }), 0x7000n, bytes)
    expect(scratch(0x7800n, 0x7f0)).toEqual({ ok: true, offset: 0x800, room: 0x7f0 })
    expect(scratch(0x7810n, 0x7f0)).toEqual({ ok: false, error: GhcbError.INVALID_SCRATCH_AREA })
    expect(scratch(0x77f8n, 8)).toEqual({ ok: false, error: GhcbError.INVALID_SCRATCH_AREA })
    expect(scratch(0x9000n, 8)).toEqual({ ok: false, error: GhcbError.INVALID_SCRATCH_AREA })
    expect(scratch(2n ** 64n - 8n, 16)).toMatchObject({ ok: false })
    expect(ghcbScratch(asking(1), 0x7000n, 8)).toEqual({ ok: false, error: GhcbError.MISSING_INPUT })
  })
  it('of any bytes is described and checked without fault', () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 4096, maxLength: 4096 }), fc.constantFrom(...GHCB_EXITS.keys()),
      (bytes, code) => {
        const page = ghcbPage(bytes)
        page.set('swExitCode', BigInt(code))
        expect(describeGhcb(page)).not.toBe('')
        ghcbFlaw(page)
        ghcbExposed(page)
      }))
  })
})

describe('a page state change', () => {
  it('is a list whose progress shows', () => {
    const bytes = encodePsc([{ gfn: 0x200n, large: true }, { gfn: 5n, operation: 2 }])
    expect(readPscHeader(bytes)).toEqual({ current: 0, end: 1 })
    expect(readPscEntry(bytes, 0)).toEqual({ gfn: 0x200n, operation: 1, large: true, currentPage: 0, reserved: 0n })
    writePscProgress(bytes, 0, 512)
    writePscCurrent(bytes, 1)
    expect(readPscHeader(bytes).current).toBe(1)
    expect(readPscEntry(bytes, 0)).toMatchObject({ gfn: 0x200n, currentPage: 512 })
    expect(readPscEntry(bytes, 1)).toMatchObject({ gfn: 5n, operation: 2 })
    expect(() => readPscEntry(bytes, 253)).toThrow(RangeError)
  })
})
