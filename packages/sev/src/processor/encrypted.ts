/** Guests with encrypted state: SEV-ES and SEV-SNP (APM vol. 2, §15.35, §15.36.12). */
import {
  EventInject, Intercept3, Intercept4, SevFeatures, SvmExit, VmcbControl, Vmsa, VmsaInterrupt,
} from '@cofferdam/spec'
import type { Exit, GuestControl, GuestKind, StatePage } from '@cofferdam/x86'
import { EVENT_TYPE, pageAt, SAVE_AT, state, VECTOR, VMEXIT_INVALID, written } from '@cofferdam/x86'
import { vmsaProblem } from '../rmp/vmsa.ts'
import { hasFeature, runAs } from './context.ts'
import type { SevGuest, SevProcessor } from './context.ts'
import { tellDenied } from './faults.ts'
import { loadHostB, loadVmsa, obfuscate, resetC, saveVmsa, wipe } from './vmsa-state.ts'

const V = Vmsa.offset
const C = VmcbControl.offset
const F = SevFeatures.mask
const I3 = Intercept3.mask
const PAGE = 4096
const TWO_32 = 2 ** 32
/** EXITCODE: the VMSA is in use, or marked so. */
const VMEXIT_BUSY = -2
const TSC_ONE = 1n << 32n
const SEV_STATUS = 0xc001_0131
const EVENT_VALID = Number(EventInject.mask.V)

/** Features that this processor serves; VMRUN of a VMSA with another is VMEXIT_INVALID. */
export const SERVED_FEATURES = F.SNPActive | F.vTOM | F.ReflectVC | F.RestrictedInjection | F.AlternateInjection
  | F.DebugSwap | F.PreventHostIBS | F.BTBIsolation | F.SecureTSC | F.VmgexitParameter | F.VmsaRegProt
  | F.SmtProtection | F.IbpbOnEntry

/** Exits that SEV-ES guests take by themselves; all others are #VC (table 15-33). */
const AUTOMATIC: ReadonlySet<number> = new Set([
  SvmExit.EXCP0 + VECTOR.MC, SvmExit.INTR, SvmExit.NMI, SvmExit.SMI, SvmExit.INIT, SvmExit.VINTR, SvmExit.PAUSE,
  SvmExit.HLT, SvmExit.SHUTDOWN, SvmExit.EFER_WRITE_TRAP, SvmExit.BUSLOCK, SvmExit.IDLE_HLT, SvmExit.NPF,
  SvmExit.VMGEXIT, ...Array.from({ length: 16 }, (_, n) => SvmExit.CR0_WRITE_TRAP + n),
])
/** Of these, the instruction is behind the guest when it comes back. */
const ADVANCES: ReadonlySet<number> = new Set([SvmExit.PAUSE, SvmExit.HLT, SvmExit.IDLE_HLT])

/** What may be injected: no software interrupts, no #BP and #OF; with restricted injection only #HV. */
function isInjectionAllowed(event: bigint, features: bigint): boolean {
  if ((event & EventInject.mask.V) === 0n) return true
  const type = Number(EventInject.get(event, 'type'))
  const vector = Number(EventInject.get(event, 'vector'))
  if ((features & F.RestrictedInjection) !== 0n) {
    return type === EVENT_TYPE.EXCEPTION && vector === VECTOR.HV && (event & EventInject.mask.EV) === 0n
  }
  if (type === EVENT_TYPE.EXCEPTION) return vector !== VECTOR.BP && vector !== VECTOR.OF && vector !== VECTOR.HV
  return type !== EVENT_TYPE.SOFTWARE
}

/** The page of a VMCB's VMSA, negative when VMRUN fails; nothing of it is read before the RMP allows that. */
function findVmsa(sev: SevProcessor, vmcb: StatePage, asid: number): number {
  const { memory, rmp, cBit } = sev.shared
  const { u32 } = sev.processor.cpu.views
  const at = (vmcb.frame + C.vmsaPa) >>> 2
  const high = u32[at + 1] & ~(1 << (cBit - 32))
  if (high >>> (sev.system.legal.physicalBits - 32) !== 0) return VMEXIT_INVALID
  const page = high * (TWO_32 / PAGE) + (u32[at] >>> 12)
  if (memory.frameWord(page) === 0) return VMEXIT_INVALID
  if (!rmp.enabled || !rmp.assigned(page)) return page
  const problem = vmsaProblem(rmp, page, asid)
  if (problem !== null) return problem === 'in use' ? VMEXIT_BUSY : VMEXIT_INVALID
  return page
}

