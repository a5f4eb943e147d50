/** Running a machine beside everything else that a program does. */
import type { Machine } from '../board.ts'
import type { RunResult } from '../options.ts'
import type { EventStream } from './events.ts'
import type { SerialStreams } from './serial.ts'

/** When to come back, and whose streams are served. */
export interface RunMachineOptions {
  /** Instructions after which to come back, about. Default: no limit. */
  readonly instructions?: number
  /** The console: gets its turn after each slice, and is closed when the machine ends. */
  readonly serial?: SerialStreams
  /** The events: closed when the machine ends. */
  readonly events?: EventStream
  /** Looked at after each slice. */
  readonly until?: (result: RunResult) => boolean
  readonly signal?: AbortSignal
  /** Instructions between two turns of the rest of the program. Default 4 million, some milliseconds. */
  readonly slice?: number
}

/** Instructions of a slice while the guest's port can't take all of the input: it takes 16 bytes at most at once. */
const SHORT_SLICE = 200_000

/** Lets everything else that waits have its turn; timers would be held up in pages. */
const breathe = (): Promise<void> => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => {
    port1.close()
    resolve()
  }
  port2.postMessage(null)
})

const hasEnded = ({ reason }: RunResult): boolean =>
  reason === 'poweroff' || reason === 'reset' || reason === 'debug-exit' || reason === 'shutdown'

/**
 * Runs a machine in slices until it ends, waits for input that is not there, or one of the options says so. While every
 * processor waits for a timer, virtual time leaps: a guest that idles is back at once, over and over.
 * @returns why the last slice came back; `interrupted` where `signal` did it
 */
export async function runMachine(machine: Machine, options: RunMachineOptions = {}): Promise<RunResult> {
  const { instructions = Infinity, serial, events, until, signal, slice = 4_000_000 } = options
  const end = machine.stats().instructions + instructions
  for (;;) {
    const left = end - machine.stats().instructions
    if (signal?.aborted === true) return { reason: 'interrupted', left }
    if (left <= 0) return { reason: 'budget' }
    serial?.feed(machine)
    const most = serial?.waiting === true ? Math.min(slice, SHORT_SLICE) : slice
    const result = machine.run({ instructions: Math.min(most, left), interrupted: () => signal?.aborted === true })
    serial?.flush()
    if (hasEnded(result)) {
      serial?.close()
      events?.close()
      return result
    }
    await breathe()
    if (until?.(result) === true || result.reason === 'watch') return result
    if (result.reason === 'idle' && result.idleUntil === undefined && serial?.waiting !== true) return result
  }
}
