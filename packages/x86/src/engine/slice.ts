/** A slice: generated code and what it comes back for in turns, until the budget is spent or the processor waits. */
import { BUDGET, EVENT, EXIT_REASON, ICOUNT, RIP, SHADOW, SLICE, TIME_END, YIELDS } from '../state.ts'
import { CodeCacheFull } from './code-cache.ts'
import type { Core } from './core.ts'
import type { Events } from './events.ts'
import type { Exits } from './exits.ts'
import { codeBase } from './fetching.ts'
import type { Fetching } from './fetching.ts'
import type { SingleStep } from './single-step.ts'
import { EXIT } from './uop.ts'

/** Blocks and single instructions decoded between two looks at whether the slice shall end. */
const ASK_AFTER = 1024

export interface Parts {
  readonly fetching: Fetching
  readonly events: Events
  readonly exits: Exits
  readonly steps: SingleStep
}

/** Fewest instructions of a part of a slice that may end between two blocks. */
const LEAST_PART = 1024

/** Runs at most `instructions`; answers how many were retired. The processor is active. */
export function createSliceRunner(
  core: Core, parts: Parts,
): (instructions: number, yields: boolean, part: boolean) => number {
  const { engine, breakpoints, counts, options } = core
  const { i32, i64, f64 } = engine.memory.views
  const { fetching, events, exits, steps } = parts

  const supervised = (): boolean => core.supervisor?.pending === true
  const isIdle = (): boolean => core.halted || core.stopped !== ''

  /** An instruction that runs by itself, in an interrupt shadow. */
  const stepInShadow = (): void => {
    if (core.stackShadow) steps.step()
    else steps.stepDebugged()
  }

  /** How much was decoded when it was last asked. */
  let asked = 0
  /** What is left of the slice's budget is for another slice. */
  let curtailed = false
  const ask = (): void => {
    asked = counts.translated + counts.steps
    if (options.interrupted?.() !== true) return
    curtailed = true
    core.look()
  }
  /** Time does not move: its end and what is left of it come nearer together. */
  const curtail = (): void => {
    curtailed = false
    const left = Math.max(0, i32[BUDGET >>> 2])
    i32[BUDGET >>> 2] -= left
    i32[SLICE >>> 2] -= left
    i64[TIME_END >>> 3] -= BigInt(left)
  }

  const runSlice = (): void => {
    let pc = 0
    for (;;) {
      if (counts.translated + counts.steps - asked >= ASK_AFTER) ask()
      if (pc === 0) {
        if (curtailed) curtail()
        if (supervised()) {
          core.supervisor?.settle()
          continue
        }
        // A shadow outlasts the slice. Behind MOV SS even traps wait (SDM vol. 3 §6.8.3).
        if (i32[SHADOW >>> 2] !== 0 && !core.halted && (core.stackShadow || breakpoints.hits === 0)) {
          if (i32[BUDGET >>> 2] <= 0 || core.stopped !== '') return
          stepInShadow()
          continue
        }
        if (breakpoints.hits !== 0) {
          if (events.endless()) return
          events.takeTraps()
        }
        if (i32[EVENT >>> 2] !== 0) events.attend()
        if (supervised()) continue
        if (core.ending || i32[BUDGET >>> 2] <= 0 || isIdle()) return
        if (fetching.stepsHere()) {
          steps.stepDebugged()
          continue
        }
        pc = exits.follow(0)
        if (pc === 0) continue
      }
      exits.execute(pc, i32[BUDGET >>> 2])
      pc = exits.serve()
      if (pc !== 0 || i32[EXIT_REASON >>> 2] !== EXIT.ENTER) continue
      if (ragged && !events.wanted()) return
      finishSlice()
    }
  }

  /** What runs is a part of a slice, which may end before a block that does not fit. */
  let ragged = false

  /** The rest of a slice that ends inside a block, instruction by instruction. */
  const finishSlice = (): void => {
    while (i32[BUDGET >>> 2] > 0 && !isIdle() && !events.wanted() && !fetching.stepsHere()) steps.step()
  }

  return (instructions, yields, part) => {
    const { trapped } = core
    core.ending = false
    curtailed = false
    core.passing = trapped?.kind === 'execute'
      && trapped.address === BigInt.asUintN(64, i64[RIP >>> 3] + BigInt(codeBase(i32)))
    core.trapped = null
    core.generated = false
    ragged = part && instructions >= LEAST_PART
    i32[YIELDS >>> 2] = yields ? 1 : 0
    i32[BUDGET >>> 2] = instructions
    i32[SLICE >>> 2] = instructions
    i64[TIME_END >>> 3] = BigInt(f64[ICOUNT >>> 3] + instructions)
    for (;;) {
      try {
        runSlice()
        break
      } catch (error) {
        if (!(error instanceof CodeCacheFull)) throw error
        core.stepping = false
        engine.flushCode()
      }
    }
    // Code that waits is compiled together, as much as there is.
    if (!part) engine.jit?.flush()
    const done = i32[SLICE >>> 2] - i32[BUDGET >>> 2]
    f64[ICOUNT >>> 3] += done
    i32[BUDGET >>> 2] = 0
    i32[SLICE >>> 2] = 0
    return done
  }
}
