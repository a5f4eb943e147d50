/** Taking a processor's snapshot, and putting one into the state of a snapshot. */
import { FLUSH } from '../cpu.ts'
import { CPU_INDEX, CPU_SLOT, HOT } from '../state.ts'
import { HOST_HIT } from './breakpoints.ts'
import { CodeCacheFull } from './code-cache.ts'
import type { Core } from './core.ts'
import { checkRegisters, loadCounts, loadMsrs, saveCounts, saveMsrs, saveRegisters } from './processor-image.ts'
import type { ProcessorSnapshot } from './processor-image.ts'
import { needState, StateError } from './translations.ts'

/** Writes what generated code knows its processor by. */
export function nameProcessor({ engine, slot, options }: Core): void {
  const { i32 } = engine.memory.views
  i32[CPU_SLOT >>> 2] = slot
  i32[CPU_INDEX >>> 2] = options.index
}

/** The active processor as data. @throws StateError for what a supervisor cannot keep */
export function snapshotOf(core: Core): ProcessorSnapshot {
  const { engine, mmu, breakpoints, options: { system }, halted, stopped, line, attention, stackShadow } = core
  const { nmiBlocked, monitorAddress } = system
  return {
    registers: saveRegisters(engine.memory.views.u8, HOT, engine.flagImage()),
    halted, stopped, line, attention, stackShadow, traps: breakpoints.hits & ~HOST_HIT, nmiBlocked,
    monitor: monitorAddress < 0n ? null : [Number(monitorAddress & 0xffff_ffffn), Number(monitorAddress >> 32n)],
    msrs: saveMsrs(system), counts: saveCounts(core.counts), translations: mmu.snapshot(),
    supervisor: core.supervisor?.snapshot() ?? null,
  }
}

/**
 * Puts the active processor into the state of `saved`; memory is there already. Whether interrupts wait is applied by
 * the caller.
 * @throws StateError for what no such processor can be in
 */
export function restoreInto(core: Core, saved: ProcessorSnapshot): void {
  const { engine, cpu, options: { system } } = core
  checkRegisters(saved.registers, system)
  engine.memory.views.u8.set(saved.registers, HOT)
  nameProcessor(core)
  loadMsrs(system, saved.msrs)
  restoreSupervisor(core, saved)
  // Everything that follows from the registers; this forgets translations.
  cpu.modeChanged()
  cpu.flushTlb(FLUSH.ALL)
  loadCounts(core.counts, saved.counts)
  restoreTranslations(core, saved)
  const { line, attention, stackShadow, halted, stopped } = saved
  Object.assign(core, { line, attention, stackShadow, halted, stopped })
  core.breakpoints.hits = saved.traps
  system.nmiBlocked = saved.nmiBlocked
  const [low, high] = saved.monitor ?? []
  system.monitorAddress = low === undefined ? -1n : BigInt(high) << 32n | BigInt(low)
}

/** Who stands above the code decides how it pages, before anything is worked out from the registers. */
function restoreSupervisor({ supervisor }: Core, { supervisor: saved }: ProcessorSnapshot): void {
  needState((supervisor === null) === (saved === null), 'supervisor',
    supervisor === null ? 'nothing: nobody stands above this processor' : 'what SVM knows of its guests')
  if (supervisor !== null && saved !== null) supervisor.restore(saved)
}

function restoreTranslations({ mmu, engine }: Core, { translations }: ProcessorSnapshot): void {
  try {
    mmu.restore(translations, engine.cache.codePage)
  } catch (error) {
    if (!(error instanceof CodeCacheFull)) throw error
    throw new StateError('translations.fetches', 'no more pages than there is room for')
  }
}
