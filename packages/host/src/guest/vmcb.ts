/** The VMCB of a guest's processor, in host memory (APM vol. 2, appendix B). */
import type { PhysicalMemory } from '@cofferdam/memory'
import {
  Intercept3, Intercept4, InterceptDr, NestedControl, SevFeatures, VirtualInterrupt, VirtualizationControl, VmcbControl,
  type FieldValue,
} from '@cofferdam/spec'

const PAGE = 4096
/** Vectors. */
const [DB, AC] = [1, 17]

type Fields = (typeof VmcbControl)['fields']

/** The control area of one VMCB. */
export interface Vmcb {
  /** System physical address, for VMRUN. */
  readonly address: number
  get<K extends keyof Fields>(field: K): FieldValue<Fields[K]>
  set<K extends keyof Fields>(field: K, value: FieldValue<Fields[K]>): void
}

/** A view of the VMCB at a page of the host's. */
export function createVmcb(memory: PhysicalMemory, page: number): Vmcb {
  // A view of the one page: V8 misjudges the length of views over more than 2 GiB in code that it has optimised. Frames
  // may move, so the view is made anew when the page lies elsewhere.
  let at = memory.backPage(page)
  let view = new DataView(memory.wasm.buffer, at, PAGE)
  const here = (): DataView => {
    const now = memory.backPage(page)
    if (now !== at) {
      at = now
      view = new DataView(memory.wasm.buffer, at, PAGE)
    }
    return view
  }
  return {
    address: page * PAGE,
    get: (field) => VmcbControl.get(here(), field),
    set(field, value) { VmcbControl.set(here(), field, value) },
  }
}

/** What an SNP guest's VMCB says from the start. */
export interface VmcbSetup {
  readonly asid: number
  readonly nestedCr3: number
  readonly msrpm: number
  readonly iopm: number
  /** The SEV features that its VMSAs have; the processor refuses others (§15.36.20). */
  readonly sevFeatures: bigint
  /** There are others that a processor could spin for. */
  readonly hasOthers: boolean
}

/**
 * PAUSE exits after this many in a row (§15.14.4), when they come within the threshold of each other; so a processor
 * that spins gives its turn away.
 */
const PAUSE = { count: 32, threshold: 1000 } as const

/**
 * Sets a new VMCB up as an SEV-ES host does: what the guest cannot do itself comes back, as #VMEXIT or as #VC inside
 * the guest (APM vol. 2, §15.35.5).
 */
export function setUpVmcb(vmcb: Vmcb, { asid, nestedCr3, msrpm, iopm, sevFeatures, hasOthers }: VmcbSetup): void {
  vmcb.set('intercept3', Intercept3.pack({
    INTR: 1, NMI: 1, SMI: 1, INIT: 1, CPUID: 1, RDPMC: 1, INVD: 1, PAUSE: hasOthers ? 1 : 0, HLT: 1, INVLPGA: 1,
    IOIO_PROT: 1, MSR_PROT: 1, TASK_SWITCH: 1, SHUTDOWN: 1,
  }))
  vmcb.set('intercept4', Intercept4.pack({
    VMRUN: 1, VMMCALL: 1, VMLOAD: 1, VMSAVE: 1, STGI: 1, CLGI: 1, SKINIT: 1, WBINVD: 1, MONITOR: 1, MWAIT: 1, RDPRU: 1,
  }))
  interceptDebugging(vmcb, sevFeatures)
  vmcb.set('pauseFilterCount', PAUSE.count)
  vmcb.set('pauseFilterThreshold', PAUSE.threshold)
  vmcb.set('iopmBasePa', BigInt(iopm))
  vmcb.set('msrpmBasePa', BigInt(msrpm))
  vmcb.set('guestAsid', asid)
  vmcb.set('virtualInterrupt', VirtualInterrupt.mask.V_INTR_MASKING)
  vmcb.set('nestedControl', NestedControl.pack({ NP_ENABLE: 1n, SEV_ENABLE: 1n, SEV_ES_ENABLE: 1n }))
  vmcb.set('nestedCr3', BigInt(nestedCr3))
  vmcb.set('allowedSevFeatures', sevFeatures | (1n << 63n))
  vmcb.set('virtualizationControl', VirtualizationControl.mask.LBR)
}

/**
 * Intercepts of what could keep a processor in its microcode for ever (#AC, #DB), and of DR7, without which a guest
 * cannot use breakpoints: hosts do not switch DR0 to DR3. Debug swap does (Linux arch/x86/kvm/svm/sev.c,
 * sev_es_init_vmcb).
 */
function interceptDebugging(vmcb: Vmcb, sevFeatures: bigint): void {
  const swaps = (sevFeatures & SevFeatures.mask.DebugSwap) !== 0n
  vmcb.set('interceptException', (1 << AC) | (swaps ? 0 : 1 << DB))
  vmcb.set('interceptDr', swaps ? 0 : InterceptDr.pack({ reads: 1 << 7, writes: 1 << 7 }))
}

/** Bytes of the permission maps (§15.10.1, §15.11). */
export const IOPM_BYTES = 0x3000
export const MSRPM_BYTES = 0x2000

/** MSRs that the processor switches or that are harmless: the guest has them without exits. */
const DIRECT: readonly number[] = [
  // SYSENTER_CS, _ESP, _EIP, PAT, XSS, SPEC_CTRL, PRED_CMD
  0x174, 0x175, 0x176, 0x277, 0xda0, 0x48, 0x49,
  // EFER, STAR, LSTAR, CSTAR, SFMASK, FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX
  0xc000_0080, 0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103,
  // The GHCB's address, SEV_STATUS, GUEST_TSC_FREQ (which is only there with Secure TSC)
  0xc001_0130, 0xc001_0131, 0xc001_0134,
  // DEBUGCTL and last branches: LBR virtualization
  0x1d9, 0x1db, 0x1dc, 0x1dd, 0x1de,
]

/** The MSR permission map: everything is intercepted but {@link DIRECT}. Two bits for each register, read and write. */
export function msrPermissionMap(): Uint8Array {
  const map = new Uint8Array(MSRPM_BYTES).fill(0xff)
  for (const msr of DIRECT) {
    const [base, first] = msr < 0x2000 ? [0, 0] : msr < 0xc001_0000 ? [0x800, 0xc000_0000] : [0x1000, 0xc001_0000]
    const bit = (msr - first) * 2
    map[base + (bit >> 3)] &= ~(3 << (bit & 7))
  }
  return map
}