/** Words of the VMSA, and of the VMCB, that make a guest what it is. */
const VMSA_WORDS = [
  V.sevFeatures, V.sevFeatures + 4, V.virtualTom, V.virtualTom + 4, V.guestTscScale, V.guestTscScale + 4,
  V.guestTscOffset, V.guestTscOffset + 4,
] as const
const VMCB_WORDS = [C.allowedSevFeatures, C.allowedSevFeatures + 4] as const

/** A guest that a processor has run before: as long as nothing of it changes it is the same. */
export interface KnownGuest {
  readonly control: GuestControl
  readonly page: number
  readonly snp: boolean
  readonly vmpl: number
  readonly words: Int32Array
  readonly kind: EncryptedKind
}

/** A kind that is refreshed for each VMRUN. */
export interface EncryptedKind extends GuestKind {
  readonly guest: SevGuest
  eventInj: bigint
  /** What a snapshot keeps of it beside `guest`, while it is resident. */
  keep(): KeptKind
}

/** A kind without what its guest and the control area say. */
export interface KeptKind {
  /** System page of the VMSA. */
  readonly vmsaPage: number
  readonly tscOffset: bigint
  /** The protected registers of the VMSA are in the clear. */
  readonly shown: boolean
}

/** The kind that `keep` was called on. */
export const keptGuest = (
  sev: SevProcessor, vmcb: number, control: GuestControl, guest: SevGuest, kept: KeptKind,
): EncryptedKind => createKind(
  sev, vmcb, kept.vmsaPage, { ...controlOf(control, guest.features), tscOffset: kept.tscOffset }, guest, kept.shown,
)

function isKnown(sev: SevProcessor, known: KnownGuest, frame: number, vmcb: StatePage): boolean {
  const { i32, u8 } = sev.processor.cpu.views
  if (u8[frame + V.vmpl] !== known.vmpl) return false
  for (let i = 0; i < VMSA_WORDS.length; i++) if (known.words[i] !== i32[(frame + VMSA_WORDS[i]) >>> 2]) return false
  for (let i = 0; i < VMCB_WORDS.length; i++) {
    if (known.words[VMSA_WORDS.length + i] !== i32[(vmcb.frame + VMCB_WORDS[i]) >>> 2]) return false
  }
  return true
}

/** A guest with encrypted state, SNP-active or not; or the EXITCODE that VMRUN fails with. */
export function encryptedGuest(sev: SevProcessor, vmcb: StatePage, control: GuestControl): GuestKind | number {
  const { memory, rmp } = sev.shared
  const { views } = sev.processor.cpu
  const page = findVmsa(sev, vmcb, control.asid)
  if (page < 0) return page
  const snp = rmp.enabled && rmp.assigned(page)
  const { frame } = pageAt(memory, page * PAGE, control.asid)
  let known = sev.known
  if (known?.control !== control || known.page !== page || known.snp !== snp
    || !isKnown(sev, known, frame, vmcb)) {
    const kind = newGuest(sev, vmcb, control, page, snp, frame)
    if (typeof kind === 'number') return kind
    const words = [
      ...VMSA_WORDS.map((offset) => views.i32[(frame + offset) >>> 2]),
      ...VMCB_WORDS.map((offset) => views.i32[(vmcb.frame + offset) >>> 2]),
    ]
    known = { control, page, snp, vmpl: views.u8[frame + V.vmpl], words: Int32Array.from(words), kind }
    sev.known = known
  }
  return refresh(sev, known.kind, vmcb, control, frame)
}

/** What changes from VMRUN to VMRUN: injection, virtual interrupts, where translations may be kept. */
function refresh(
  sev: SevProcessor, kind: EncryptedKind, vmcb: StatePage, control: GuestControl, frame: number,
): GuestKind | number {
  const { guest } = kind
  const { u32, u64 } = sev.processor.cpu.views
  const own = kind.control
  const alternate = hasFeature(guest, 'AlternateInjection')
  own.tlbControl = tlbControl(sev, guest, frame, control)
  own.nextRip = control.nextRip
  guest.ghcb = u64[(vmcb.frame + C.ghcbGpa) >>> 3]
  Object.assign(own.vintr, control.vintr)
  if (!alternate) {
    if (!isInjectionAllowed(control.eventInj, guest.features)) return VMEXIT_INVALID
    own.shadow = control.shadow
    kind.eventInj = control.eventInj
    if (hasFeature(guest, 'RestrictedInjection')) own.vintr.irq = false
    return kind
  }
  const word = u64[(frame + V.vintrCtrl) >>> 3]
  const m = VmsaInterrupt.mask
  if ((word & m.BUSY) !== 0n) return VMEXIT_BUSY
  own.shadow = (word & m.INT_SHADOW) !== 0n
  Object.assign(own.vintr, {
    tpr: Number(word & 0xfn), irq: (word & m.V_IRQ) !== 0n, priority: Number(VmsaInterrupt.get(word, 'intrPrio')),
    ignoresTpr: (word & m.V_IGN_TPR) !== 0n, vector: Number(VmsaInterrupt.get(word, 'vector')),
  })
  kind.eventInj = (u32[(frame + V.eventInj) >>> 2] & EVENT_VALID) === 0 ? 0n : u64[(frame + V.eventInj) >>> 3]
  return kind
}

