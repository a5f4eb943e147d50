/** What comes between instructions: faults, traps, interrupts and what else asks for attention. */
import { VECTOR, guestFault } from '../cpu.ts'
import { BUDGET, DR, EVENT, RIP, SHADOW, SYSFLAGS } from '../state.ts'
import { DR6_BITS } from '../system/bits.ts'
import { deliverException, deliverInterrupt } from '../system/deliver.ts'
import { HOST_HIT } from './breakpoints.ts'
import { IF } from './core.ts'
import type { Core } from './core.ts'
import { raiseHere } from './fetching.ts'
import type { Processor } from './processor-types.ts'
import { HOLD } from './supervisor.ts'
import { EVENT_INTERRUPT, EVENT_STOP } from './uop.ts'

const DR6 = DR + 6 * 8

export interface Events {
  /** Enters the handler for the fault in `guestFault`. */
  deliverFault(): void
  /** A fault of a breakpoint at the instruction that would be next; `bits` of DR6 tell which. */
  deliverBreakpoint(bits: number): void
  /** Traps of the instruction before: single step, data and port breakpoints. */
  takeTraps(): void
  /** Notes a single step's trap. */
  noteStep(): void
  /** Traps wait and can't be taken any more in this slice: each leads to the next one. */
  endless(): boolean
  /** Takes what waits at an instruction boundary. */
  attend(): void
  /** Whether something is to be taken at this instruction boundary. */
  wanted(): boolean
  /** Whether generated code was told to come back. */
  isStopped(): boolean
  /** Tells generated code whether interrupts wait for IF. */
  applyLine(): void
}

export function createEvents(core: Core, processor: () => Processor): Events {
  const { options, cpu, counts, breakpoints } = core
  const { i32, i64 } = core.engine.memory.views
  /** Entering the handler of a trap was a trap. */
  let endless = false

  const deliverFault = (): void => {
    counts.faults++
    core.delivered = true
    core.stackShadow = false
    // What a data breakpoint saw of an instruction that did not complete is lost.
    breakpoints.hits = 0
    if (core.supervisor?.exception() === true) {
      // The instruction has not happened: its shadow is still there.
      i32[SHADOW >>> 2] = core.stepShadow
      return
    }
    options.onException?.()
    // Where execution stays if delivery shuts the processor down.
    core.nextRip = i64[RIP >>> 3]
    deliverException(cpu, guestFault.vector, guestFault.errorCode, guestFault.address)
    i64[RIP >>> 3] = core.nextRip
  }

  /** #DB replaces B0–B3 and leaves BD and BS to software (SDM vol. 3 §18.2.3). */
  const setDr6 = (bits: number): void => { i32[DR6 >>> 2] = (i32[DR6 >>> 2] & ~0xf) | bits }

  const applyLine = (): void => {
    const word = core.at(EVENT) >>> 2
    if (core.supervisor === null ? core.line : core.supervisor.wants(core.line)) i32[word] |= EVENT_INTERRUPT
    else i32[word] &= ~EVENT_INTERRUPT
  }

  return {
    deliverFault, applyLine,
    deliverBreakpoint(bits) {
      setDr6(bits)
      raiseHere(VECTOR.DB, -1)
      i32[BUDGET >>> 2]--
      deliverFault()
    },
    takeTraps() {
      const bits = breakpoints.hits & ~HOST_HIT
      if ((breakpoints.hits & HOST_HIT) !== 0) {
        core.trapped = breakpoints.hostHit
        core.stop()
      }
      breakpoints.hits = 0
      endless = false
      if (bits === 0) return
      setDr6(bits)
      core.halted = false
      raiseHere(VECTOR.DB, -1)
      if (core.supervisor?.exception() === true) return
      core.nextRip = i64[RIP >>> 3]
      // Intercepted in a guest with SEV-ES it has become #VC.
      deliverException(cpu, guestFault.vector, guestFault.errorCode)
      i64[RIP >>> 3] = core.nextRip
      // A stack that is watched: entering the handler is the next trap, for ever. That must take time, as far as
      // there is any
      // left in this slice.
      endless = breakpoints.hits !== 0
      if (endless && i32[BUDGET >>> 2] > 0) i32[BUDGET >>> 2]--
    },
    noteStep() { breakpoints.hits |= DR6_BITS.BS },
    endless: () => endless && i32[BUDGET >>> 2] <= 0,
    attend() {
      i32[EVENT >>> 2] &= ~EVENT_STOP
      if (core.withheld) return
      const held = core.supervisor === null ? 0 : core.supervisor.holds()
      if (core.attention && (held & HOLD.ATTENTION) === 0) {
        core.attention = false
        options.attend(processor())
      }
      if ((held & HOLD.INTERRUPTS) !== 0) return
      if ((i32[EVENT >>> 2] & EVENT_INTERRUPT) === 0 || (i32[SYSFLAGS >>> 2] & IF) === 0) return
      const vector = options.acknowledge()
      if (vector < 0) {
        // Gone in the meantime: it must not keep a halted processor awake.
        core.line = false
        applyLine()
        return
      }
      counts.interrupts++
      core.halted = false
      core.nextRip = i64[RIP >>> 3]
      deliverInterrupt(cpu, vector)
      i64[RIP >>> 3] = core.nextRip
    },
    wanted() {
      if (core.withheld) return breakpoints.hits !== 0 || i32[SHADOW >>> 2] !== 0
      const event = i32[EVENT >>> 2]
      return (event & EVENT_STOP) !== 0 || breakpoints.hits !== 0 || i32[SHADOW >>> 2] !== 0
        || ((event & EVENT_INTERRUPT) !== 0 && (i32[SYSFLAGS >>> 2] & IF) !== 0)
    },
    isStopped: () => (i32[EVENT >>> 2] & EVENT_STOP) !== 0,
  }
}
