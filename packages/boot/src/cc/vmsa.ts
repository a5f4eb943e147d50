/** The save area in which an SNP guest's first processor starts. */
import { Efer, SevFeatures, Vmsa, VmcbSegment } from '@cofferdam/spec'
import type { SegmentState, StartState } from '../start-state.ts'

/** Values after reset that a start state does not name (APM vol. 2, table 14-1; PAT: §7.8.1). */
const RESET = {
  gPat: 0x0007_0406_0007_0406n, dr6: 0xffff_0ff0n, dr7: 0x400n, xcr0: 1n, mxcsr: 0x1f80, x87Ftw: 0x5555, x87Fcw: 0x40,
} as const

const segment = ({ selector, attributes, limit, base }: SegmentState): Uint8Array =>
  VmcbSegment.create({ selector, attributes, limit, base })

/** A table register: a segment of which base and limit count. */
const table = ({ base, limit }: { readonly base: bigint, readonly limit: number }): Uint8Array =>
  VmcbSegment.create({ base, limit })

/**
 * The VMSA page of a start state. EFER.SVME is set: VMRUN wants it (APM vol. 2, §15.5.1).
 * @param features Vmsa.sevFeatures; SNPActive is set in any case
 */
export function vmsaOf(state: StartState, features = 0n, vmpl = 0): Uint8Array {
  const { segments, registers } = state
  return Vmsa.create({
    ...RESET, ...registers,
    es: segment(segments.es), cs: segment(segments.cs), ss: segment(segments.ss), ds: segment(segments.ds),
    fs: segment(segments.fs), gs: segment(segments.gs), ldtr: segment(segments.ldtr), tr: segment(segments.tr),
    gdtr: table(state.gdtr), idtr: table(state.idtr),
    rip: state.rip, rflags: state.rflags, cr0: state.cr0, cr3: state.cr3, cr4: state.cr4,
    efer: state.efer | BigInt(Efer.mask.SVME), vmpl, sevFeatures: features | SevFeatures.mask.SNPActive,
  })
}
