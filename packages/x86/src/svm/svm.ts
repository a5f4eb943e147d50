/** SVM of one processor: entering guests and leaving them. */
import type { PhysicalMemory } from '@cofferdam/memory'
import { configureNpt, createWalkContext, setKeyField } from '@cofferdam/paging'
import { guestFault, raise, VECTOR } from '../cpu.ts'
import type { Processor } from '../engine/processor-types.ts'
import type { SupervisorState } from '../engine/supervisor.ts'
import { needState } from '../engine/translations.ts'
import { CR0, CR3, CR4, EFER, MSR_PAT, SHADOW, SYSFLAGS, TSC_OFFSET } from '../state.ts'
import { CR0_BITS, CR4_BITS, EFER_BITS, FLAG } from '../system/bits.ts'
import { systemOf } from '../system/cpu-system.ts'
import { isGuestLegal } from './checks.ts'
import type { Exit, GuestControl } from './control.ts'
import { createControlReader, usesLbrVirtualization, usesNestedPaging, writeExit, writeInterrupts } from './control.ts'
import { loadExtra, loadGuest, loadHost, saveExtra, saveGuest, saveHost } from './guest-state.ts'
import type { AccessOutcome, GuestKind, SvmHooks } from './kind.ts'
import { pageAddress } from './instructions.ts'
import { checkSvmSnapshot } from './snapshot.ts'
import type { HostPaging, Kept, SvmSnapshot } from './snapshot.ts'
import { createSupervisor } from './supervise.ts'
import type { Svm, SvmPerformed, SvmRun } from './types.ts'
import { isRam, pageAt, read64, SAVE, SAVE_AT, write64, written } from './vmcb.ts'

/** MSR indices (APM vol. 2, §15.30). */
export const SVM_MSR = { VM_CR: 0xc001_0114, VM_HSAVE_PA: 0xc001_0117, TSC_RATIO: 0xc000_0104 } as const
const DBG_CTL = 0x1d9
/** TSC_RATIO of 1: 8 bits integer, 32 bits fraction. */
export const TSC_RATIO_ONE = 1n << 32n
/** Words that `keepsTranslations` compares. */
const CACHED_WORDS = 9
/** EXITCODE of a VMRUN that found illegal state. */
export const VMEXIT_INVALID = -1

/** The processor that gets SVM. */
export interface SvmOptions {
  readonly processor: Processor
  readonly memory: PhysicalMemory
  /** ASIDs that exist, ASID 0 (the host) included. */
  readonly asids: number
  /** An extension's part; null for plain guests only. */
  readonly hooks: SvmHooks | null
}

/** `Svm` as its own instructions see it. */
export interface SvmCore extends Svm {
  /** The guest that is resident, or was last, was entered by VMRUN and not by a program in TypeScript. */
  readonly hostIsCode: boolean
  /** Address of the page with the host's state, which VMRUN by machine code saved there; −1 before the first. */
  readonly hostSave: number
  /** A guest with SEV-ES is resident. */
  readonly encryptedGuest: boolean
  /** Ends the present instruction as an access with this outcome ends: with an exception, or the guest leaves. */
  deny(outcome: AccessOutcome): never
  /** Whether VMRUN, VMLOAD and VMSAVE may use the page. */
  accepts(address: number): boolean
  /** VMRUN by machine code. */
  enter(vmcb: number): void
  setGif(on: boolean): void
  /** INVLPGA. */
  invalidate(address: bigint, asid: number): void
}

/** A guest that is resident. */
export interface Guest {
  readonly vmcb: number
  readonly control: GuestControl
  readonly kind: GuestKind | null
  /** The host is a program in TypeScript. */
  readonly direct: boolean
  /** RFLAGS.IF of the host at VMRUN: with V_INTR_MASKING it governs physical interrupts. */
  readonly hostIf: boolean
  /** VMRUN failed; nothing of the guest's was made the processor's. */
  readonly failed: boolean
  /** How its host pages. */
  readonly paging: HostPaging
}

/** Control registers of a host in TypeScript, for its nested tables: 4-level paging with NX. */
const DIRECT_PAGING: HostPaging = {
  cr0: (CR0_BITS.PE | CR0_BITS.PG) | 0, cr4: CR4_BITS.PAE, efer: EFER_BITS.LME | EFER_BITS.LMA | EFER_BITS.NXE,
}

