/** What happens to a guest at the points where a plain processor would go on by itself. */
import type { PhysicalMemory } from '@cofferdam/memory'
import type { WalkResult } from '@cofferdam/paging'
import { ACCESS_FETCH, ACCESS_USER, nestedFaultInfo, STAGE_FINAL, WALK_NESTED_FAULT } from '@cofferdam/paging'
import { EventInject, Intercept3, SvmExit } from '@cofferdam/spec'
import { APIC_EVENT } from '../apic/types.ts'
import { guestFault, raise, VECTOR } from '../cpu.ts'
import type { TranslationFaults } from '../engine/mmu-types.ts'
import type { Processor } from '../engine/processor-types.ts'
import { HOLD, LEAVE } from '../engine/supervisor.ts'
import type { Supervisor } from '../engine/supervisor.ts'
import { CPL, CS, SYSFLAGS } from '../state.ts'
import { is64Bit, segBase } from '../system/access.ts'
import { FLAG } from '../system/bits.ts'
import { deliverEvent, EXTERNAL, FAULT, SOFTWARE } from '../system/deliver.ts'
import { hasErrorCode } from '../system/event.ts'
import type { Exit } from './control.ts'
import { EVENT_TYPE, intInfoOf } from './control.ts'
import { INTERCEPTS, wantsTraps } from './intercepts.ts'
import type { AccessOutcome, SvmHooks } from './kind.ts'
import type { GuestNotes } from './snapshot.ts'
import type { Guest } from './svm.ts'
import { byteAt } from './vmcb.ts'
import type { GuestWorld } from './world.ts'

export interface SuperviseOptions {
  readonly processor: Processor
  readonly memory: PhysicalMemory
  readonly hooks: SvmHooks | null
  readonly gif: () => boolean
  readonly guest: () => Guest | null
  /** #VMEXIT, at an instruction boundary. */
  readonly leave: (exit: Exit) => void
  /** The guest's TSC where RDTSC of the engine would be wrong. */
  readonly scaledTsc: () => bigint | null
  readonly hasTscRatio: () => boolean
  /** What SVM keeps of this processor for a snapshot, and back. */
  readonly snapshot: Supervisor['snapshot']
  readonly restore: Supervisor['restore']
}

export interface SvmSupervisor extends Supervisor {
  readonly faults: TranslationFaults
  /** VMRUN failed with an EXITCODE. */
  fail(code: number): void
  /** A guest is resident now; `event` is what it is to be injected first. */
  entered(event: bigint): void
  /** Ends the present instruction as an access with this outcome ends. */
  deny(outcome: AccessOutcome): never
  /** The exit of a guest that its host takes out. */
  kicked(): Exit
  /** What it notes from one instruction to another; nothing is pending. */
  notes(): GuestNotes
  takeNotes(notes: GuestNotes): void
}



const I3 = Intercept3.mask
const NO_NRIP = 0n
/** Bytes that an instruction has at most. */
const INSTRUCTION_BYTES = 15

const plain = (code: number, info1 = 0n, info2 = 0n, nextRip = NO_NRIP): Exit =>
  ({ code, info1, info2, intInfo: 0n, nextRip, bytes: null })

