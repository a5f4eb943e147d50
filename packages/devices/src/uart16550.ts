/**
 * UART 16550A. Source: National Semiconductor PC16550D data sheet (June 1995), section 8; the gate by OUT2 is the PC's.
 *
 * Left out on purpose: word length and parity do not change the bytes, and a byte is sent in no time, so that the
 * transmitter is always empty.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { byteHandlers } from './byte-ports.ts'
import type { Clock, IrqLine, Timer } from './clock.ts'
import { copyPlain, restorePlain } from './snapshot.ts'

/** Interrupt enable register. */
const IER = { receive: 0x01, transmit: 0x02, line: 0x04, modem: 0x08, used: 0x0f } as const
/** Interrupt identification register: the sources in order of priority. */
const IIR = { none: 0x01, line: 0x06, receive: 0x04, timeout: 0x0c, transmit: 0x02, modem: 0x00, fifos: 0xc0 } as const
/** FIFO control register. */
const FCR = { enable: 0x01, clearReceive: 0x02, kept: 0xc9 } as const
/** Line status register. */
const LSR = {
  ready: 0x01, overrun: 0x02, parity: 0x04, framing: 0x08, break: 0x10, empty: 0x60, fifoError: 0x80,
} as const
const LSR_ERRORS = LSR.overrun | LSR.parity | LSR.framing | LSR.break
/** Modem control register. */
const MCR = { dtr: 0x01, rts: 0x02, out1: 0x04, out2: 0x08, loop: 0x10, used: 0x1f } as const
/** Modem status register: the deltas and the lines. */
const MSR = { cts: 0x10, dsr: 0x20, ri: 0x40, dcd: 0x80, lines: 0xf0, trailingRi: 0x04 } as const
const DLAB = 0x80

const TRIGGER_LEVELS = [1, 4, 8, 14] as const
const FIFO_SIZE = 16
/** Status reads in a row, with nothing sent in between, after which the guest is taken to be polling for input. */
const POLLING = 8

/** The modem's lines, all asserted as `true`. */
export interface ModemLines {
  readonly cts: boolean
  readonly dsr: boolean
  readonly ri: boolean
  readonly dcd: boolean
}

/** Options of {@link createUart16550}. */
export interface UartOptions {
  readonly clock: Clock
  readonly irq: IrqLine
  /** Takes each byte that the guest sends. */
  readonly onTransmit: (byte: number) => void
  /** Called when bytes that `receive` refused would now be taken. */
  readonly onReceiveRoom?: () => void
  /**
   * When input is taken. `ready` (the default): once the guest has raised RTS or enabled the receive interrupt, or
   * polls the line status, so that nothing typed early falls to a driver that clears its FIFOs. `always`: whenever
   * there is room.
   */
  readonly input?: 'ready' | 'always'
}

const initialState = () => ({
  ier: 0, fcr: 0, lcr: 0, mcr: 0, msr: 0, scratch: 0, divisor: 1,
  /** Latched error bits of the line status. */
  errors: 0,
  /** Received bytes; bits 15:8 hold the error bits that came with one. */
  fifo: Array.from({ length: FIFO_SIZE }, () => 0), head: 0, count: 0,
  transmitPending: false, timeoutPending: false,
  /** When the character timeout strikes, −1 when it does not run. */
  timeoutAt: -1,
  /** Modem lines from outside, as MSR bits 7:4. */
  outside: 0,
  polls: 0,
})

/** State of a UART. */
export type UartSnapshot = ReturnType<typeof initialState>

/** A 16550A: eight byte registers, and a host that sends and takes bytes. */
export interface Uart16550 {
  /** Eight ports. */
  readonly handlers: IoHandlers
  /** Offers bytes from the line; answers how many were taken. Offer the rest again after `onReceiveRoom`. */
  receive(bytes: ArrayLike<number>, from?: number): number
  /** A break condition on the line (Linux: SysRq on a serial console). False when the receiver has no room. */
  receiveBreak(): boolean
  setModemLines(lines: ModemLines): void
  snapshot(): UartSnapshot
  restore(saved: UartSnapshot): void
}

