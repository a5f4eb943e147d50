import { describe, expect, it } from 'vitest'
import {
  AttestationReport, BootParams, CPUID_PAGE_MAX, CpuidFunction, CpuidPageHeader, Cr0, E820Entry, EfiGuid, EXCEPTIONS,
  Fadt, Ghcb, guidBytes, Msr, PageEntry, PSC_MAX_ENTRIES, PscHeader, REPORT_SIGNED_BYTES, RMP_ENTRY_BYTES,
  RmpEntryHigh, RmpEntryLow, SecretsPage, SegmentAttributes, SegmentDescriptor, SetupHeader, SevFeatures, SevStatus,
  SnpIdAuth, SnpPageInfo, VmcbControl, VmcbSave, Vmsa,
} from '../src/index.ts'

describe('facts', () => {
  it('of control registers pack to known values', () => {
    expect(Cr0.pack({ PE: 1, MP: 1, ET: 1, NE: 1, WP: 1, AM: 1, PG: 1 })).toBe(0x8005_0033)
    expect(Cr0.describe(0x6000_0010)).toBe('ET NW CD')
  })
  it('of descriptors agree with the attributes that the VMCB keeps', () => {
    // A 64-bit code segment as Linux has it, and its attributes in a VMCB.
    const descriptor = 0x00af_9b00_0000_ffffn
    const low = (descriptor >> 40n) & 0xffn
    const high = (descriptor >> 52n) & 0xfn
    const attributes = Number(low | (high << 8n))
    expect(SegmentAttributes.unpack(attributes)).toMatchObject({ type: 0xb, S: 1, DPL: 0, P: 1, L: 1, DB: 0, G: 1 })
    expect(SegmentDescriptor.unpack(descriptor)).toMatchObject({ type: 0xbn, S: 1n, P: 1n, L: 1n, DB: 0n, G: 1n,
      limitHigh: 0xfn })
  })
  it('of the boot protocol fill boot_params without overlap', () => {
    // The header ends before the EDD signatures; the e820 table has room for 128 entries.
    expect(SetupHeader.size).toBeLessThanOrEqual(BootParams.offset.eddMbrSigBuffer)
    expect(BootParams.offset.e820Table + 128 * E820Entry.size).toBeLessThanOrEqual(BootParams.offset.eddbuf)
    expect(SetupHeader.offset.setupSects).toBeGreaterThan(BootParams.offset.sentinel)
  })
  it('of the FADT end where revision 6 ends', () => {
    expect(Fadt.offset.hypervisorVendor + 8).toBe(276)
  })
  it('of exceptions are in order, and error codes stand where they are pushed', () => {
    EXCEPTIONS.reduce((last, e) => { expect(e.vector).toBeGreaterThan(last); return e.vector }, -1)
    expect(EXCEPTIONS.filter((e) => e.errorCode).map((e) => e.vector)).toEqual([8, 10, 11, 12, 13, 14, 17, 21, 29, 30])
  })
  it('of MSRs are numbers of 32 bits', () => {
    for (const index of Object.values(Msr)) expect(index >>> 0).toBe(index)
  })
  it('of page-table entries leave bits 58:52 to software', () => {
    expect(~PageEntry.used & 0xffff_ffff_ffff_ffffn).toBe(0x07f0_0000_0000_0e00n)
  })
  it('of GUIDs are mixed-endian', () => {
    expect([...guidBytes(EfiGuid.ACPI_20)]).toEqual(
      [0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0, 0x80, 0xc7, 0x3c, 0x88, 0x81])
    expect(() => guidBytes('8868e871')).toThrow(RangeError)
  })
  it('of the VMCB and the VMSA agree where both keep the same state', () => {
    const shared = Object.keys(VmcbSave.offset).filter((name) => name in Vmsa.offset) as (keyof typeof Vmsa.offset)[]
    expect(shared.length).toBeGreaterThan(35)
    for (const name of shared) {
      expect([name, Vmsa.offset[name]]).toEqual([name, VmcbSave.offset[name as keyof typeof VmcbSave.offset]])
    }
    expect(VmcbControl.size + VmcbSave.size).toBe(Vmsa.size)
  })
  it('of SEV features stand two bits higher in SEV_STATUS', () => {
    const status: Record<string, unknown> = SevStatus.fields
    const low = (name: string): string => name.replaceAll('_', '').toLowerCase()
    const byName = new Map(Object.entries(status).map(([name, bit]) => [low(name), bit]))
    let met = 0
    for (const [name, bit] of Object.entries(SevFeatures.fields)) {
      const found = byName.get(low(name))
      if (found === undefined) continue
      met += 1
      expect([name, found]).toEqual([name, bit + 2])
    }
    expect(met).toBeGreaterThan(12)
  })
  it('of the GHCB have the registers where the VMSA has them', () => {
    for (const name of ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'r8', 'r15', 'xcr0', 'cpl', 'dr7'] as const) {
      expect([name, Ghcb.offset[name]]).toEqual([name, Vmsa.offset[name]])
    }
    expect(PscHeader.size + 8 * PSC_MAX_ENTRIES).toBe(Ghcb.fields.sharedBuffer[1])
  })
  it('of the RMP fill one entry without a reserved low bit in use', () => {
    expect(RmpEntryLow.used >> 63n).toBe(0n)
    expect(RmpEntryLow.get(0x6000_0000_1234_5003n, 'gpa')).toBe(0x12345n)
    expect(RmpEntryHigh.used >> 64n).toBe(0n)
    expect(RMP_ENTRY_BYTES).toBe(16)
  })
  it('of the firmware fit their pages', () => {
    expect(CpuidPageHeader.size + CPUID_PAGE_MAX * CpuidFunction.size).toBeLessThanOrEqual(4096)
    expect(AttestationReport.offset.signature).toBe(REPORT_SIGNED_BYTES)
    expect(SnpPageInfo.offset.gpa + 8).toBe(0x70)
    expect(SnpIdAuth.offset.authorKey + 1028).toBe(SnpIdAuth.offset.reserved3)
    // Where Linux looks for the calling area's address and the guest's VMPL.
    expect([SecretsPage.offset.svsmCaa, SecretsPage.offset.svsmGuestVmpl]).toEqual([0x150, 0x15c])
  })
})
