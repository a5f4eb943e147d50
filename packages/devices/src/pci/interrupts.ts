/**
 * INTx: from a function's pin over the ICH9's eight PIRQ lines to the I/O APIC (inputs 16–23) and, where routed, to
 * the PIC. Source: Intel ICH9 data sheet (316972), sections 5.9 and 13.1.16–17. Slots use the lines as QEMU's Q35 does,
 * so that firmware written for it finds them: slots 0–24 share PIRQ E–H, slots 25–31 use A–D.
 */
import type { IrqLine } from '../clock.ts'
import { copyPlain, restorePlain } from '../snapshot.ts'

/** Input of the I/O APIC of PIRQ 0 (A); the others follow. */
export const FIRST_PIRQ_GSI = 16

/** The PIRQ line (0 A – 7 H) of `pin` (1 INTA – 4 INTD) of a device in `slot` of bus 0. */
export const pirqOfSlot = (slot: number, pin: number): number =>
  slot < 25 ? 4 + (slot + pin - 1 & 3) : pin - 1 & 3

/** The pin on the primary side of a bridge for a device behind it (PCI-to-PCI Bridge Specification 1.2, §9.1). */
export const swizzle = (slot: number, pin: number): number => (slot + pin - 1 & 3) + 1

/** Options of {@link createPirqRouter}. */
export interface PirqRouterOptions {
  /** Input 16–23 of the I/O APIC. */
  readonly ioapic: (input: number) => IrqLine
  /** Input 0–15 of the PIC. */
  readonly pic: (input: number) => IrqLine
}

/** State of the router: how many sources hold each line. */
export interface PirqSnapshot {
  readonly holders: readonly number[]
  readonly routes: readonly number[]
}

/** The eight PIRQ lines. */
export interface PirqRouter {
  /** A new source on a line. Sources are ORed. @throws Error for more than 51 (a bug of the wiring). */
  source(pirq: number): IrqLine
  /** Writes PIRQ[n]_ROUT: bit 7 off, bits 3:0 the PIC's input. */
  setRoute(pirq: number, value: number): void
  snapshot(): PirqSnapshot
  /** Sources keep their own levels: restore the functions too. */
  restore(saved: PirqSnapshot): void
}

/** Inputs that a PIRQ may be routed to: 3–7, 9–12, 14, 15. */
const ROUTABLE = 0xdef8

/** Creates the router with all PIC routes off. */
export function createPirqRouter(options: PirqRouterOptions): PirqRouter {
  const state = { holders: Array.from({ length: 8 }, () => 0), routes: Array.from({ length: 8 }, () => 0x80) }
  const sources: { pirq: number; level: boolean }[] = []

  const picInput = (route: number): number =>
    (route & 0x80) === 0 && (ROUTABLE >> (route & 15) & 1) !== 0 ? route & 15 : -1
  /** Several PIRQs may share an input of the PIC. */
  const drivePic = (input: number): void => {
    if (input < 0) return
    options.pic(input).set(state.routes.some((route, i) => picInput(route) === input && state.holders[i] !== 0))
  }
  const drive = (pirq: number): void => {
    options.ioapic(FIRST_PIRQ_GSI + pirq).set(state.holders[pirq] !== 0)
    drivePic(picInput(state.routes[pirq]))
  }

  return {
    source(pirq) {
      const number = sources.length
      if (number > 50) throw new Error('too many INTx sources')
      const source = { pirq, level: false }
      sources.push(source)
      return {
        set(level) {
          if (source.level === level) return
          source.level = level
          const bit = 2 ** number
          state.holders[pirq] += level ? bit : -bit
          drive(pirq)
        },
      }
    },
    setRoute(pirq, value) {
      const old = state.routes[pirq]
      if (old === value) return
      state.routes[pirq] = value
      drivePic(picInput(old))
      drivePic(picInput(value))
    },
    snapshot: () => copyPlain(state),
    restore(saved) {
      restorePlain('pirq', state, saved)
      sources.forEach((source, i) => { source.level = Math.floor(state.holders[source.pirq] / 2 ** i) % 2 === 1 })
    },
  }
}
