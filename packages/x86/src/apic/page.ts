/** The register file as the xAPIC page shows it. Source: Intel SDM vol. 3A, table 11-1. */
import type { ApicCore } from './types.ts'
import { APIC, ESR, ICR, LVT, LVT_WRITABLE, SVR, VERSION_VALUE } from './registers.ts'
import { currentCount, setDivide, setInitialCount, setTimerMode } from './timer.ts'

const LVT_COUNT = 6
const lvtIndex = (offset: number): number => (offset - APIC.LVT_TIMER) >> 4

/** Registers that read the same in xAPIC and x2APIC mode; undefined when there is none at `offset`. */
export function readCommon(core: ApicCore, offset: number): number | undefined {
  const { state } = core
  if (offset >= APIC.ISR && offset < APIC.ESR) {
    const set = offset < APIC.TMR ? state.isr : offset < APIC.IRR ? state.tmr : state.irr
    return set[offset >> 4 & 7]
  }
  if (offset >= APIC.LVT_TIMER && offset <= APIC.LVT_ERROR) return state.lvt[lvtIndex(offset)]
  switch (offset) {
    case APIC.VERSION: return VERSION_VALUE
    case APIC.TPR: return state.tpr
    case APIC.PPR: return core.ppr()
    case APIC.LDR: return core.ldr()
    case APIC.SVR: return state.svr
    case APIC.ESR: return state.esr
    case APIC.INITIAL_COUNT: return state.timer.initial
    case APIC.CURRENT_COUNT: return currentCount(state.timer, core.options.now())
    case APIC.DIVIDE: return state.timer.divide
    default: return undefined
  }
}

function writeLvt(core: ApicCore, offset: number, value: number): void {
  const { state } = core
  const index = lvtIndex(offset)
  let entry = value & LVT_WRITABLE[index]
  // §11.4.7.2: while the APIC is software-disabled the mask bits stay set.
  if ((state.svr & SVR.ENABLED) === 0) entry |= LVT.MASKED
  // Remote IRR belongs to the level-triggered pins and outlives a write.
  if ((entry & LVT.LEVEL) !== 0) entry |= state.lvt[index] & LVT.REMOTE_IRR
  state.lvt[index] = entry
  if (offset === APIC.LVT_TIMER) setTimerMode(state.timer, entry >> 17 & 3)
  core.applyLints()
  core.changed()
}

/** Registers that are written the same way in both modes; false when there is none at `offset`. */
export function writeCommon(core: ApicCore, offset: number, value: number): boolean {
  const { state, options } = core
  if (offset >= APIC.LVT_TIMER && offset < APIC.LVT_TIMER + 16 * LVT_COUNT) {
    writeLvt(core, offset, value)
    return true
  }
  switch (offset) {
    case APIC.TPR: state.tpr = value & 0xff; break
    case APIC.EOI: core.endOfInterrupt(); return true
    case APIC.SVR:
      state.svr = value & (SVR.VECTOR | SVR.ENABLED | SVR.FOCUS)
      if ((value & SVR.ENABLED) === 0) state.lvt = state.lvt.map((entry) => entry | LVT.MASKED)
      break
    case APIC.ESR: // §11.5.3: a write makes the errors since the last one visible
      state.esr = state.errors
      state.errors = 0
      return true
    case APIC.INITIAL_COUNT: setInitialCount(state.timer, value, options.now()); break
    case APIC.DIVIDE: setDivide(state.timer, value, options.now()); break
    default: return false
  }
  core.changed()
  return true
}

/** Reads a register of the page. A reserved one reads 0 and is an error. */
export function readRegister(core: ApicCore, offset: number): number {
  // Only the first four bytes of each 16 are a register (§11.4.1).
  if ((offset & 0xc) !== 0) return 0
  const common = readCommon(core, offset)
  if (common !== undefined) return common >>> 0
  switch (offset) {
    case APIC.ID: return ((core.id & 0xff) << 24) >>> 0
    case APIC.APR: return core.ppr()
    case APIC.RRD: return 0
    case APIC.EOI: return 0
    case APIC.DFR: return core.state.dfr
    case APIC.ICR: return core.state.icr
    case APIC.ICR_HIGH: return core.state.icrHigh
    default:
      core.raiseError(ESR.REGISTER)
      return 0
  }
}

/** Writes a register of the page. A reserved or read-only one is left alone; a reserved one is an error. */
export function writeRegister(core: ApicCore, offset: number, value: number): void {
  if ((offset & 0xc) !== 0) return
  if (writeCommon(core, offset, value)) return
  const { state } = core
  switch (offset) {
    case APIC.ID: break // the id is fixed, as on processors since Nehalem
    case APIC.LDR: state.ldr = (value & 0xff00_0000) >>> 0; break
    case APIC.DFR: state.dfr = (value | 0x0fff_ffff) >>> 0; break
    case APIC.ICR_HIGH: state.icrHigh = (value & 0xff00_0000) >>> 0; break
    case APIC.ICR:
      state.icr = value & ICR.WRITABLE
      core.sendIcr()
      break
    default:
      if (readCommon(core, offset) === undefined) core.raiseError(ESR.REGISTER)
  }
}
