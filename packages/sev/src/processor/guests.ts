/** Guests with SEV, SEV-ES and SEV-SNP as SVM enters and leaves them (APM vol. 2, §15.34.3, §15.35, §15.36.12). */
import { EventInject, Intercept3, Intercept4, NestedControl, SevFeatures, SvmExit, Vmsa, VmsaInterrupt, VmcbControl } from '@cofferdam/spec'
import type { Exit, GuestControl, GuestKind, StatePage } from '@cofferdam/x86'
import { EVENT_TYPE, loadGuest, pageAt, SAVE_AT, saveGuest, state, usesNestedPaging, VECTOR, VMEXIT_INVALID, written } from '@cofferdam/x86'
import { enterVmsa, leaveVmsa, vmsaProblem } from '../rmp/vmsa.ts'
import { hasFeature, runAs, sysCfgHas } from './context.ts'
import type { SevGuest, SevProcessor } from './context.ts'
import { HWCR_RESET } from './msrs.ts'
import { loadHostB, loadVmsa, obfuscate, resetC, saveVmsa, wipe } from './vmsa-state.ts'

const V = Vmsa.offset
const C = VmcbControl.offset
const F = SevFeatures.mask
const I3 = Intercept3.mask
/** EXITCODE: the VMSA is in use, or marked so. */
const VMEXIT_BUSY = -2
/** MSR that holds the address of the host save area. */
const VM_HSAVE_PA = 0xc001_0117
const HWCR = 0xc001_0015
const SMM_LOCK = 1n
const TSC_ONE = 1n << 32n
const SEV_STATUS = 0xc001_0131

/** Features that this processor serves; VMRUN of a VMSA with another is VMEXIT_INVALID. */
export const SERVED_FEATURES = F.SNPActive | F.vTOM | F.ReflectVC | F.RestrictedInjection | F.AlternateInjection | F.DebugSwap
  | F.PreventHostIBS | F.BTBIsolation | F.SecureTSC | F.VmgexitParameter | F.VmsaRegProt | F.SmtProtection | F.IbpbOnEntry

/** Exits that SEV-ES guests take by themselves; all others are #VC (table 15-33). */
const AUTOMATIC: ReadonlySet<number> = new Set([
  SvmExit.EXCP0 + VECTOR.MC, SvmExit.INTR, SvmExit.NMI, SvmExit.SMI, SvmExit.INIT, SvmExit.VINTR, SvmExit.PAUSE, SvmExit.HLT,
  SvmExit.SHUTDOWN, SvmExit.EFER_WRITE_TRAP, SvmExit.BUSLOCK, SvmExit.IDLE_HLT, SvmExit.NPF, SvmExit.VMGEXIT,
  ...Array.from({ length: 16 }, (_, n) => SvmExit.CR0_WRITE_TRAP + n),
])
/** Of these, the instruction is behind the guest when it comes back. */
const ADVANCES: ReadonlySet<number> = new Set([SvmExit.PAUSE, SvmExit.HLT, SvmExit.IDLE_HLT])

/** A guest without encrypted state: SVM's own ways, under the guest's keys and rights. */
function plainGuest(sev: SevProcessor, vmcb: StatePage, control: GuestControl, guest: SevGuest): GuestKind {
  const { cpu } = sev.processor
  const nested = usesNestedPaging(control)
  return {
    control, everyPort: false, encryptedState: false, tsc: null, tag: 'plain', eventInj: control.eventInj,
    load() {
      runAs(sev, guest)
      return loadGuest(cpu, vmcb.frame + SAVE_AT, nested)
    },
    save(_exit, rip) {
      saveGuest(cpu, pageAt(sev.shared.memory, vmcb.address).frame + SAVE_AT, rip, nested)
    },
    left() { runAs(sev, null) },
    intercepted: (exit) => exit,
    interceptsMsr: (_index, _write, marked) => marked,
  }
}

const hostGuest = (control: GuestControl, sev: boolean): SevGuest => ({
  asid: control.asid & 0x3ff, sev, es: false, snp: false, vmpl: 0, features: 0n, vtomPage: -1, ghcb: 0n, tscScale: 0n,
})

