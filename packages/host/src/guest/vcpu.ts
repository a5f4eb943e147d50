/**
 * One processor of a guest: a physical processor enters it, its exits are served, and its virtual local APIC decides what
 * it is interrupted by. It runs for so many instructions at a time, as the machine's scheduler says.
 */
import {
  EventInject, EventType, Intercept3, InterruptState, SvmExitFailure, VirtualInterrupt,
} from '@cofferdam/spec'
import { APIC_EVENT, type LocalApic, type Svm, type SvmVmexit } from '@cofferdam/x86'
import type { GuestCpu } from '../cpu/guest-cpu.ts'
import { hex } from '../errors.ts'
import { createVmgexitServer } from '../ghcb/server.ts'
import type { GuestServices, VcpuPause } from '../ghcb/types.ts'
import type { Npt } from '../memory/npt.ts'
import { VMEXITS } from '../vmexit/index.ts'
import type { VmexitVcpu } from '../vmexit/types.ts'
import { COSTS } from './costs.ts'
import type { Vmcb } from './vmcb.ts'

export interface VcpuOptions {
  readonly index: number
  /** The physical processor that runs it, and nobody else. */
  readonly svm: Svm
  readonly vmcb: Vmcb
  readonly apic: LocalApic
  readonly cpu: GuestCpu
  readonly guest: GuestServices & { readonly npt: Npt }
  /** The next vector of the PIC. */
  readonly picAcknowledge: () => number
  /** An exit was served. */
  readonly onExit: (name: string, malformed: string | undefined) => void
}

/** What a scheduler needs of something that it gives turns to. */
export interface Vcpu {
  readonly index: number
  readonly apic: LocalApic
  readonly vmcb: Vmcb
  /** Why it stopped for good: never, a guest ends as a whole. */
  readonly stopped: ''
  /** It waits for an interrupt or for its start. */
  readonly halted: boolean
  readonly counts: { pauses: number }
  /** A halted one that has something to wake up for. */
  wakes(): boolean
  /**
   * Runs at most so many instructions, less what is charged meanwhile; answers how many. With `yields`, spinning ends the
   * turn.
   */
  run(instructions: number, yields: boolean): number
  /** The turn ended before its instructions were used up: it was stopped, or waits. */
  wasStopped(): boolean
  /** Ends the turn at the next instruction. */
  stop(): void
  /** Sets the time-stamp counter before a turn. */
  setTime(time: number): void
  /** Lets time go on in the middle of a turn. */
  charge(time: number): void
  /** Instructions of the present turn. */
  progress(): number
  /**
   * Runs with another VMSA from now on; undefined: not at all.
   * @param held it first waits for a start-up IPI, as processors do after reset
   */
  setVmsa(systemPage: number | undefined, held?: boolean): void
  /** Takes an APIC's INIT and start-up requests; the guest's own way to start processors is AP creation. */
  takeStartup(): void
}

/** Nested page faults of one place in a row until a guest counts as stuck. */
const STUCK = 1000

const EVENT_VALID = EventInject.mask.V
const NMI = EVENT_VALID | 2n | BigInt(EventType.NMI) << BigInt(EventInject.shift.type)

