/** The VMSA page with which a hypervisor launches a processor at the reset vector, or an AP at another address. */
import { VmcbSegment, Vmsa } from '@cofferdam/spec'

/** Hypervisors whose launches differ. */
export type VmmType = 'qemu' | 'ec2' | 'gce'

/** Where the boot processor starts. */
export const RESET_VECTOR = 0xffff_fff0

/** What a launch is measured with. */
export interface InitialVmsa {
  readonly vmm: VmmType
  /** First instruction; CS is a segment of 64 KiB. */
  readonly eip: number
  /** SEV_FEATURES. */
  readonly features: bigint
  /** CPUID leaf 1 EAX, which QEMU leaves in RDX as a reset does. */
  readonly signature: number
}

interface Quirks {
  readonly cs: number
  readonly ss: number
  readonly tr: number
  readonly pat: bigint
  readonly rdx: number
  readonly mxcsr: number
  readonly fcw: number
}

/** Where hypervisors differ (virtee/sev-snp-measure, vmsa.py). */
function quirks({ vmm, eip, signature }: InitialVmsa): Quirks {
  const pat = 0x0007_0406_0007_0406n
  switch (vmm) {
    case 'qemu': return { cs: 0x9b, ss: 0x93, tr: 0x8b, pat, rdx: signature, mxcsr: 0x1f80, fcw: 0x37f }
    case 'ec2': return { cs: eip === RESET_VECTOR ? 0x9a : 0x9b, ss: 0x92, tr: 0x83, pat, rdx: 0x600, mxcsr: 0, fcw: 0 }
    case 'gce': return { cs: 0x9b, ss: 0x93, tr: 0x8b, pat: 0x7_0106n, rdx: 0x600, mxcsr: 0, fcw: 0 }
  }
}

/** The page's 4096 bytes. */
export function initialVmsa(options: InitialVmsa): Uint8Array {
  const { eip, features } = options
  const q = quirks(options)
  const segment = (attributes: number, selector = 0, base = 0): Uint8Array =>
    VmcbSegment.create({ selector, attributes, limit: 0xffff, base: BigInt(base) })
  const data = segment(0x93)
  return Vmsa.create({
    es: data, cs: segment(q.cs, 0xf000, (eip & 0xffff_0000) >>> 0), ss: segment(q.ss), ds: data, fs: data, gs: data,
    gdtr: segment(0), idtr: segment(0), ldtr: segment(0x82), tr: segment(q.tr),
    // KVM sets EFER.SVME and CR4.MCE for its guests.
    efer: 0x1000n, cr4: 0x40n, cr0: 0x10n, dr7: 0x400n, dr6: 0xffff_0ff0n, rflags: 2n, rip: BigInt(eip & 0xffff),
    gPat: q.pat, rdx: BigInt(q.rdx), sevFeatures: features, xcr0: 1n, mxcsr: q.mxcsr, x87Fcw: q.fcw,
  })
}