/** Checks that VMRUN makes of every guest with SEV (§15.34.3, §15.35.2). */
function isSevLegal(sev: SevProcessor, control: GuestControl, es: boolean): boolean {
  const { shared, system } = sev
  if (!usesNestedPaging(control) || ((system.held.get(HWCR) ?? HWCR_RESET) & SMM_LOCK) === 0n) return false
  if (control.asid > shared.maxAsid || (!es && control.asid < shared.minSevAsid)) return false
  return !es || (control.virtualization & 1n) !== 0n
}

/** What may be injected into SEV-ES guests: no software interrupts, no #BP and #OF; only #HV with restricted injection. */
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

/** The VMSA that a VMCB names: its page, or why VMRUN fails. Nothing of it is read before the RMP allows that. */
function findVmsa(sev: SevProcessor, vmcb: StatePage, asid: number): { readonly address: number; readonly snp: boolean } | number {
  const { memory, rmp } = sev.shared
  const { views } = sev.processor.cpu
  const pa = views.u64[(vmcb.frame + C.vmsaPa) >>> 3] & ~(1n << BigInt(sev.shared.cBit))
  if (pa >> BigInt(sev.system.legal.physicalBits) !== 0n) return VMEXIT_INVALID
  const address = Number(pa & ~0xfffn)
  if (memory.frameWord(address / 4096) === 0) return VMEXIT_INVALID
  const page = address / 4096
  if (!rmp.enabled || !rmp.assigned(page)) return { address, snp: false }
  const problem = vmsaProblem(rmp, page, asid)
  if (problem !== null) return problem === 'in use' ? VMEXIT_BUSY : VMEXIT_INVALID
  return { address, snp: true }
}

/** A guest with encrypted state, SNP-active or not; or the EXITCODE that VMRUN fails with. */
function encryptedGuest(sev: SevProcessor, vmcb: StatePage, control: GuestControl): GuestKind | number {
  const { memory } = sev.shared
  const { cpu } = sev.processor
  const { views } = cpu
  const found = findVmsa(sev, vmcb, control.asid)
  if (typeof found === 'number') return found
  const { frame } = pageAt(memory, found.address, control.asid)
  const word = (offset: number): bigint => views.u64[(frame + offset) >>> 3]
  const features = word(V.sevFeatures)
  const vintrCtrl = word(V.vintrCtrl)
  const failure = checkFeatures(sev, vmcb, features, found.snp, control)
  if (failure !== 0) return failure
  const alternate = (features & F.AlternateInjection) !== 0n
  if (alternate && (vintrCtrl & VmsaInterrupt.mask.BUSY) !== 0n) return VMEXIT_BUSY
  const vmpl = views.u8[frame + V.vmpl]
  if (vmpl > 3) return VMEXIT_INVALID
  const secureTsc = (features & F.SecureTSC) !== 0n
  const scale = secureTsc ? word(V.guestTscScale) & 0xff_ffff_ffffn : 0n
  const offset = secureTsc ? word(V.guestTscOffset) : control.tscOffset
  const guest: SevGuest = {
    asid: control.asid, sev: true, es: true, snp: found.snp, vmpl, features, tscScale: scale,
    vtomPage: (features & F.vTOM) !== 0n ? Number((word(V.virtualTom) & 0xf_ffff_ffe0_0000n) >> 12n) : -1,
    ghcb: views.u64[(vmcb.frame + C.ghcbGpa) >>> 3],
  }
  return enterEncrypted(sev, vmcb, found.address, {
    ...controlOf(control, features, vintrCtrl), tscOffset: offset, tlbControl: tlbControl(sev, guest, frame, control),
  }, guest)
}

/** SNP-active guests need not trust their host with stale translations: a VMSA knows which processor it ran on. */
function tlbControl(sev: SevProcessor, guest: SevGuest, frame: number, control: GuestControl): number {
  if (!guest.snp) return control.tlbControl
  const { views } = sev.processor.cpu
  const at = (frame + V.pcpuId) >>> 3
  const here = BigInt(sev.processor.index + 1)
  const stayed = views.u64[at] === here
  views.u64[at] = here
  return stayed ? control.tlbControl : 3
}