/** Creates a UART with a connected modem (CTS, DSR, DCD asserted). */
export function createUart16550(options: UartOptions): Uart16550 {
  const { clock, irq, onTransmit } = options
  const state = initialState()
  state.outside = MSR.cts | MSR.dsr | MSR.dcd
  state.msr = state.outside
  let timer: Timer | undefined

  const fifosOn = (): boolean => (state.fcr & FCR.enable) !== 0
  const capacity = (): number => (fifosOn() ? FIFO_SIZE : 1)
  const triggerLevel = (): number => (fifosOn() ? TRIGGER_LEVELS[state.fcr >> 6] : 1)
  const frontErrors = (): number => (state.count > 0 ? state.fifo[state.head] >> 8 : 0)

  /** Data sheet table IV: the source of highest priority. */
  const source = (): number => {
    if ((state.ier & IER.line) !== 0 && ((state.errors | frontErrors()) & LSR_ERRORS) !== 0) return IIR.line
    if ((state.ier & IER.receive) !== 0) {
      if (state.count >= triggerLevel()) return IIR.receive
      if (state.timeoutPending) return IIR.timeout
    }
    if ((state.ier & IER.transmit) !== 0 && state.transmitPending) return IIR.transmit
    if ((state.ier & IER.modem) !== 0 && (state.msr & 0x0f) !== 0) return IIR.modem
    return IIR.none
  }

  /** On a PC the interrupt passes a gate that OUT2 opens; loopback holds that pin inactive. */
  const update = (): void => {
    irq.set((state.mcr & (MCR.out2 | MCR.loop)) === MCR.out2 && source() !== IIR.none)
  }

  const armTimeout = (): void => {
    timer?.cancel()
    timer = undefined
    if (state.timeoutAt < 0) return
    timer = clock.at(state.timeoutAt, () => {
      timer = undefined
      state.timeoutAt = -1
      state.timeoutPending = true
      update()
    })
  }

  /** §8.5, FIFO interrupt mode: data waits below the trigger level and nothing moves for four character times. */
  const restartTimeout = (): void => {
    state.timeoutPending = false
    if (fifosOn() && state.count > 0 && state.count < triggerLevel()) {
      const bits = 2 + 5 + (state.lcr & 3) + ((state.lcr >> 2) & 1) + ((state.lcr >> 3) & 1)
      // 1.8432 MHz / 16 = 115,200 baud at divisor 1.
      state.timeoutAt = clock.now() + Math.ceil((4 * bits * state.divisor * 1e9) / 115_200)
    } else state.timeoutAt = -1
    if (state.timeoutAt >= 0 || timer !== undefined) armTimeout()
  }

  const push = (entry: number): void => {
    if (state.count >= capacity()) {
      state.errors |= LSR.overrun
      // §8.4: without FIFOs the new character destroys the old one; with FIFOs the new one is lost.
      if (!fifosOn()) state.fifo[state.head] = entry
      return
    }
    state.fifo[(state.head + state.count) % FIFO_SIZE] = entry
    state.count += 1
  }

  const takesInput = (): boolean =>
    (state.mcr & MCR.loop) === 0 &&
    (options.input === 'always' || (state.mcr & MCR.rts) !== 0 || (state.ier & IER.receive) !== 0 ||
      state.polls >= POLLING)

  const offerRoom = (): void => {
    if (state.count < capacity() && takesInput()) options.onReceiveRoom?.()
  }

  const clearReceiver = (): void => {
    state.count = 0
    state.head = 0
    restartTimeout()
  }

  const setModem = (lines: number): void => {
    const old = state.msr & MSR.lines
    // TERI marks only the end of a ring; the other deltas mark any change (§8.8).
    const changed = (old ^ lines) & (MSR.lines & ~MSR.ri)
    const ringEnded = (old & MSR.ri) !== 0 && (lines & MSR.ri) === 0 ? MSR.trailingRi : 0
    state.msr = lines | (state.msr & 0x0f) | (changed >> 4) | ringEnded
  }

  /** §8.7: in loopback DTR, RTS, OUT1 and OUT2 appear as DSR, CTS, RI and DCD. */
  const modemLines = (): number => {
    const { mcr } = state
    if ((mcr & MCR.loop) === 0) return state.outside
    return ((mcr & MCR.rts) !== 0 ? MSR.cts : 0) | ((mcr & MCR.dtr) !== 0 ? MSR.dsr : 0) |
      ((mcr & MCR.out1) !== 0 ? MSR.ri : 0) | ((mcr & MCR.out2) !== 0 ? MSR.dcd : 0)
  }

  const transmit = (byte: number): void => {
    if ((state.mcr & MCR.loop) !== 0) {
      push(byte)
      restartTimeout()
    } else onTransmit(byte)
    state.polls = Math.min(state.polls, POLLING) === POLLING ? POLLING : 0
    // The byte leaves at once: the holding register is empty again, which is an event of its own.
    state.transmitPending = true
  }

  const readData = (): number => {
    if (state.count === 0) return 0
    const entry = state.fifo[state.head]
    state.errors &= ~(entry >> 8)
    state.head = (state.head + 1) % FIFO_SIZE
    state.count -= 1
    restartTimeout()
    return entry & 0xff
  }

  const readLineStatus = (): number => {
    const waiting = state.fifo.some((_, i) => i < state.count && state.fifo[(state.head + i) % FIFO_SIZE] > 0xff)
    const value = LSR.empty | (state.count > 0 ? LSR.ready : 0) | state.errors | frontErrors() |
      (fifosOn() && waiting ? LSR.fifoError : 0)
    // Reading clears the error bits, those of the character at the front too (§8.4).
    state.errors = 0
    if (state.count > 0) state.fifo[state.head] &= 0xff
    if (state.count === 0 && state.polls < POLLING) state.polls += 1
    return value
  }

  const readIir = (): number => {
    const id = source()
    if (id === IIR.transmit) state.transmitPending = false
    return id | (fifosOn() ? IIR.fifos : 0)
  }

  const writeFcr = (value: number): void => {
    const switched = ((value ^ state.fcr) & FCR.enable) !== 0
    // §8.5: the other bits are only programmed when bit 0 is written as 1; changing bit 0 clears both FIFOs.
    state.fcr = (value & FCR.enable) !== 0 ? value & FCR.kept : 0
    if (switched || (value & (FCR.enable | FCR.clearReceive)) === (FCR.enable | FCR.clearReceive)) clearReceiver()
    state.polls = 0
  }

  const read = (offset: number): number => {
    const dlab = (state.lcr & DLAB) !== 0
    switch (offset & 7) {
      case 0: return dlab ? state.divisor & 0xff : readData()
      case 1: return dlab ? state.divisor >> 8 : state.ier
      case 2: return readIir()
      case 3: return state.lcr
      case 4: return state.mcr
      case 5: return readLineStatus()
      case 6: {
        const value = state.msr
        state.msr &= MSR.lines
        return value
      }
      default: return state.scratch
    }
  }

  const write = (offset: number, value: number): void => {
    const dlab = (state.lcr & DLAB) !== 0
    switch (offset & 7) {
      case 0:
        if (dlab) state.divisor = (state.divisor & 0xff00) | value
        else transmit(value)
        break
      case 1:
        if (dlab) state.divisor = (state.divisor & 0xff) | (value << 8)
        else {
          // Enabling the transmit interrupt while the holding register is empty raises it at once.
          if ((value & ~state.ier & IER.transmit) !== 0) state.transmitPending = true
          state.ier = value & IER.used
        }
        break
      case 2: writeFcr(value); break
      case 3: state.lcr = value; break
      case 4:
        state.mcr = value & MCR.used
        setModem(modemLines())
        break
      case 7: state.scratch = value; break
      default: break // LSR and MSR: writing is for factory tests
    }
  }

  return {
    handlers: byteHandlers({
      read(offset) {
        const value = read(offset)
        update()
        if ((offset & 7) === 0 || (offset & 7) === 5) offerRoom()
        return value
      },
      write(offset, value) {
        write(offset, value)
        update()
        if ((offset & 7) !== 0) offerRoom()
      },
    }),
    receive(bytes, from = 0) {
      if (!takesInput()) return 0
      const taken = Math.min(capacity() - state.count, bytes.length - from)
      if (taken <= 0) return 0
      for (let i = 0; i < taken; i++) push(bytes[from + i] & 0xff)
      restartTimeout()
      update()
      return taken
    },
    receiveBreak() {
      if (!takesInput() || state.count >= capacity()) return false
      push(LSR.break << 8)
      restartTimeout()
      update()
      return true
    },
    setModemLines(lines) {
      state.outside = (lines.cts ? MSR.cts : 0) | (lines.dsr ? MSR.dsr : 0) | (lines.ri ? MSR.ri : 0) |
        (lines.dcd ? MSR.dcd : 0)
      setModem(modemLines())
      update()
    },
    snapshot: () => copyPlain(state),
    restore(saved) {
      restorePlain('uart16550', state, saved)
      armTimeout()
    },
  }
}
