/**
 * I/O APIC with 24 pins. Sources: Intel 82093AA data sheet (290566); Intel ICH9 data sheet (316972), section 13.5, for
 * version 20h with its EOI register.
 *
 * Lines are logical: `true` is asserted. The polarity bit is kept and read back, but changes nothing.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { wordHandlers } from './byte-ports.ts'
import type { IrqLine } from './clock.ts'
import { copyPlain, restorePlain } from './snapshot.ts'

/** Pins of the I/O APIC. */
export const IOAPIC_PINS = 24

/** An interrupt message, as an I/O APIC or an MSI sends it to the local APICs. */
export interface InterruptMessage {
  /** Delivery mode: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT. */
  readonly mode: number
  readonly vector: number
  readonly level: boolean
  /** APIC id or logical destination; 0xffff_ffff is a physical broadcast. */
  readonly destination: number
  readonly logical: boolean
}

/** Options of {@link createIoApic}. */
export interface IoApicOptions {
  /** APIC id after reset, default 0. */
  readonly id?: number
  /** Sends a message; false when nobody accepted it. */
  readonly deliver: (message: InterruptMessage) => boolean
}

/** Redirection entry, low half (82093AA §3.2.4). */
const ENTRY = {
  VECTOR: 0xff, LOGICAL: 1 << 11, REMOTE_IRR: 1 << 14, LEVEL: 1 << 15, MASKED: 1 << 16, WRITABLE: 0x0001_afff,
} as const
/** Bits 63:56: destination; bits 55:49: its extension to 15 bits, which hypervisors define and Linux knows. */
const HIGH_WRITABLE = 0xfffe_0000
const VERSION_VALUE = (IOAPIC_PINS - 1) << 16 | 0x20
const SELECT = 0x00
const WINDOW = 0x10
const EOI = 0x40
const FIXED = 0
const LOWEST = 1

const initialState = (id: number) => ({
  id, select: 0,
  /** Levels of the pins. */
  lines: 0,
  low: Array.from({ length: IOAPIC_PINS }, (): number => ENTRY.MASKED),
  high: Array.from({ length: IOAPIC_PINS }, () => 0),
})

/** State of the I/O APIC. */
export type IoApicSnapshot = ReturnType<typeof initialState>

/** An I/O APIC. */
export interface IoApic {
  /** Its page: select at 00h, window at 10h, EOI at 40h. */
  readonly handlers: IoHandlers
  /** A pin, 0–23. */
  readonly line: (pin: number) => IrqLine
  /** A local APIC ended a level-triggered interrupt of `vector`. */
  endOfInterrupt(vector: number): void
  snapshot(): IoApicSnapshot
  restore(saved: IoApicSnapshot): void
}

/** The message that an entry stands for. */
function messageOf(low: number, high: number): InterruptMessage {
  const logical = (low & ENTRY.LOGICAL) !== 0
  const destination = high >>> 24 | (high >>> 17 & 0x7f) << 8
  const mode = low >> 8 & 7
  return {
    mode,
    vector: low & ENTRY.VECTOR,
    // §3.2.4: NMI, SMI, INIT and ExtINT are edges whatever the entry says.
    level: (low & ENTRY.LEVEL) !== 0 && mode <= LOWEST,
    destination: !logical && destination === 0xff ? 0xffff_ffff : destination,
    logical,
  }
}

/** Creates an I/O APIC with every pin masked. */
export function createIoApic(options: IoApicOptions): IoApic {
  const state = initialState(options.id ?? 0)

  const isLevel = (pin: number): boolean => (state.low[pin] & ENTRY.LEVEL) !== 0

  const send = (pin: number): void => {
    const message = messageOf(state.low[pin], state.high[pin])
    const accepted = options.deliver(message)
    // Remote IRR: accepted by a local APIC, waiting for its EOI. A refused one is tried again at the next event.
    if (message.level && accepted) state.low[pin] |= ENTRY.REMOTE_IRR
  }

  /** A level-triggered pin requests while it is asserted, unmasked and not yet in service. */
  const service = (pin: number): void => {
    const entry = state.low[pin]
    if ((entry & (ENTRY.MASKED | ENTRY.REMOTE_IRR)) !== 0 || !isLevel(pin)) return
    if ((state.lines >> pin & 1) !== 0) send(pin)
  }

  const setLine = (pin: number, level: boolean): void => {
    const bit = 1 << pin
    if (((state.lines & bit) !== 0) === level) return
    state.lines = level ? state.lines | bit : state.lines & ~bit
    if (!level) return
    if (isLevel(pin)) service(pin)
    // §3.2.4: an edge on a masked pin is neither delivered nor held.
    else if ((state.low[pin] & ENTRY.MASKED) === 0) send(pin)
  }

  const writeEntry = (register: number, value: number): void => {
    const pin = (register - 0x10) >> 1
    if ((register & 1) !== 0) {
      state.high[pin] = (value & HIGH_WRITABLE) >>> 0
      return
    }
    const mode = value >> 8 & 7
    let entry = value & ENTRY.WRITABLE
    // Software clears a stuck remote IRR by making the entry edge triggered for a moment (Linux: __eoi_ioapic_pin).
    if ((entry & ENTRY.LEVEL) !== 0 && (mode === FIXED || mode === LOWEST)) entry |= state.low[pin] & ENTRY.REMOTE_IRR
    state.low[pin] = entry
    service(pin)
  }

  const readRegister = (register: number): number => {
    switch (register) {
      case 0: return state.id << 24 >>> 0
      case 1: return VERSION_VALUE
      case 2: return state.id << 24 >>> 0 // arbitration id: there is no APIC bus to arbitrate for
      default: {
        const pin = (register - 0x10) >> 1
        if (register < 0x10 || pin >= IOAPIC_PINS) return 0
        return (register & 1) !== 0 ? state.high[pin] : state.low[pin]
      }
    }
  }

  const endOfInterrupt = (vector: number): void => {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const entry = state.low[pin]
      if ((entry & ENTRY.VECTOR) !== vector || (entry & ENTRY.REMOTE_IRR) === 0) continue
      state.low[pin] = entry & ~ENTRY.REMOTE_IRR
      service(pin)
    }
  }

  return {
    handlers: wordHandlers({
      read: (offset) => (offset === SELECT ? state.select : offset === WINDOW ? readRegister(state.select) : 0),
      write(offset, value) {
        if (offset === SELECT) state.select = value & 0xff
        else if (offset === EOI) endOfInterrupt(value & 0xff)
        else if (offset === WINDOW) {
          if (state.select === 0) state.id = value >>> 24 & 0x0f
          else if (state.select >= 0x10 && state.select < 0x10 + 2 * IOAPIC_PINS) writeEntry(state.select, value)
        }
      },
    }),
    line: (pin) => ({ set: (level) => { setLine(pin, level) } }),
    endOfInterrupt,
    snapshot: () => copyPlain(state),
    restore(saved) { restorePlain('ioapic', state, saved) },
  }
}