function checkFeatures(
  sev: SevProcessor, vmcb: StatePage, features: bigint, snp: boolean, control: GuestControl,
): number {
  const { views } = sev.processor.cpu
  if (((features & F.SNPActive) !== 0n) !== snp || (features & ~SERVED_FEATURES) !== 0n) return VMEXIT_INVALID
  const injections = F.RestrictedInjection | F.AlternateInjection
  if ((features & injections) === injections) return VMEXIT_INVALID
  const allowed = views.u64[(vmcb.frame + C.allowedSevFeatures) >>> 3]
  if (allowed >> 63n !== 0n && (features & ~allowed) !== 0n) return VMEXIT_INVALID
  const event = (features & F.AlternateInjection) !== 0n ? 0n : control.eventInj
  return isInjectionAllowed(event, features) ? 0 : VMEXIT_INVALID
}

/** The control area with what always applies (§15.36.12, §15.36.16). */
function controlOf(control: GuestControl, features: bigint, vintrCtrl: bigint): GuestControl {
  const alone = (features & (F.RestrictedInjection | F.AlternateInjection)) !== 0n
  const forced = alone ? I3.INTR | I3.NMI | I3.INIT : 0
  const vintr = (features & F.AlternateInjection) !== 0n
    ? {
        ...control.vintr, tpr: Number(vintrCtrl & 0xfn), irq: (vintrCtrl & VmsaInterrupt.mask.V_IRQ) !== 0n,
        priority: Number(VmsaInterrupt.get(vintrCtrl, 'intrPrio')),
        ignoresTpr: (vintrCtrl & VmsaInterrupt.mask.V_IGN_TPR) !== 0n, vector: Number(VmsaInterrupt.get(vintrCtrl, 'vector')),
      }
    : { ...control.vintr, irq: control.vintr.irq && (features & F.RestrictedInjection) === 0n }
  return {
    ...control, vintr,
    shadow: (features & F.AlternateInjection) !== 0n ? (vintrCtrl & VmsaInterrupt.mask.INT_SHADOW) !== 0n : control.shadow,
    vector3: control.vector3 | I3.CPUID | I3.IOIO_PROT | forced,
    vector4: control.vector4 | Intercept4.mask.VMSAVE,
    exceptions: alone ? control.exceptions | (1 << VECTOR.MC) : control.exceptions,
  }
}