export function createVcpu(options: VcpuOptions): Vcpu {
  const { index, svm, vmcb, apic, cpu, guest } = options
  const { processor } = svm
  const server = createVmgexitServer(guest)
  let runnable = false
  let waiting: 'no' | VcpuPause = 'no'
  /** NMIs are held until the guest says that it has handled one. */
  let nmiMasked = false
  /** The guest was asked to come back as soon as it takes interrupts. */
  let window = false
  let stopping = false
  let yields = false
  let inside = false
  /** Instructions of this turn, and nanoseconds that were charged beside them. */
  let done = 0
  let charged = 0
  let stuckAt = -1n
  let stuckCount = 0

  const isPending = (events: number): boolean =>
    (events & (APIC_EVENT.FIXED | APIC_EVENT.EXTINT)) !== 0 || ((events & APIC_EVENT.NMI) !== 0 && !nmiMasked)

  const isOpen = (): boolean => (vmcb.get('interruptState') & InterruptState.mask.GUEST_INTERRUPT_MASK) !== 0n
  const hasShadow = (): boolean => (vmcb.get('interruptState') & InterruptState.mask.INTERRUPT_SHADOW) !== 0n

  const setWindow = (on: boolean): void => {
    if (window === on) return
    window = on
    const word = vmcb.get('virtualInterrupt')
    const asked = VirtualInterrupt.mask.V_IRQ | VirtualInterrupt.mask.V_IGN_TPR
    vmcb.set('virtualInterrupt', on ? word | asked : word & ~asked)
    const vintr = Intercept3.mask.VINTR
    const intercepts = vmcb.get('intercept3')
    vmcb.set('intercept3', (on ? intercepts | vintr : intercepts & ~vintr) >>> 0)
  }

  /** The vector of a pending interrupt, taken from the PIC or the APIC; −1 when it is gone. */
  const acknowledge = (events: number): number => {
    if ((events & APIC_EVENT.EXTINT) !== 0) {
      apic.takeExtInt()
      return options.picAcknowledge()
    }
    return (events & APIC_EVENT.FIXED) === 0 ? -1 : apic.acknowledge()
  }

  /** Puts what waits into EVENTINJ, or asks to be told when the guest takes it. The guest is not resident. */
  const inject = (): void => {
    // An event whose delivery an exit interrupted comes first (APM vol. 2, §15.7.2).
    const interrupted = vmcb.get('exitIntInfo')
    if ((interrupted & EVENT_VALID) !== 0n) {
      vmcb.set('exitIntInfo', 0n)
      vmcb.set('eventInj', interrupted)
      return
    }
    const events = apic.pendingEvents()
    if ((events & APIC_EVENT.NMI) !== 0 && !nmiMasked && !hasShadow()) {
      apic.takeNmi()
      nmiMasked = true
      vmcb.set('eventInj', NMI)
      return
    }
    if ((events & (APIC_EVENT.FIXED | APIC_EVENT.EXTINT)) === 0) {
      setWindow(false)
      return
    }
    if (!isOpen() || hasShadow()) {
      setWindow(true)
      return
    }
    const vector = acknowledge(events)
    if (vector >= 0) vmcb.set('eventInj', EVENT_VALID | BigInt(vector))
    // What comes next waits for the next open window.
    setWindow((apic.pendingEvents() & (APIC_EVENT.FIXED | APIC_EVENT.EXTINT)) !== 0)
  }

  const vcpu: VmexitVcpu = {
    index, apic, cpu, vmcb, dr7: 0x400n, ghcb: -1,
    nmiDone() { nmiMasked = false },
    pause(how) {
      if (how === 'yield') {
        self.counts.pauses++
        if (yields) stopping = true
      } else waiting = how
    },
    closeWindow() { setWindow(false) },
    stuck(what) {
      const at = vmcb.get('exitInfo2')
      stuckCount = at === stuckAt ? stuckCount + 1 : 0
      stuckAt = at
      if (stuckCount !== STUCK) return
      guest.fact(index, { kind: 'stuck', gpa: at, text: what })
      guest.end({ why: `vCPU ${index}: the guest makes no progress at ${what}` })
    },
  }

  const serve = ({ code, info1, info2, retired }: SvmVmexit): void => {
    if (retired > 1) stuckAt = -1n
    guest.charge(COSTS.vmexit)
    const handler = VMEXITS.get(code)
    if (handler !== undefined) {
      handler({ info1, info2, guest, vcpu, server, note: options.onExit })
      return
    }
    const failed = BigInt.asUintN(64, BigInt(code))
    options.onExit(`code-${hex(failed)}`, undefined)
    // A VMSA that is in use is another's; the entry can be tried again.
    if (failed === SvmExitFailure.BUSY) stopping = true
    else guest.end({ why: `vCPU ${index}: the processor cannot run the guest: exit code ${hex(failed)}, ${hex(info1)}` })
  }

  const wakes = (): boolean => {
    if (!runnable) return false
    const events = apic.pendingEvents()
    if (waiting === 'reset-hold') return (events & (APIC_EVENT.INIT | APIC_EVENT.STARTUP)) !== 0
    const nmi = (events & APIC_EVENT.NMI) !== 0 && !nmiMasked
    return nmi || ((events & (APIC_EVENT.FIXED | APIC_EVENT.EXTINT)) !== 0 && isOpen())
  }

  /** Whether a resident guest has to come out: something waits that it was not told of. */
  const wanted = (): boolean => {
    const events = apic.pendingEvents()
    return isPending(events) && (!window || ((events & APIC_EVENT.NMI) !== 0 && !nmiMasked))
  }

  const self: Vcpu = {
    index, apic, vmcb, wakes, stopped: '',
    counts: { pauses: 0 },
    get halted() { return !runnable || waiting !== 'no' },
    run(instructions, yielding) {
      done = 0
      charged = 0
      stopping = false
      yields = yielding
      if (waiting !== 'no' && wakes()) waiting = 'no'
      while (done + charged < instructions && runnable && waiting === 'no' && !stopping) {
        if (svm.inGuest && wanted()) {
          svm.kick()
          options.onExit('interrupt', undefined)
        }
        if (!svm.inGuest) inject()
        inside = true
        const result = svm.vmrun(vmcb.address, instructions - done - charged)
        inside = false
        // An exit counts as an instruction at least: a guest that only exits uses its turn up, too.
        done += Math.max(1, result.retired)
        if (result.exit === 'budget') break
        serve(result)
      }
      return done
    },
    stop() {
      stopping = true
      if (inside) processor.stop()
    },
    setTime(time) { processor.setTime(time) },
    wasStopped: () => stopping || self.halted,
    charge(time) {
      charged += time
      processor.charge(time)
    },
    progress: () => done + (inside ? processor.progress() : 0),
    setVmsa(systemPage, held = false) {
      if (svm.inGuest) svm.kick()
      runnable = systemPage !== undefined
      waiting = held ? 'reset-hold' : 'no'
      nmiMasked = false
      stopping = true
      setWindow(false)
      vmcb.set('eventInj', 0n)
      vmcb.set('exitIntInfo', 0n)
      vmcb.set('interruptState', 0n)
      if (systemPage !== undefined) vmcb.set('vmsaPa', BigInt(systemPage) * 4096n)
    },
    takeStartup() {
      apic.takeInit()
      if (apic.takeStartup() >= 0 && waiting === 'reset-hold') waiting = 'no'
    },
  }
  return self
}
