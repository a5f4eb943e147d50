/** One instruction by itself: TF, breakpoints, interrupt shadows and the end of a slice inside a block. */
import { createInsn } from '../decode/decode.ts'
import { OP } from '../ops.ts'
import { BUDGET, EXIT_REASON, EXIT_UOP, RIP, SHADOW, SLICE, SYSFLAGS, TIME_END } from '../state.ts'
import { HOST_HIT } from './breakpoints.ts'
import type { CodePage } from './code-cache.ts'
import { RF, TF } from './core.ts'
import type { Core } from './core.ts'
import type { Events } from './events.ts'
import type { Exits } from './exits.ts'
import type { Fetching } from './fetching.ts'
import { EXIT, HEADER_SIZE, UOP_SIZE } from './uop.ts'

export interface SingleStep {
  /** Executes exactly one instruction (or one exception's delivery, or one round of a repeated string instruction). */
  step(): void
  /** Runs the instruction at RIP by itself, or enters the handler of its breakpoint. */
  stepDebugged(): void
}

export function createSingleStep(core: Core, fetching: Fetching, events: Events, exits: Exits): SingleStep {
  const { engine, breakpoints, counts } = core
  const { cache, translator, memory: { views: { i32, i64 } } } = engine
  /** The instruction of a step, if somebody will ask for it. */
  const stepped = createInsn()

  /** Moves the end of the slice: a step's slice ends with it, whatever comes after, so that it reads the right time. */
  const setSliceEnd = (by: number): void => {
    if (by === 0) return
    i32[SLICE >>> 2] += by
    i64[TIME_END >>> 3] += BigInt(by)
  }

  /** As `serve`, inside a single step: whatever leads out of the instruction ends it. */
  const serveStep = (): number => {
    const uop = i32[EXIT_UOP >>> 2]
    switch (i32[EXIT_REASON >>> 2]) {
      case EXIT.ENTER:
      case EXIT.PAGE:
        exits.placeHeader(uop)
        return 0
      case EXIT.LOOKUP:
      case EXIT.LINK:
      case EXIT.STEP:
        return 0
      case EXIT.EVENT:
        // The micro-op behind the instruction is the STEP that knows where it leads.
        return uop
      case EXIT.CROSS:
        // Both pages were looked up a moment ago.
        return uop + UOP_SIZE
      default:
        return exits.serve()
    }
  }

  /** Decodes the instruction at RIP alone and runs it, for a budget of one. */
  const runOne = (page: CodePage | null, left: number, flags: number, debugged: boolean): void => {
    const block = page === null ? null
      : translator.step(page, fetching.low & 0xfff, fetching.behind) ?? fetching.failed()
    if (block === null) {
      events.deliverFault()
      return
    }
    if (debugged) translator.insnAt(block.header + HEADER_SIZE, stepped)
    core.stepShadow = i32[SHADOW >>> 2]
    i32[SHADOW >>> 2] = 0
    // RF lasts one instruction; a fault saves it set in any case.
    i32[SYSFLAGS >>> 2] = flags & ~RF
    core.stackShadow = false
    setSliceEnd(1 - left)
    for (let uop = block.header + HEADER_SIZE; uop !== 0;) {
      // Nothing may be entered: a budget of 0 stops at the first block.
      exits.execute(uop, 0)
      uop = serveStep()
    }
    setSliceEnd(left - 1)
  }

  const step = (): void => {
    counts.steps++
    const left = i32[BUDGET >>> 2]
    const before = core.taken
    const flags = i32[SYSFLAGS >>> 2]
    const rip = i64[RIP >>> 3]
    const debugged = (flags & TF) !== 0 || breakpoints.code !== 0
    core.delivered = false
    fetching.locate()
    core.stepping = true
    const page = fetching.here()
    cache.temporarily(() => { runOne(page, left, flags, debugged) })
    core.stepping = false
    core.stepShadow = 0
    i32[BUDGET >>> 2] = left - 1 - (core.taken - before)
    if (debugged && !core.delivered) afterStep(flags, rip)
  }

  /**
   * What a completed instruction, in `stepped`, leaves behind: a single-step trap, or RF in the midst of repetitions.
   */
  const afterStep = (before: number, rip: bigint): void => {
    const { op, rep } = stepped
    // An interrupted repetition does not hit its breakpoint again (SDM vol. 3 §18.3.1.1).
    if (rep !== 0 && i64[RIP >>> 3] === rip && breakpoints.code !== 0) i32[SYSFLAGS >>> 2] |= RF
    // SYSCALL and SYSRET go by the flags they load (Linux, entry_64.S), the others by those they started with; who
    // entered a handler is done with TF.
    const flags = isFastCall(op) ? i32[SYSFLAGS >>> 2] : isInterrupt(op) ? before & i32[SYSFLAGS >>> 2] : before
    if ((flags & TF) !== 0 && !(core.stackShadow && i32[SHADOW >>> 2] !== 0)) events.noteStep()
  }

  const stepDebugged = (): void => {
    if (breakpoints.code !== 0) {
      fetching.locate()
      const all = breakpoints.codeAt(fetching.low, fetching.high)
      if ((all & HOST_HIT) !== 0 && !core.passing) {
        core.trapped = breakpoints.hostHit
        core.stop()
        return
      }
      const bits = (i32[SYSFLAGS >>> 2] & RF) !== 0 ? 0 : all & ~HOST_HIT
      if (bits !== 0) {
        events.deliverBreakpoint(bits)
        return
      }
    }
    core.passing = false
    step()
  }

  return { step, stepDebugged }
}

/** INT n, INT3, INTO and INT1. */
const interrupts = new Set<number>([OP.int, OP.int3, OP.into, OP.int1])
const isInterrupt = (op: number): boolean => interrupts.has(op)
const isFastCall = (op: number): boolean => op === OP.syscall || op === OP.sysret