function enterEncrypted(
  sev: SevProcessor, vmcb: StatePage, vmsa: number, control: GuestControl, guest: SevGuest,
): GuestKind {
  const { memory, rmp } = sev.shared
  const { cpu } = sev.processor
  const { views } = cpu
  const debug = hasFeature(guest, 'DebugSwap')
  const protects = hasFeature(guest, 'VmsaRegProt')
  const alternate = hasFeature(guest, 'AlternateInjection')
  let next = 0n
  /** The protected registers of the VMSA are in the clear. */
  let shown = false
  const hide = (frame: number, nonce: bigint): void => {
    obfuscate(views, frame, nonce)
    shown = !shown
  }
  const frameOf = (): number => pageAt(memory, vmsa, guest.asid).frame

  /** With Reflect #VC the guest's other VMPLs learn from the VMSA what the #VC would have been (§15.36.9). */
  let reflected: Exit | null = null
  const intercepted = (exit: Exit): Exit | null => {
    next = exit.nextRip
    reflected = null
    const hidden = { ...exit, nextRip: 0n, bytes: null }
    if (exit.code < 0 || AUTOMATIC.has(exit.code)) return hidden
    if (!hasFeature(guest, 'ReflectVC')) return null
    reflected = exit
    return { ...hidden, code: SvmExit.EXCP0 + VECTOR.VC, info1: 0n, info2: 0n }
  }

  const saveExit = (frame: number, exit: Exit): void => {
    const { code, info1, info2, intInfo, nextRip } = reflected ?? exit
    for (const [offset, value] of [
      [V.guestExitCode, BigInt(code)], [V.guestExitInfo1, info1], [V.guestExitInfo2, info2],
      [V.guestExitIntInfo, reflected === null ? intInfo : exit.intInfo], [V.guestNrip, nextRip],
    ] as const) views.u64[(frame + offset) >>> 3] = BigInt.asUintN(64, value)
  }

  const saveInterrupts = (frame: number, busy: boolean): void => {
    const at = (frame + V.vintrCtrl) >>> 3
    const { tpr, irq } = control.vintr
    const m = VmsaInterrupt.mask
    const rest = views.u64[at] & ~(m.TPR | m.V_IRQ | m.INT_SHADOW)
    views.u64[at] = rest | BigInt(tpr) | (irq ? m.V_IRQ : 0n) | (views.u32[state.SHADOW >>> 2] !== 0 ? m.INT_SHADOW : 0n)
      | (busy ? m.BUSY : 0n)
    views.u64[(frame + V.eventInj) >>> 3] = 0n
  }

  const scaled = guest.tscScale !== 0n && guest.tscScale !== TSC_ONE
  return {
    control, everyPort: true, encryptedState: true,
    tsc: scaled ? (host) => ((host * guest.tscScale) >> 32n) + control.tscOffset : null,
    // Permissions and keys go with the VMPL and with virtual top-of-memory.
    tag: `vmpl ${guest.vmpl} vtom ${guest.vtomPage}`,
    eventInj: alternate ? views.u64[(frameOf() + V.eventInj) >>> 3] : control.eventInj,
    load() {
      const frame = frameOf()
      if (guest.snp) enterVmsa(rmp, vmsa / 4096)
      if (protects) hide(frame, views.u64[(frame + V.regProtNonce) >>> 3])
      const rip = loadVmsa(cpu, frame, debug)
      runAs(sev, guest)
      return rip
    },
    save(exit, rip) {
      const frame = frameOf()
      saveVmsa(cpu, frame, ADVANCES.has(exit.code) && reflected === null ? next : rip, debug)
      saveExit(frame, exit)
      if (alternate) saveInterrupts(frame, reflected !== null && (exit.intInfo & EventInject.mask.V) !== 0n)
      if (guest.vtomPage >= 0) views.u64[(frame + V.virtualTom) >>> 3] = BigInt(guest.vtomPage) << 12n
      if (protects) {
        const nonce = BigInt.asUintN(64, cpu.host.random64())
        views.u64[(frame + V.regProtNonce) >>> 3] = nonce
        hide(frame, nonce)
      }
      const page = pageAt(memory, vmcb.address)
      views.u64[(page.frame + C.ghcbGpa) >>> 3] = guest.ghcb
      views.u64[(page.frame + C.guestSevFeatures) >>> 3] = guest.features
      if (exit.code === SvmExit.VMGEXIT && hasFeature(guest, 'VmgexitParameter')) {
        views.u64[(page.frame + C.vmgexitRax) >>> 3] = views.u64[state.GPR >>> 3]
        views.u8[page.frame + C.vmgexitCpl] = views.u32[state.CPL >>> 2]
      }
      written(memory, page)
    },
    left() {
      // VMRUN failed after the VMSA was read.
      if (shown) hide(frameOf(), views.u64[(frameOf() + V.regProtNonce) >>> 3])
      if (guest.snp) leaveVmsa(rmp, vmsa / 4096)
      resetC(views)
      wipe(views)
      if (sev.svm().hostIsCode) restoreHost(sev, debug)
      runAs(sev, null)
    },
    intercepted,
    interceptsMsr(index, _write, marked) {
      if (index === SEV_STATUS) return false
      return marked || (alternate && index >= 0x800 && index <= 0x8ff)
    },
  }
}

/** What the host left for itself in its save area (§15.35.9). */
function restoreHost(sev: SevProcessor, debug: boolean): void {
  const area = Number(sev.system.held.get(VM_HSAVE_PA) ?? 0n)
  loadHostB(sev.processor.cpu, pageAt(sev.shared.memory, area).frame + SAVE_AT, debug)
}

/** The kind of guest that a VMCB asks for, or the EXITCODE that VMRUN fails with. */
export function guestOf(sev: SevProcessor, vmcb: StatePage, control: GuestControl): GuestKind | number {
  // With encryption off the bits of SEV are ignored (§15.34.3).
  const wants = (name: 'SEV_ENABLE' | 'SEV_ES_ENABLE'): boolean =>
    sysCfgHas(sev.system, 'MemEncryptionModeEn') && (control.nested & NestedControl.mask[name]) !== 0n
  const es = wants('SEV_ES_ENABLE')
  if (!wants('SEV_ENABLE')) {
    return es ? VMEXIT_INVALID : plainGuest(sev, vmcb, control, hostGuest(control, false))
  }
  if (!isSevLegal(sev, control, es)) return VMEXIT_INVALID
  return es ? encryptedGuest(sev, vmcb, control) : plainGuest(sev, vmcb, control, hostGuest(control, true))
}
