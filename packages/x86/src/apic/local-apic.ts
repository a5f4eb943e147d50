/**
 * A processor's local APIC in xAPIC and x2APIC mode. Source: Intel SDM vol. 3A (325384), chapter 11 "Advanced
 * Programmable Interrupt Controller". Nothing here runs per instruction: the processor asks when `onChange` told it to,
 * and at `nextDeadline()`.
 *
 * Left out: SMM (SMIs are dropped), focus processors, directed EOI, CMCI, thermal and performance sources (their LVT
 * entries are registers only).
 */
import { executeIcr } from './icr.ts'
import { type ApicMessage, isAddressed } from './messages.ts'
import { APIC_BASE, DELIVERY, ESR, LVT, MSR_TSC_DEADLINE, SVR } from './registers.ts'
import { readApicMsr, writeApicMsr } from './msrs.ts'
import { readRegister, writeRegister } from './page.ts'
import { copyApicState, createApicState, resetApicState, restoreApicState } from './state.ts'
import { timerFired } from './timer.ts'
import { APIC_EVENT, type ApicCore, type ApicMode, type LocalApic, type LocalApicOptions } from './types.ts'
import { addVector, hasVector, highestVector, removeVector } from './vectors.ts'

const LVT_LINT0 = 3
const LVT_ERROR = 5