export function createSupervisor(options: SuperviseOptions): SvmSupervisor {
  const { processor, memory, hooks } = options
  const { cpu, mmu } = processor
  const { views } = cpu
  let exit: Exit | null = null
  /** The present exit's instruction bytes go to the VMCB. */
  let wantsBytes = false
  /** EVENTINJ that has not been injected yet. */
  let injection = 0n
  /** A write trap that comes when its instruction is done. */
  let trap: { readonly code: number; readonly read: () => bigint } | null = null
  /** The event that an INT n, INT3, INTO or INT1 at `softRip` delivers. */
  let soft = 0n
  let softRip = 0n
  let pauses = 0
  let lastPause = 0n

  const setExit = (next: Exit): void => {
    exit = next
    processor.reconsider()
  }

  const hasVirtual = ({ control: { vintr } }: Guest): boolean =>
    vintr.irq && (vintr.ignoresTpr || vintr.priority > vintr.tpr)
  const isOpen = (): boolean => (views.u32[SYSFLAGS >>> 2] & FLAG.IF) !== 0
  /** Whether physical interrupts may reach the processor now. */
  const takesPhysical = ({ control, hostIf }: Guest): boolean => (control.vintr.masking ? hostIf : isOpen())

  /** Takes an intercept: an exit, or #VC for a guest whose kind has it so. The present instruction has no effect. */
  const intercept = (guest: Guest, next: Exit): never => {
    const taken = guest.kind === null ? next : guest.kind.intercepted(next)
    if (taken === null) return raise(VECTOR.VC, next.code)
    exit = taken
    return raise(LEAVE)
  }

  const present = (): Guest => {
    const guest = options.guest()
    if (guest === null) throw new Error('SVM: an intercept without a guest')
    return guest
  }

  const world: GuestWorld = {
    get control() { return present().control },
    get encryptedState() { return present().kind?.encryptedState ?? false },
    get everyPort() { return present().kind?.everyPort ?? false },
    leave: (code, info1 = 0n, info2 = 0n) =>
      intercept(present(), plain(code, info1, info2, BigInt.asUintN(64, cpu.nextRip()))),
    trapAfter(code, read) {
      if (!world.encryptedState) return
      trap = { code, read }
      processor.reconsider()
    },
    setTpr(tpr) {
      present().control.vintr.tpr = tpr
      processor.reconsider()
    },
    scaledTsc: options.scaledTsc,
    entersHandler(vector, software) {
      soft = intInfoOf(vector, -1, software ? SOFTWARE : FAULT)
      softRip = cpu.rip()
    },
    pauseCountedOut() {
      const { pauseCount, pauseThreshold } = present().control
      if (pauseCount === 0) return true
      const now = cpu.timestamp()
      if (pauseThreshold !== 0 && now - lastPause > BigInt(pauseThreshold)) pauses = pauseCount
      else pauses--
      lastPause = now
      return pauses < 0
    },
    byteAt: (address) => byteAt(memory, address),
    interceptsMsr(index, write, marked) {
      const { kind } = present()
      return kind === null ? marked : kind.interceptsMsr(index, write, marked)
    },
  }

  /** The guest's bytes at RIP, as many as can be fetched. */
  const fetchBytes = (): Uint8Array => {
    const rip = is64Bit(cpu) ? cpu.rip() : (cpu.rip() + segBase(cpu, CS)) & 0xffff_ffffn
    const access = ACCESS_FETCH | (views.u32[CPL >>> 2] === 3 ? ACCESS_USER : 0)
    const out = new Uint8Array(INSTRUCTION_BYTES)
    let n = 0
    const { vector, errorCode, address } = guestFault
    for (; n < INSTRUCTION_BYTES; n++) {
      const at = BigInt.asUintN(64, rip + BigInt(n))
      const physical = mmu.translate(Number(at & 0xffff_ffffn) | 0, Number(at >> 32n) | 0, access)
      if (physical < 0) break
      // The walk has made the page what the guest's key sees.
      const word = memory.frameWord(Math.floor(physical / 4096))
      if (word < 4096) break
      out[n] = views.u8[word - (word % 4096) + (physical % 4096)]
    }
    Object.assign(guestFault, { vector, errorCode, address })
    return out.subarray(0, n)
  }

  /** Whether the exception in `guestFault` is intercepted; the exit waits then, or #VC has taken its place. */
  const exceptionLeaves = (guest: Guest, intInfo: bigint): boolean => {
    const { vector, errorCode, address } = guestFault
    if (vector === LEAVE) {
      if (exit !== null) setExit({ ...exit, intInfo })
      return true
    }
    if (((guest.control.exceptions >>> vector) & 1) === 0) return false
    const isPageFault = vector === VECTOR.PF
    const info1 = hasErrorCode(vector) ? BigInt(Math.max(errorCode, 0) >>> 0) : 0n
    const next = { ...plain(SvmExit.EXCP0 + vector, info1, isPageFault ? BigInt.asUintN(64, address) : 0n), intInfo }
    const taken = guest.kind === null ? next : guest.kind.intercepted(next)
    if (taken === null) {
      guestFault.vector = VECTOR.VC
      guestFault.errorCode = next.code
      return false
    }
    wantsBytes = isPageFault && guest.kind?.encryptedState !== true && (errorCode & ACCESS_FETCH) === 0
    setExit(taken)
    return true
  }

  /** Tells the processor what an access comes to. */
  const settleAccess = (outcome: AccessOutcome): void => {
    if ('leave' in outcome) {
      exit = outcome.leave
      guestFault.vector = LEAVE
      return
    }
    guestFault.vector = outcome.vector
    guestFault.errorCode = outcome.errorCode
    guestFault.address = outcome.address
  }

  /** A nested page fault: EXITINFO1 is its error code, EXITINFO2 the guest physical address (§15.25.6). */
  const nestedFault = (result: WalkResult, low: number): Exit =>
    plain(SvmExit.NPF, nestedFaultInfo(result), BigInt(result.gpa + (result.stage === STAGE_FINAL ? low & 0xfff : 0)))

  const faults: TranslationFaults = {
    walk(result, low, high, access) {
      const outcome = hooks?.walk(result, low, high, access) ?? null
      if (outcome !== null) {
        settleAccess(outcome)
        return
      }
      if (result.status !== WALK_NESTED_FAULT) throw new Error(`SVM: a walk ended with status ${result.status}`)
      wantsBytes = (access & ACCESS_FETCH) === 0 && options.guest()?.kind?.encryptedState !== true
      settleAccess({ leave: nestedFault(result, low) })
    },
    guard(verdict, request, low, high) {
      if (hooks === null) throw new Error('SVM: a guard refused a page, and no extension says what follows')
      settleAccess(hooks.guard(verdict, request, mmu.result, low, high))
    },
  }

  /** Injects an event, unconditionally and whatever is intercepted (§15.20). */
  const inject = (event: bigint): void => {
    const vector = Number(EventInject.get(event, 'vector'))
    const type = Number(EventInject.get(event, 'type'))
    const errorCode = (event & EventInject.mask.EV) !== 0n ? Number(EventInject.get(event, 'errorCode')) : -1
    // What INT n, INT3 and INTO raise is traps: they return to the next instruction, and the gate's DPL counts.
    const software = type === EVENT_TYPE.SOFTWARE
      || (type === EVENT_TYPE.EXCEPTION && (vector === VECTOR.BP || vector === VECTOR.OF))
    cpu.setNextRip(software ? present().control.nextRip : cpu.rip())
    processor.halted = false
    if (type === EVENT_TYPE.NMI) deliverEvent(cpu, VECTOR.NMI, -1, EXTERNAL)
    else if (type === EVENT_TYPE.INTR) deliverEvent(cpu, vector, -1, EXTERNAL)
    else deliverEvent(cpu, vector, errorCode, software ? SOFTWARE : FAULT)
    if (exit === null) processor.setRip(BigInt.asIntN(64, cpu.nextRip()))
  }

  /** Takes the virtual interrupt: V_IRQ is clear before the IDT is looked at (§15.21.4). */
  const takeVirtual = (guest: Guest): void => {
    guest.control.vintr.irq = false
    processor.reconsider()
    processor.halted = false
    cpu.setNextRip(cpu.rip())
    deliverEvent(cpu, guest.control.vintr.vector, -1, EXTERNAL)
    if (exit === null) processor.setRip(BigInt.asIntN(64, cpu.nextRip()))
  }

  /** An asynchronous intercept, at an instruction boundary. */
  const asynchronous = (guest: Guest, code: number): number => {
    const next = plain(code)
    setExit(guest.kind?.intercepted(next) ?? next)
    return HOLD.ATTENTION | HOLD.INTERRUPTS
  }

  const clear = (): void => {
    exit = null
    trap = null
    injection = 0n
    soft = 0n
    wantsBytes = false
  }

  const supervisor: SvmSupervisor = {
    faults, snapshot: options.snapshot, restore: options.restore,
    get pending() { return exit !== null || trap !== null || injection !== 0n },
    get traps() {
      const guest = options.guest()
      return guest !== null && (options.hasTscRatio() || wantsTraps(guest.control.vector3, guest.control.vector4))
    },
    settle() {
      if (exit !== null) {
        const taken = wantsBytes ? { ...exit, bytes: fetchBytes() } : exit
        clear()
        options.leave(taken)
      } else if (trap !== null) {
        const next = plain(trap.code, trap.read())
        trap = null
        setExit(present().kind?.intercepted(next) ?? next)
      } else if (injection !== 0n) {
        const event = injection
        injection = 0n
        inject(event)
      }
    },
    before(insn) {
      if (options.guest() === null) return false
      soft = 0n
      trap = null
      return INTERCEPTS[insn.op]?.(world, cpu, insn) ?? false
    },
    exception() {
      const guest = options.guest()
      if (guest === null) return false
      trap = null
      const intInfo = soft !== 0n && softRip === cpu.rip() ? soft : 0n
      soft = 0n
      const leaves = exceptionLeaves(guest, intInfo)
      if (!leaves) hooks?.raised?.()
      return leaves
    },
    nested(vector, errorCode, source) {
      const guest = options.guest()
      if (guest === null) return false
      const leaves = exceptionLeaves(guest, intInfoOf(vector, errorCode, source))
      if (!leaves) hooks?.raised?.()
      return leaves
    },
    holds() {
      const guest = options.guest()
      if (guest === null) return options.gif() ? 0 : HOLD.ATTENTION | HOLD.INTERRUPTS
      if (supervisor.pending) return HOLD.ATTENTION | HOLD.INTERRUPTS
      const { vector3 } = guest.control
      const events = processor.pendingEvents()
      if ((events & APIC_EVENT.INIT) !== 0 && (vector3 & I3.INIT) !== 0) return asynchronous(guest, SvmExit.INIT)
      if ((events & APIC_EVENT.NMI) !== 0 && (vector3 & I3.NMI) !== 0) return asynchronous(guest, SvmExit.NMI)
      if (processor.interruptPending() && takesPhysical(guest)) {
        if ((vector3 & I3.INTR) === 0) return 0
        return asynchronous(guest, SvmExit.INTR)
      }
      if (!hasVirtual(guest) || !isOpen()) return HOLD.INTERRUPTS
      if ((vector3 & I3.VINTR) !== 0) return asynchronous(guest, SvmExit.VINTR)
      takeVirtual(guest)
      return HOLD.INTERRUPTS
    },
    wants(line) {
      const guest = options.guest()
      if (guest === null) return line && options.gif()
      return hasVirtual(guest) || (line && (!guest.control.vintr.masking || guest.hostIf))
    },
    wakes(line, attention, open) {
      const guest = options.guest()
      if (guest === null) return options.gif() && (attention || (line && open))
      const { vintr, vector3 } = guest.control
      // Without an intercept, what masking lets through waits for the guest's IF as well.
      const physical = vintr.masking && (vector3 & I3.INTR) !== 0 ? guest.hostIf : open
      return attention || (line && physical) || (hasVirtual(guest) && open)
    },
    shutdown() {
      const guest = options.guest()
      if (guest === null || (guest.control.vector3 & I3.SHUTDOWN) === 0) return false
      setExit(plain(SvmExit.SHUTDOWN))
      return true
    },
    fail(code) {
      clear()
      setExit(plain(code))
    },
    entered(event) {
      clear()
      injection = (event & EventInject.mask.V) !== 0n ? event : 0n
      pauses = present().control.pauseCount
      lastPause = cpu.timestamp()
      // What is pending at the processor, or virtually, is looked at before the first instruction.
      processor.reconsider()
    },
    deny(outcome) {
      settleAccess(outcome)
      return raise(guestFault.vector, guestFault.errorCode)
    },
    kicked() {
      clear()
      return plain(SvmExit.INTR)
    },
    notes: () => ({ soft, softRip, pauses, lastPause }),
    takeNotes(notes) {
      clear()
      ;({ soft, softRip, pauses, lastPause } = notes)
    },
  }
  return supervisor
}
