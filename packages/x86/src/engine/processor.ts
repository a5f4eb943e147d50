/**
 * One processor: it runs the generated interpreter until something needs the host (an event, a system instruction, an
 * address without a decoded block), serves that, and goes on. Instructions are counted exactly: an event due after n
 * instructions is taken after n, whatever the blocks look like.
 */
import type { CpuHost } from '../cpu.ts'
import {
  BUDGET, CPL, EVENT, EXIT_UOP, HOT, HOT_END, ICOUNT, MODE, RIP, SLICE, SYSFLAGS, YIELDS,
} from '../state.ts'
import { createBreakpoints } from './breakpoints.ts'
import type { Breakpoints } from './breakpoints.ts'
import { placeRip } from './rip.ts'
import { IF } from './core.ts'
import type { Core } from './core.ts'
import { createCpu } from './cpu-services.ts'
import type { EngineCpu } from './cpu-services.ts'
import { createEvents } from './events.ts'
import { createExits } from './exits.ts'
import { codeBase, createFetching } from './fetching.ts'
import { decodeMode } from './mode.ts'
import { createMmu } from './mmu.ts'
import type { Mmu } from './mmu-types.ts'
import { nameProcessor, restoreInto, snapshotOf } from './processor-state.ts'
import type { Processor, ProcessorOptions } from './processor-types.ts'
import { createSingleStep } from './single-step.ts'
import { createSliceRunner } from './slice.ts'
import { EVENT_STOP } from './uop.ts'

/** Makes a processor as after reset. */
export function createProcessor(options: ProcessorOptions): Processor {
  const core = createCore(options)
  const { engine, mmu, cpu, counts, area, at, look, stop } = core
  const { i32, u8, i64, f64 } = engine.memory.views
  const events = createEvents(core, () => processor)
  const fetching = createFetching(core)
  const exits = createExits(core, fetching, events)
  const steps = createSingleStep(core, fetching, events, exits)
  const runSlice = createSliceRunner(core, { fetching, events, exits, steps })

  const activate = (): void => {
    engine.makeResident(area)
    engine.current = mmu
  }

  const processor: Processor = {
    index: options.index, cpu, mmu, counts,
    get halted() { return core.halted },
    set halted(halted) { core.halted = halted },
    get stopped() { return core.stopped },
    set stopped(reason) { core.stopped = reason },
    run(instructions, yields = false, part = false) {
      activate()
      return runSlice(instructions, yields, part)
    },
    stop,
    wasStopped: () => core.ending || core.halted || core.stopped !== '',
    watch(watches) {
      core.breakpoints.watch(watches)
      mmu.flush(true)
    },
    get trapped() { return core.trapped },
    stepOne() {
      activate()
      core.trapped = { kind: 'execute', address: BigInt.asUintN(64, i64[RIP >>> 3] + BigInt(codeBase(i32))), length: 1 }
      core.withheld = true
      try {
        return processor.run(1)
      } finally {
        core.withheld = false
        look()
      }
    },
    setInterrupt(pending) {
      core.line = pending
      events.applyLine()
      // It may take a guest away whatever IF says.
      if (core.supervisor !== null) look()
    },
    setAttention() {
      core.attention = true
      look()
    },
    interruptible: () => (i32[at(SYSFLAGS) >>> 2] & IF) !== 0,
    setRip(rip) { i64[RIP >>> 3] = BigInt.asIntN(64, rip) },
    setTime(time) {
      activate()
      f64[ICOUNT >>> 3] = time
    },
    charge(time) {
      f64[ICOUNT >>> 3] += time
      // TIME_END stays, so that what reads the time from it and BUDGET sees it go on.
      i32[SLICE >>> 2] -= time
      i32[BUDGET >>> 2] -= time
      core.taken += time
      // The rest of the block may be too long now.
      if (i32[BUDGET >>> 2] < 0) look()
    },
    progress: () => i32[SLICE >>> 2] - i32[BUDGET >>> 2] - core.uncharged,
    wakes() {
      const open = (i32[at(SYSFLAGS) >>> 2] & IF) !== 0
      if (core.supervisor !== null) return core.supervisor.wakes(core.line, core.attention, open)
      return core.attention || (core.line && open)
    },
    supervise(above) { core.supervisor = above },
    interruptPending: () => core.line,
    pendingEvents: () => (core.attention ? options.pendingEvents?.() ?? 0 : 0),
    reconsider() {
      events.applyLine()
      look()
    },
    width: () => decodeMode(i32[at(MODE) >>> 2]),
    privilege: () => i32[at(CPL) >>> 2],
    retired: () => f64[at(ICOUNT) >>> 3]
      + (engine.resident === area ? i32[SLICE >>> 2] - i32[BUDGET >>> 2] - core.uncharged : 0),
    activate,
    snapshot() {
      activate()
      return snapshotOf(core)
    },
    restore(saved) {
      activate()
      restoreInto(core, saved)
      if (core.attention) look()
      events.applyLine()
    },
  }

  activate()
  u8.fill(0, HOT, HOT_END)
  nameProcessor(core)
  return processor
}