/** Creates SVM and puts it above the processor. */
export function createSvm(options: SvmOptions): SvmCore {
  const { processor, memory, hooks, asids } = options
  const { cpu, mmu } = processor
  const { views } = cpu
  const system = systemOf(cpu)
  const npt = createWalkContext({ physicalBits: system.legal.physicalBits })
  let gif = true
  let guest: Guest | null = null
  let kept: Kept = { pat: 0n, tscOffset: 0n, dbgCtl: undefined }
  const readControl = createControlReader(views)
  /** What decided about the translations that are cached; `null` when they are the host's. */
  let cachedTag: string | null = null
  const cached = new Int32Array(CACHED_WORDS)
  const present = new Int32Array(CACHED_WORDS)
  let lastExit: Exit | null = null
  /** The last guest's host is a program in TypeScript. */
  let direct = true

  const held = (index: number): bigint => system.held.get(index) ?? 0n
  /** Where the host's state is while its guest runs, without the key that VM_HSAVE_PA may name. */
  let hostSave = -1
  const tscRatio = (): bigint => system.held.get(SVM_MSR.TSC_RATIO) ?? TSC_RATIO_ONE
  const hostTsc = (): bigint => cpu.timestamp() + kept.tscOffset

  const supervisor = createSupervisor({
    processor, memory, hooks,
    gif: () => gif,
    guest: () => guest,
    leave: (exit) => { leave(exit) },
    scaledTsc: () => {
      if (guest === null) return null
      const tsc = guest.kind?.tsc ?? null
      if (tsc !== null) return BigInt.asUintN(64, tsc(hostTsc()))
      const ratio = tscRatio()
      if (ratio === TSC_RATIO_ONE) return null
      return BigInt.asUintN(64, ((BigInt.asUintN(64, hostTsc()) * ratio) >> 32n) + guest.control.tscOffset)
    },
    hasTscRatio: () => (guest?.kind?.tsc ?? null) !== null || tscRatio() !== TSC_RATIO_ONE,
    snapshot: () => snapshot(),
    restore: (saved) => { restore(saved) },
  })
  processor.supervise(supervisor)
  mmu.faults = supervisor.faults

  /** How the host pages, as its nested tables are walked. */
  const hostPaging = (direct: boolean): HostPaging => (direct ? DIRECT_PAGING : {
    cr0: views.i32[CR0 >>> 2], cr4: views.i32[CR4 >>> 2], efer: views.i32[EFER >>> 2],
  })

  const nest = (control: GuestControl, paging: HostPaging): void => {
    if (!usesNestedPaging(control)) {
      mmu.context.nested = null
      return
    }
    const root = control.nestedCr3
    setKeyField(npt, hooks?.hostKeyField())
    configureNpt(npt, {
      ...paging, cr3Low: Number(root & 0xffff_ffffn) | 0, cr3High: Number((root >> 32n) & 0xffff_ffffn) | 0,
      ac: false, pkru: 0,
    })
    mmu.context.nested = npt
  }

  /** Notes what decides whether cached translations are the guest's still; answers whether they are (§15.16). */
  const keepsTranslations = ({ control, kind }: Guest): boolean => {
    const { i32 } = views
    const tag = kind?.tag ?? ''
    let same = cachedTag === tag
    cachedTag = tag
    present[0] = control.asid
    // Cut like this, a BigInt is no object when the code is compiled.
    present[1] = Number(BigInt.asIntN(32, control.nested))
    present[2] = Number(BigInt.asIntN(32, control.nestedCr3))
    present[3] = Number(BigInt.asIntN(32, control.nestedCr3 >> 32n))
    present[4] = i32[CR0 >>> 2]
    present[5] = i32[CR3 >>> 2]
    present[6] = i32[(CR3 >>> 2) + 1]
    present[7] = i32[CR4 >>> 2]
    present[8] = i32[EFER >>> 2]
    for (let i = 0; i < CACHED_WORDS; i++) {
      same &&= cached[i] === present[i]
      cached[i] = present[i]
    }
    return same
  }

  /** Registers that VMRUN gives a guest of its own beside the save area. */
  const swapIn = ({ control }: Guest, frame: number): void => {
    kept = { pat: views.u64[MSR_PAT >>> 3], tscOffset: views.u64[TSC_OFFSET >>> 3], dbgCtl: system.held.get(DBG_CTL) }
    write64(views, TSC_OFFSET, kept.tscOffset + control.tscOffset)
    if (usesLbrVirtualization(control)) system.held.set(DBG_CTL, read64(views, frame + SAVE_AT + SAVE.dbgCtl) & 0x3fn)
  }

  const swapOut = ({ control, failed }: Guest, frame: number): void => {
    // A guest that may write the TSC has moved the host's.
    if (!failed) write64(views, TSC_OFFSET, views.u64[TSC_OFFSET >>> 3] - control.tscOffset)
    else views.u64[TSC_OFFSET >>> 3] = kept.tscOffset
    views.u64[MSR_PAT >>> 3] = kept.pat
    if (!usesLbrVirtualization(control)) return
    if (!failed) write64(views, frame + SAVE_AT + SAVE.dbgCtl, held(DBG_CTL))
    if (kept.dbgCtl === undefined) system.held.delete(DBG_CTL)
    else system.held.set(DBG_CTL, kept.dbgCtl)
  }

  /** VMRUN, but for what only machine code needs: loads the guest, or arranges for the exit of a VMRUN that failed. */
  const load = (vmcb: number, isDirect: boolean): void => {
    direct = isDirect
    const page = pageAt(memory, vmcb)
    const paging = hostPaging(direct)
    const hostIf = direct || (views.u32[SYSFLAGS >>> 2] & FLAG.IF) !== 0
    const read = readControl(vmcb, page.frame)
    const kind = hooks?.guest(page, read) ?? null
    const failure = typeof kind === 'number' ? kind : 0
    const special = typeof kind === 'number' ? null : kind
    const control = special?.control ?? read
    guest = { vmcb, control, kind: special, direct, hostIf, failed: failure !== 0, paging }
    swapIn(guest, page.frame)
    if (failure !== 0) {
      supervisor.fail(failure)
      return
    }
    const rip = special?.load() ?? loadGuest(cpu, page.frame + SAVE_AT, usesNestedPaging(control))
    const field = hooks?.hostKeyField()
    const key = field === undefined ? 0n : 1n << BigInt(field.position)
    const host = { pages: (paging.cr0 & CR0_BITS.PG) !== 0, key }
    if (!isGuestLegal(views, control, system.legal, asids, host)) {
      guest = { ...guest, failed: true }
      supervisor.fail(VMEXIT_INVALID)
      return
    }
    nest(control, paging)
    cpu.modeChanged()
    const keeps = keepsTranslations(guest)
    cpu.retranslate(!keeps || control.tlbControl !== 0)
    views.i32[SHADOW >>> 2] = control.shadow ? 1 : 0
    processor.halted = false
    gif = true
    cpu.setNextRip(rip)
    processor.setRip(BigInt.asIntN(64, rip))
    supervisor.entered(special?.eventInj ?? control.eventInj)
  }

  /** #VMEXIT. */
  const leave = (exit: Exit): void => {
    if (guest === null) return
    const { control, kind, failed, vmcb } = guest
    const page = pageAt(memory, vmcb)
    if (!failed) {
      const rip = BigInt.asUintN(64, cpu.rip())
      const shadow = views.i32[SHADOW >>> 2] !== 0
      const guestIf = (views.u32[SYSFLAGS >>> 2] & FLAG.IF) !== 0
      keepsTranslations(guest)
      if (kind === null) saveGuest(cpu, page.frame + SAVE_AT, rip, usesNestedPaging(control))
      else kind.save(exit, rip)
      writeInterrupts(views, page.frame, control.vintr, shadow, kind?.encryptedState === true && guestIf)
    }
    writeExit(views, page.frame, exit)
    swapOut(guest, page.frame)
    kind?.left()
    written(memory, page)
    guest = null
    lastExit = exit
    views.i32[SHADOW >>> 2] = 0
    processor.halted = false
    gif = false
    if (direct) processor.stop()
    else resumeHost()
    processor.reconsider()
  }

  const resumeHost = (): void => {
    mmu.context.nested = null
    const rip = loadHost(cpu, pageAt(memory, hostSave).frame + SAVE_AT)
    cachedTag = null
    cpu.modeChanged()
    cpu.retranslate(true)
    cpu.setNextRip(rip)
    processor.setRip(BigInt.asIntN(64, rip))
  }

  const accepts = (address: number): boolean => isRam(memory, address) && (hooks?.acceptsPage(address) ?? true)

  const resultOf = (retired: number): SvmRun => {
    if (lastExit === null) return { exit: 'budget', retired, halted: processor.halted }
    return { exit: 'vmexit', code: lastExit.code, info1: lastExit.info1, info2: lastExit.info2, retired }
  }

  const requireRam = (vmcb: number): void => {
    if (vmcb % 4096 !== 0 || !isRam(memory, vmcb)) throw new Error(`VMCB 0x${vmcb.toString(16)} is no page of RAM`)
  }

  /** Makes the guest of a VMCB resident. */
  const enterDirect = (vmcb: number): void => {
    processor.activate()
    requireRam(vmcb)
    if (guest === null) load(vmcb, true)
    else if (guest.vmcb !== vmcb) throw new Error(`VMRUN 0x${vmcb.toString(16)}: another guest is resident`)
    lastExit = null
  }

  /** The exit that has just been arranged for, if there is one. */
  const takeExit = (): SvmPerformed<never> | null => {
    if (supervisor.pending) supervisor.settle()
    const result = resultOf(1)
    return result.exit === 'vmexit' ? { kind: 'exit', exit: result } : null
  }

  const snapshot = (): SvmSnapshot => {
    needState(!supervisor.pending && guest?.failed !== true, 'supervisor', 'a processor between two instructions')
    return {
      gif, direct, hostSave, tag: cachedTag, cached: cached.slice(), kept: { ...kept, dbgCtl: kept.dbgCtl ?? null },
      notes: supervisor.notes(), extension: hooks?.save(guest?.kind ?? null) ?? null,
      guest: guest === null ? null : {
        vmcb: guest.vmcb, direct: guest.direct, hostIf: guest.hostIf, paging: guest.paging,
        vintr: { ...guest.control.vintr },
      },
    }
  }

  /** The guest of a snapshot: its control area is in memory as it was when the guest was entered. */
  const guestAgain = ({ guest: saved, extension }: SvmSnapshot): Guest | null => {
    if (saved === null) {
      hooks?.restore(extension, null, null)
      return null
    }
    const page = pageAt(memory, saved.vmcb)
    const read = readControl(saved.vmcb, page.frame)
    const kind = hooks?.restore(extension, page, read) ?? null
    const control = kind?.control ?? read
    Object.assign(control.vintr, saved.vintr)
    const { vmcb, direct: isDirect, hostIf, paging } = saved
    return { vmcb, control, kind, direct: isDirect, hostIf, failed: false, paging }
  }

  const restore = (state: SupervisorState): void => {
    const saved = checkSvmSnapshot(state, CACHED_WORDS, (address) => isRam(memory, address))
    ;({ gif, direct, hostSave, tag: cachedTag } = saved)
    cached.set(saved.cached)
    kept = { ...saved.kept, dbgCtl: saved.kept.dbgCtl ?? undefined }
    guest = guestAgain(saved)
    supervisor.takeNotes(saved.notes)
    if (guest === null) mmu.context.nested = null
    else nest(guest.control, guest.paging)
  }
  const svm: SvmCore = {
    processor, accepts,
    get inGuest() { return guest !== null },
    get resident() { return guest?.vmcb ?? -1 },
    get gif() { return gif },
    get hostIsCode() { return !direct },
    get hostSave() { return hostSave },
    get encryptedGuest() { return guest?.kind?.encryptedState === true },
    deny: (outcome) => supervisor.deny(outcome),
    vmrun(vmcb, instructions, part = false) {
      enterDirect(vmcb)
      return resultOf(processor.run(instructions, false, part))
    },
    perform(vmcb, act) {
      enterDirect(vmcb)
      const refused = takeExit()
      if (refused !== null) return refused
      try {
        return { kind: 'done', value: act() }
      } catch (fault) {
        if (fault !== guestFault) throw fault
        const { vector, errorCode } = guestFault
        return (supervisor.exception() ? takeExit() : null) ?? { kind: 'fault', vector, errorCode }
      }
    },
    kick() {
      if (guest?.direct !== true) return
      processor.activate()
      leave(supervisor.kicked())
    },
    enter(vmcb) {
      hostSave = pageAddress(cpu, held(SVM_MSR.VM_HSAVE_PA))
      if (hostSave < 0 || !accepts(hostSave)) raise(VECTOR.GP, 0)
      const page = pageAt(memory, hostSave)
      saveHost(cpu, page.frame + SAVE_AT, BigInt.asUintN(64, cpu.nextRip()))
      written(memory, page)
      load(vmcb, false)
      processor.reconsider()
    },
    vmload(vmcb) {
      requireRam(vmcb)
      processor.activate()
      loadExtra(views, pageAt(memory, vmcb).frame + SAVE_AT)
    },
    vmsave(vmcb) {
      requireRam(vmcb)
      processor.activate()
      const page = pageAt(memory, vmcb)
      saveExtra(views, page.frame + SAVE_AT)
      written(memory, page)
    },
    setGif(on) {
      gif = on
      processor.reconsider()
    },
    invalidate(address, asid) {
      const present = guest?.control.asid ?? 0
      if (asid === present) cpu.invalidatePage(address)
      else if (cachedTag !== null) mmu.flush(true)
    },
    flushGuests() { mmu.flush(true) },
  }
  return svm
}