/** Creates a local APIC in power-on state: xAPIC mode, software-disabled, everything masked. */
export function createLocalApic(options: LocalApicOptions): LocalApic {
  const { id, onChange } = options
  const state = createApicState(options.bootstrap ?? false)

  const mode = (): ApicMode =>
    (state.base & APIC_BASE.EN) === 0 ? 'disabled' : (state.base & APIC_BASE.EXTD) !== 0 ? 'x2apic' : 'xapic'
  const enabled = (): boolean => (state.svr & SVR.ENABLED) !== 0 && mode() !== 'disabled'
  const ldr = (): number =>
    mode() === 'x2apic' ? ((id >>> 4) << 16 | 1 << (id & 15)) >>> 0 : state.ldr

  /** §11.8.3.1: the higher class of the task priority and the vector in service. */
  const ppr = (): number => {
    const serving = Math.max(0, highestVector(state.isr))
    return state.tpr >> 4 >= serving >> 4 ? state.tpr : serving & 0xf0
  }

  const pendingVector = (): number => {
    const vector = highestVector(state.irr)
    return vector >> 4 > ppr() >> 4 && mode() !== 'disabled' ? vector : -1
  }

  const request = (vector: number, level: boolean): void => {
    if (vector < 16) { raiseError(ESR.RECEIVE_ILLEGAL); return }
    addVector(state.irr, vector)
    if (level) addVector(state.tmr, vector)
    else removeVector(state.tmr, vector)
    onChange()
  }

  const raiseError = (bit: number): void => {
    if ((state.errors & bit) !== 0) return
    state.errors |= bit
    const entry = state.lvt[LVT_ERROR]
    const vector = entry & LVT.VECTOR
    // An illegal vector in the error entry itself must not raise errors for ever.
    if ((entry & LVT.MASKED) === 0 && vector >= 16) request(vector, false)
  }

  /** A local source fires: timer or pin (§11.5.1). */
  const fireLocal = (index: number): void => {
    const entry = state.lvt[index]
    if ((entry & LVT.MASKED) !== 0) return
    switch (index === 0 ? DELIVERY.FIXED : entry >> 8 & 7) {
      case DELIVERY.FIXED: request(entry & LVT.VECTOR, false); break
      case DELIVERY.NMI: state.nmi = true; onChange(); break
      case DELIVERY.INIT: state.init = true; onChange(); break
      default: break // ExtINT is a level that pendingEvents() looks at; SMI is not supported
    }
  }

  /** LINT entries in level mode request again as long as the pin is asserted and remote IRR is clear. */
  const applyLints = (): void => {
    for (const pin of [0, 1] as const) {
      const entry = state.lvt[LVT_LINT0 + pin]
      const fixedLevel = (entry & LVT.LEVEL) !== 0 && (entry >> 8 & 7) === DELIVERY.FIXED
      if (!fixedLevel || (entry & (LVT.MASKED | LVT.REMOTE_IRR)) !== 0 || !state.lint[pin]) continue
      state.lvt[LVT_LINT0 + pin] |= LVT.REMOTE_IRR
      request(entry & LVT.VECTOR, true)
    }
  }

  const setLint = (pin: 0 | 1, level: boolean): void => {
    if (state.lint[pin] === level) return
    state.lint[pin] = level
    const entry = state.lvt[LVT_LINT0 + pin]
    if (mode() === 'disabled') {
      // The pins are INTR and NMI again (§11.4.3).
      if (pin === 1 && level) state.nmi = true
    } else if ((entry & LVT.LEVEL) !== 0 && (entry >> 8 & 7) === DELIVERY.FIXED) applyLints()
    else if (level) fireLocal(LVT_LINT0 + pin)
    onChange()
  }

  const extIntPending = (): boolean => {
    if (state.extInt) return true
    if (!state.lint[0]) return false
    const entry = state.lvt[LVT_LINT0]
    return mode() === 'disabled' || ((entry & LVT.MASKED) === 0 && (entry >> 8 & 7) === DELIVERY.EXTINT)
  }

  /** §11.8.5: the EOI of a level-triggered interrupt goes to the I/O APICs. */
  const endOfInterrupt = (): void => {
    const vector = highestVector(state.isr)
    if (vector < 0) return
    removeVector(state.isr, vector)
    if (hasVector(state.tmr, vector)) {
      for (const index of [LVT_LINT0, LVT_LINT0 + 1]) {
        const entry = state.lvt[index]
        if ((entry & LVT.VECTOR) === vector) state.lvt[index] = entry & ~LVT.REMOTE_IRR
      }
      options.eoiBroadcast(vector)
      applyLints()
    }
    onChange()
  }

  const deliver = (message: ApicMessage): boolean => {
    if (mode() === 'disabled') return false
    switch (message.mode) {
      case DELIVERY.FIXED:
      case DELIVERY.LOWEST:
        if (!enabled()) return false
        request(message.vector, message.level)
        return true
      case DELIVERY.NMI: state.nmi = true; break
      case DELIVERY.INIT:
        state.init = true
        // An INIT undoes a start-up that was not taken yet.
        state.startup = -1
        break
      case DELIVERY.STARTUP: state.startup = message.vector; break
      case DELIVERY.EXTINT: state.extInt = true; break
      default: return false // SMI and the reserved mode
    }
    onChange()
    return true
  }

  const core: ApicCore = {
    id, state, options, mode, ldr, ppr, endOfInterrupt, raiseError, request, applyLints,
    changed: onChange,
    sendIcr: () => { executeIcr(core) },
  }
  const read = (offset: number): number => (mode() === 'xapic' ? readRegister(core, offset) : 0)
  const write = (offset: number, value: number): void => {
    if (mode() === 'xapic') writeRegister(core, offset, value >>> 0)
  }

  return {
    id, mode, read, write, pendingVector, deliver, setLint,
    baseAddress: () => state.frame * 4096,
    // §11.4.1: registers are accessed whole. Reading a part gives that part; writing one does nothing.
    mmio: {
      read: (offset, size) => {
        const value = read(offset & ~3) >>> (8 * (offset & 3))
        return size === 4 ? value : (value & (2 ** (8 * size) - 1)) >>> 0
      },
      write: (offset, size, value) => { if (size === 4 && (offset & 3) === 0) write(offset, value) },
    },
    readMsr: (index) => readApicMsr(core, index),
    writeMsr: (index, value) => writeApicMsr(core, index, value),
    cr8: () => state.tpr >> 4,
    setCr8(value) {
      state.tpr = (value & 15) << 4
      onChange()
    },
    pendingEvents: () =>
      (state.init ? APIC_EVENT.INIT : 0) | (state.startup >= 0 ? APIC_EVENT.STARTUP : 0) |
      (state.nmi ? APIC_EVENT.NMI : 0) | (extIntPending() ? APIC_EVENT.EXTINT : 0) |
      (pendingVector() >= 0 ? APIC_EVENT.FIXED : 0),
    acknowledge() {
      const vector = pendingVector()
      if (vector < 0) return state.svr & SVR.VECTOR
      removeVector(state.irr, vector)
      addVector(state.isr, vector)
      onChange()
      return vector
    },
    takeNmi() {
      const taken = state.nmi
      state.nmi = false
      if (taken) onChange()
      return taken
    },
    takeInit() {
      if (!state.init) return false
      state.init = false
      state.nmi = false
      resetApicState(state)
      onChange()
      return true
    },
    takeStartup() {
      const vector = state.startup
      state.startup = -1
      if (vector >= 0) onChange()
      return vector
    },
    takeExtInt() {
      if (!state.extInt) return
      state.extInt = false
      onChange()
    },
    matches: (destination, logical) =>
      isAddressed({ id, x2apic: mode() === 'x2apic', ldr: ldr(), dfr: state.dfr }, destination, logical),
    accepts: enabled,
    priority: ppr,
    nextDeadline: () => (state.timer.expires < 0 ? Infinity : state.timer.expires),
    advance(now) {
      if (timerFired(state.timer, now)) fireLocal(0)
    },
    tscChanged() {
      const { deadlineLow, deadlineHigh } = state.timer
      if (deadlineLow !== 0 || deadlineHigh !== 0) {
        writeApicMsr(core, MSR_TSC_DEADLINE, BigInt(deadlineHigh) << 32n | BigInt(deadlineLow))
      }
    },
    enterVirtualWire() {
      state.svr = SVR.ENABLED | 0xff
      state.lvt[LVT_LINT0] = DELIVERY.EXTINT << 8
      state.lvt[LVT_LINT0 + 1] = DELIVERY.NMI << 8
      onChange()
    },
    reset() {
      restoreApicState(state, createApicState(options.bootstrap ?? false))
      onChange()
    },
    snapshot: () => copyApicState(state),
    restore(saved) { restoreApicState(state, saved) },
  }
}
