/**
 * A processor's local APIC in xAPIC and x2APIC mode. Source: Intel SDM vol. 3A (325384), chapter 11 "Advanced
 * Programmable Interrupt Controller". Nothing here runs per instruction: the processor asks when `onChange` told it to,
 * and at `nextDeadline()`.
 *
 * Left out: SMM (SMIs are dropped), focus processors, directed EOI, CMCI, thermal and performance sources (their LVT
 * entries are registers only).
 */
import type { IoHandlers } from '@cofferdam/memory'
import { executeIcr } from './icr.ts'
import { type ApicMessage, type ApicReceiver, type Ipi, isAddressed } from './messages.ts'
import { APIC_BASE, DELIVERY, ESR, GP_FAULT, LVT, SVR } from './registers.ts'
import { readApicMsr, writeApicMsr } from './msrs.ts'
import { readRegister, writeRegister } from './page.ts'
import {
  copyApicState, createApicState, type LocalApicState, resetApicState, restoreApicState,
} from './state.ts'
import { timerFired } from './timer.ts'
import { addVector, hasVector, highestVector, removeVector } from './vectors.ts'

/** Options of {@link createLocalApic}. */
export interface LocalApicOptions {
  /** Initial APIC id: 8 bits in xAPIC mode, 32 in x2APIC mode. */
  readonly id: number
  /** This is the bootstrap processor (IA32_APIC_BASE.BSP). */
  readonly bootstrap?: boolean
  /** Virtual time: ticks of the time-stamp counter since power-on (1 ns, 1 instruction). */
  readonly now: () => number
  /** What the guest's TSC is ahead of `now()`, default 0. After it changes call `tscChanged()`. */
  readonly tscOffset?: () => bigint
  /** Width of physical addresses, for the reserved bits of IA32_APIC_BASE; default 46. */
  readonly physicalAddressBits?: number
  /** Routes an inter-processor interrupt ({@link routeMessage}). Called for everything but the self shorthand. */
  readonly send: (ipi: Ipi) => void
  /** End of a level-triggered interrupt: to the I/O APICs. */
  readonly eoiBroadcast: (vector: number) => void
  /** Something that the processor or the run loop looks at changed: pending events, or `nextDeadline()`. */
  readonly onChange: () => void
  /** IA32_APIC_BASE moved the page or switched the mode; the machine may have to route its MMIO anew. */
  readonly onBaseChange?: () => void
}

/** What waits for the processor, in the order in which it is taken (SDM vol. 3A, table 7-2). */
export const APIC_EVENT = { INIT: 1, STARTUP: 2, NMI: 4, EXTINT: 8, FIXED: 16 } as const

/** Mode of the APIC (SDM vol. 3A, table 11-5). */
export type ApicMode = 'disabled' | 'xapic' | 'x2apic'

/** A local APIC. */
export interface LocalApic extends ApicReceiver {
  readonly id: number
  mode(): ApicMode
  /** Physical address of the xAPIC page. */
  baseAddress(): number
  /** The xAPIC page (4 KiB); reads 0 and swallows writes unless in xAPIC mode. */
  readonly mmio: IoHandlers
  /** Reads a 32-bit register of the xAPIC page. */
  read(offset: number): number
  write(offset: number, value: number): void
  /** IA32_APIC_BASE, IA32_TSC_DEADLINE and 800h–8FFh. */
  readMsr(index: number): bigint | typeof GP_FAULT
  writeMsr(index: number, value: bigint): typeof GP_FAULT | undefined
  /** CR8: bits 7:4 of the task priority. */
  cr8(): number
  setCr8(value: number): void
  /** A set of {@link APIC_EVENT} bits. */
  pendingEvents(): number
  /** The vector that would be delivered now, above the processor priority; −1 when none. */
  pendingVector(): number
  /** Delivers `pendingVector()`: moves it from IRR to ISR. Without one, answers the spurious vector. */
  acknowledge(): number
  /** Takes a pending NMI. */
  takeNmi(): boolean
  /** Takes a pending INIT and resets the APIC as it does. */
  takeInit(): boolean
  /** Takes the vector of a pending SIPI, −1 when none. A processor that does not wait for one drops it. */
  takeStartup(): number
  /** An ExtINT request was acknowledged at the PIC: forgets one that came as a message. */
  takeExtInt(): void
  /** The pins: 0 INTR (the PIC's output), 1 NMI. */
  setLint(pin: 0 | 1, level: boolean): void
  /** When `advance` must be called at the latest; `Infinity` when no timer runs. */
  nextDeadline(): number
  /** Lets the timer fire when `now` has reached it. */
  advance(now: number): void
  /** The guest's TSC was written: a TSC deadline is measured anew. */
  tscChanged(): void
  /** What firmware leaves behind: enabled, LINT0 passes the PIC through, LINT1 is NMI (virtual wire mode). */
  enterVirtualWire(): void
  /** Power-on state. */
  reset(): void
  snapshot(): LocalApicState
  /** @throws ApicSnapshotError naming the field that does not fit. */
  restore(saved: LocalApicState): void
}

/** What the register files see of the APIC. */
export interface ApicCore {
  readonly id: number
  readonly state: LocalApicState
  readonly options: LocalApicOptions
  mode(): ApicMode
  /** Logical destination register; in x2APIC mode it follows from the id (§11.12.10.2). */
  ldr(): number
  ppr(): number
  endOfInterrupt(): void
  raiseError(bit: number): void
  /** Requests a vector here. */
  request(vector: number, level: boolean): void
  changed(): void
  /** Sends what the ICR holds. */
  sendIcr(): void
  applyLints(): void
}

const LVT_LINT0 = 3
const LVT_ERROR = 5

/** Creates a local APIC in power-on state: xAPIC mode, software-disabled, everything masked. */
export function createLocalApic(options: LocalApicOptions): LocalApic {
  const { id, onChange } = options
  const state = createApicState(options.bootstrap ?? false)

  const mode = (): ApicMode =>
    (state.base & APIC_BASE.ENABLE) === 0 ? 'disabled' : (state.base & APIC_BASE.X2APIC) !== 0 ? 'x2apic' : 'xapic'
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
    // §11.4.1: registers are accessed whole; a part of one is answered from the aligned register, writes of parts do nothing.
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
        writeApicMsr(core, 0x6e0, BigInt(deadlineHigh) << 32n | BigInt(deadlineLow))
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