/** SNP-active guests need not trust their host with stale translations: a VMSA knows which processor it ran on. */
function tlbControl(sev: SevProcessor, guest: SevGuest, frame: number, control: GuestControl): number {
  if (!guest.snp) return control.tlbControl
  const { u32 } = sev.processor.cpu.views
  const at = (frame + V.pcpuId) >>> 2
  const here = sev.processor.index + 1
  const stayed = u32[at] === here && u32[at + 1] === 0
  u32[at] = here
  u32[at + 1] = 0
  return stayed ? control.tlbControl : 3
}

/** Checks what a VMSA asks for, and makes its kind. */
function newGuest(
  sev: SevProcessor, vmcb: StatePage, control: GuestControl, page: number, snp: boolean, frame: number,
): EncryptedKind | number {
  const { views } = sev.processor.cpu
  const word = (offset: number): bigint => views.u64[(frame + offset) >>> 3]
  const features = word(V.sevFeatures)
  const vmpl = views.u8[frame + V.vmpl]
  if (!areFeaturesLegal(features, snp, views.u64[(vmcb.frame + C.allowedSevFeatures) >>> 3]) || vmpl > 3) {
    return VMEXIT_INVALID
  }
  const secureTsc = (features & F.SecureTSC) !== 0n
  const guest: SevGuest = {
    asid: control.asid, sev: true, es: true, snp, vmpl, features, ghcb: 0n,
    tscScale: secureTsc ? word(V.guestTscScale) & 0xff_ffff_ffffn : 0n,
    vtomPage: (features & F.vTOM) !== 0n ? Number((word(V.virtualTom) & 0xf_ffff_ffe0_0000n) >> 12n) : -1,
  }
  const offset = secureTsc ? word(V.guestTscOffset) : control.tscOffset
  return createKind(sev, vmcb.address, page, { ...controlOf(control, features), tscOffset: offset }, guest)
}

function areFeaturesLegal(features: bigint, snp: boolean, allowed: bigint): boolean {
  if (((features & F.SNPActive) !== 0n) !== snp || (features & ~SERVED_FEATURES) !== 0n) return false
  const injections = F.RestrictedInjection | F.AlternateInjection
  return (features & injections) !== injections && (allowed >> 63n === 0n || (features & ~allowed) === 0n)
}

/** The control area with what always applies (§15.36.12, §15.36.16). */
function controlOf(control: GuestControl, features: bigint): GuestControl {
  const alone = (features & (F.RestrictedInjection | F.AlternateInjection)) !== 0n
  return {
    ...control, vintr: { ...control.vintr },
    vector3: control.vector3 | I3.CPUID | I3.IOIO_PROT | (alone ? I3.INTR | I3.NMI | I3.INIT : 0),
    vector4: control.vector4 | Intercept4.mask.VMSAVE,
    exceptions: alone ? control.exceptions | (1 << VECTOR.MC) : control.exceptions,
  }
}

/** The code that an exit shows, and what it has to say. */
const SHOWN = [V.guestExitInfo1, V.guestExitInfo2, V.guestExitIntInfo, V.guestNrip] as const

