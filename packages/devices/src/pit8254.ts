/**
 * 8254 programmable interval timer with the PC's port 61h. Sources: Intel 8254 data sheet (231164-005); Intel ICH9 data
 * sheet (316972) section 13.7.1 for port 61h.
 *
 * Channel 0's output drives IRQ 0. Between two of its interrupts the line is left high: the low phases of modes 2 and 3
 * show in the read-back status and nowhere else.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { byteHandlers } from './byte-ports.ts'
import type { Clock, IrqLine, Timer } from './clock.ts'
import { copyPlain, restorePlain } from './snapshot.ts'
import {
  type Channel, initialChannel, latch, latchStatus, loadCount, nextRise, outAt, readChannel, setGate, setMode,
  settle, writeChannel,
} from './pit-channel.ts'
import { PIT_RATE, ticksAt, timeOfTick } from './ticks.ts'

/** State of the timer. */
export interface PitSnapshot {
  readonly channels: readonly Channel[]
  readonly port61: number
}

/** Options of {@link createPit8254}. */
export interface PitOptions {
  readonly clock: Clock
  /** IRQ 0. */
  readonly irq: IrqLine
}

/** The timer with its three channels. */
export interface Pit8254 {
  /** Ports 40h–43h. */
  readonly handlers: IoHandlers
  /** Port 61h: gate and output of channel 2, refresh toggle. */
  readonly port61: IoHandlers
  snapshot(): PitSnapshot
  restore(saved: PitSnapshot): void
}

/** Port 61h. */
const PORT61 = { gate2: 0x01, written: 0x0f, refresh: 0x10, out2: 0x20 } as const

/** Creates the timer; no channel counts until it is programmed. */
export function createPit8254(options: PitOptions): Pit8254 {
  const { clock, irq } = options
  const channels = [initialChannel(), initialChannel(), initialChannel()]
  channels[2].gate = false
  const ports = { port61: 0 }
  let timer: Timer | undefined

  const tick = (): number => ticksAt(PIT_RATE, clock.now())

  /** Brings IRQ 0 to the level of OUT and waits for the next rising edge. */
  const arm = (): void => {
    timer?.cancel()
    timer = undefined
    const rise = nextRise(channels[0], tick())
    if (rise < 0) return
    timer = clock.at(timeOfTick(PIT_RATE, rise), () => {
      irq.set(false)
      irq.set(true)
      arm()
    })
  }
  const outputChanged = (): void => {
    irq.set(outAt(channels[0], tick()))
    arm()
  }

  /** Data sheet, "Read-back command": bits 5 and 4 low latch count and status of the channels selected. */
  const readBack = (value: number): void => {
    channels.forEach((channel, i) => {
      if ((value >> (i + 1) & 1) === 0) return
      if ((value & 0x20) === 0) latch(channel, tick())
      if ((value & 0x10) === 0) latchStatus(channel, tick())
    })
  }

  const writeControl = (value: number): void => {
    const select = value >> 6
    if (select === 3) { readBack(value); return }
    const channel = channels[select]
    if ((value & 0x30) === 0) { latch(channel, tick()); return }
    setMode(channel, value)
    if (select === 0) outputChanged()
  }

  return {
    handlers: byteHandlers({
      read: (offset) => ((offset & 3) === 3 ? 0 : readChannel(channels[offset & 3], tick())),
      write(offset, value) {
        const index = offset & 3
        if (index === 3) { writeControl(value); return }
        const channel = channels[index]
        settle(channel, tick())
        const count = writeChannel(channel, value)
        if (count >= 0) loadCount(channel, count, tick())
        if (index === 0) outputChanged()
      },
    }),
    port61: byteHandlers({
      read() {
        const now = tick()
        settle(channels[2], now)
        // The refresh request toggles every 15.085 µs: channel 1 at its customary count of 18.
        const refresh = (Math.floor(now / 18) & 1) !== 0 ? PORT61.refresh : 0
        return ports.port61 | refresh | (outAt(channels[2], now) ? PORT61.out2 : 0)
      },
      write(_offset, value) {
        ports.port61 = value & PORT61.written
        setGate(channels[2], (value & PORT61.gate2) !== 0, tick())
      },
    }),
    snapshot: () => copyPlain({ channels, port61: ports.port61 }),
    restore(saved) {
      restorePlain('pit8254', { channels, port61: 0 }, saved)
      ports.port61 = saved.port61
      arm()
    },
  }
}