/** The state that the parts share, with the processor's way to memory and its `Cpu`. */
function createCore(options: ProcessorOptions): Core {
  const { engine, index } = options
  const { memory, cache } = engine
  const { i32 } = memory.views
  const slot = index * 4
  const area = memory.reserve(HOT_END - HOT)
  const breakpoints = createBreakpoints(memory.views)
  let inGenerated = false
  const mmu = createMmu({
    memory, breakpoints, physicalBits: options.physicalBits, faults: options.faults ?? null,
    beforeSeen: () => {
      if (!core.generated || core.uncharged !== 0) return
      const uop = i32[EXIT_UOP >>> 2]
      const { page, offset } = cache.blockAt(uop)
      placeRip(i32, page, offset + cache.offsetAt(uop))
    },
    beforeIo: () => {
      // Inside a meaning in TypeScript it is known already.
      if (!core.generated || core.uncharged !== 0) return
      const uop = i32[EXIT_UOP >>> 2]
      core.uncharged = cache.blockAt(uop).count - cache.indexAt(uop)
      inGenerated = true
    },
    afterIo: () => {
      if (inGenerated) core.uncharged = 0
      inGenerated = false
    },
  }, slot)
  engine.mmus.push(mmu)
  const at = (address: number): number => (engine.resident === area ? address : area + address - HOT)
  const core: Core = {
    options, engine, mmu, breakpoints, slot, area, at,
    cpu: createCpuFor(options, () => core, mmu, breakpoints),
    counts: { host: 0, faults: 0, interrupts: 0, lookups: 0, links: 0, translated: 0, steps: 0, pauses: 0 },
    supervisor: null, halted: false, stopped: '',
    nextRip: 0n, uncharged: 0, generated: false, taken: 0,
    stepping: false, stepShadow: 0, stackShadow: false, delivered: false,
    line: false, attention: false, ending: false, withheld: false, trapped: null, passing: false,
    look() { i32[at(EVENT) >>> 2] |= EVENT_STOP },
    stop() {
      core.ending = true
      core.look()
    },
  }
  return core
}

/** What meanings in TypeScript see of the processor, which exists when the first of them runs. */
function createCpuFor(options: ProcessorOptions, core: () => Core, mmu: Mmu, breakpoints: Breakpoints): EngineCpu {
  const { engine, index, host, system } = options
  return createCpu({
    engine, mmu, breakpoints, index, host: watchPorts(host, breakpoints), system,
    nextRip: () => core().nextRip,
    setNextRip: (rip) => { core().nextRip = rip },
    halt: () => {
      core().halted = true
      core().stop()
    },
    shutdown: (reason) => {
      if (core().supervisor?.shutdown(reason) === true) return
      core().stopped = reason
      core().stop()
    },
    supervisor: () => core().supervisor,
    pause: () => {
      if (engine.memory.views.i32[YIELDS >>> 2] === 0) return
      core().counts.pauses++
      core().stop()
    },
    uncharged: () => core().uncharged,
  })
}

/** Ports with their breakpoints. */
const watchPorts = (host: CpuHost, breakpoints: Breakpoints): CpuHost => ({
  portRead(port, size) {
    if (breakpoints.ports !== 0) breakpoints.portAccessed(port, size)
    return host.portRead(port, size)
  },
  portWrite(port, size, value) {
    if (breakpoints.ports !== 0) breakpoints.portAccessed(port, size)
    host.portWrite(port, size, value)
  },
  random64: () => host.random64(),
  externalVector: () => host.externalVector(),
})