function createKind(
  sev: SevProcessor, vmcb: number, vmsaPage: number, control: GuestControl, guest: SevGuest, isShown = false,
): EncryptedKind {
  const { memory, rmp } = sev.shared
  const { cpu } = sev.processor
  const { views } = cpu
  const { u32, u64 } = views
  const debug = hasFeature(guest, 'DebugSwap')
  const protects = hasFeature(guest, 'VmsaRegProt')
  const alternate = hasFeature(guest, 'AlternateInjection')
  const reflects = hasFeature(guest, 'ReflectVC')
  const parameter = hasFeature(guest, 'VmgexitParameter')
  const scaled = guest.tscScale !== 0n && guest.tscScale !== TSC_ONE
  let next = 0n
  /** With Reflect #VC: what the #VC would have been. The guest's other VMPLs learn it from the VMSA (§15.36.9). */
  let reflected: Exit | null = null
  /** The protected registers of the VMSA are in the clear. */
  let shown = isShown
  const frameOf = (): number => pageAt(memory, vmsaPage * PAGE, guest.asid).frame
  const hide = (frame: number, nonce: bigint): void => {
    obfuscate(views, frame, nonce)
    shown = !shown
  }

  const intercepted = (exit: Exit): Exit | null => {
    next = exit.nextRip
    reflected = null
    const hidden = { ...exit, nextRip: 0n, bytes: null }
    if (exit.code < 0 || AUTOMATIC.has(exit.code)) return hidden
    if (!reflects) return null
    reflected = exit
    return { ...hidden, code: SvmExit.EXCP0 + VECTOR.VC, info1: 0n, info2: 0n }
  }

  const saveExit = (frame: number, exit: Exit): void => {
    const { code, info1, info2, nextRip } = reflected ?? exit
    const values = [info1, info2, exit.intInfo, nextRip]
    u32[(frame + V.guestExitCode) >>> 2] = code
    u32[(frame + V.guestExitCode + 4) >>> 2] = code < 0 ? 0xffff_ffff : 0
    for (let i = 0; i < SHOWN.length; i++) u64[(frame + SHOWN[i]) >>> 3] = values[i]
  }

  const saveInterrupts = (frame: number, busy: boolean): void => {
    const at = (frame + V.vintrCtrl) >>> 3
    const { tpr, irq } = control.vintr
    const m = VmsaInterrupt.mask
    u64[at] = (u64[at] & ~(m.TPR | m.V_IRQ | m.INT_SHADOW)) | BigInt(tpr) | (irq ? m.V_IRQ : 0n)
      | (u32[state.SHADOW >>> 2] !== 0 ? m.INT_SHADOW : 0n) | (busy ? m.BUSY : 0n)
    u64[(frame + V.eventInj) >>> 3] = 0n
  }

  const saveToVmcb = (exit: Exit): void => {
    const page = pageAt(memory, vmcb)
    u64[(page.frame + C.ghcbGpa) >>> 3] = guest.ghcb
    u64[(page.frame + C.guestSevFeatures) >>> 3] = guest.features
    if (exit.code === SvmExit.VMGEXIT && parameter) {
      u64[(page.frame + C.vmgexitRax) >>> 3] = u64[state.GPR >>> 3]
      views.u8[page.frame + C.vmgexitCpl] = u32[state.CPL >>> 2]
    }
    written(memory, page)
  }

  return {
    guest, control, everyPort: true, encryptedState: true, intercepted,
    tsc: scaled ? (host) => ((host * guest.tscScale) >> 32n) + control.tscOffset : null,
    // Permissions and keys go with the VMPL and with virtual top-of-memory.
    tag: `vmpl ${guest.vmpl} vtom ${guest.vtomPage}`,
    eventInj: 0n,
    keep: () => ({ vmsaPage, tscOffset: control.tscOffset, shown }),
    load() {
      const frame = frameOf()
      reflected = null
      if (guest.snp) rmp.setInUse(vmsaPage, true)
      if (protects) hide(frame, u64[(frame + V.regProtNonce) >>> 3])
      const rip = loadVmsa(cpu, frame, debug)
      runAs(sev, guest)
      return rip
    },
    save(exit, rip) {
      const frame = frameOf()
      if (exit.code === SvmExit.NPF) tellDenied(sev, exit.info2)
      saveVmsa(cpu, frame, ADVANCES.has(exit.code) && reflected === null ? next : rip, debug)
      saveExit(frame, exit)
      if (alternate) saveInterrupts(frame, reflected !== null && (exit.intInfo & EventInject.mask.V) !== 0n)
      if (guest.vtomPage >= 0) u64[(frame + V.virtualTom) >>> 3] = BigInt(guest.vtomPage) << 12n
      if (protects) {
        const nonce = BigInt.asUintN(64, cpu.host.random64())
        u64[(frame + V.regProtNonce) >>> 3] = nonce
        hide(frame, nonce)
      }
      saveToVmcb(exit)
    },
    left() {
      // VMRUN failed after the VMSA was read.
      if (shown) hide(frameOf(), u64[(frameOf() + V.regProtNonce) >>> 3])
      if (guest.snp) rmp.setInUse(vmsaPage, false)
      resetC(views)
      wipe(views)
      if (sev.svm().hostIsCode) restoreHost(sev, debug)
      runAs(sev, null)
    },
    interceptsMsr(index, _write, marked) {
      if (index === SEV_STATUS) return false
      return marked || (alternate && index >= 0x800 && index <= 0x8ff)
    },
  }
}

/** What the host left for itself in its save area (§15.35.9). */
function restoreHost(sev: SevProcessor, debug: boolean): void {
  const { frame } = pageAt(sev.shared.memory, sev.svm().hostSave)
  loadHostB(sev.processor.cpu, frame + SAVE_AT, debug)
}
