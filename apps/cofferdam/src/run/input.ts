import { Buffer } from 'node:buffer'
import type { ReadStream } from 'node:tty'

/** What a person or a pipe sends towards the guest. */
export interface InputQueue {
  /** Bytes that wait for the guest; a line at a time with `lines`. */
  take(): Uint8Array | undefined
  /** Gives back what the guest did not take. */
  putBack(bytes: Uint8Array): void
  /** Whether nothing waits. */
  readonly empty: boolean
  /** Whether no more will come. */
  readonly ended: boolean
  /** Whether anything ever came. */
  readonly started: boolean
  /** Resolves when bytes or the end arrive, or the time (milliseconds) is over, or something calls `wake`. */
  wait(milliseconds: number): Promise<void>
  wake(): void
  push(bytes: Uint8Array): void
  end(): void
}

// More than this waiting, and the source is held back.
const fullAt = 65_536

/**
 * A queue between a byte stream and the guest.
 * @param options - `lines`: hand out one line at a time; `onFull`: called with whether the source should pause
 */
export const createInputQueue = (options: { lines: boolean; onFull?: (full: boolean) => void }): InputQueue => {
  let waiting = new Uint8Array(0)
  let ended = false
  let started = false
  let wakeUp: (() => void) | undefined
  const wake = (): void => wakeUp?.()
  const set = (bytes: Uint8Array<ArrayBuffer>): void => {
    waiting = bytes
    options.onFull?.(waiting.length > fullAt)
  }
  const nextLength = (): number => {
    const newline = options.lines ? waiting.indexOf(10) : -1
    return newline < 0 ? waiting.length : newline + 1
  }
  return {
    take: () => {
      // an unfinished line waits for its end, unless it grows without one
      const unfinished = options.lines && !waiting.includes(10) && waiting.length <= fullAt
      if (waiting.length === 0 || unfinished) return undefined
      const length = nextLength()
      const taken = waiting.slice(0, length)
      set(waiting.slice(length))
      return taken
    },
    putBack: (bytes) => {
      if (bytes.length > 0) set(Buffer.concat([bytes, waiting]))
    },
    get empty() {
      return waiting.length === 0
    },
    get ended() {
      return ended
    },
    get started() {
      return started
    },
    wait: (milliseconds) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => wakeUp?.(), milliseconds)
        wakeUp = () => {
          clearTimeout(timer)
          wakeUp = undefined
          resolve()
        }
      }),
    wake,
    push: (bytes) => {
      started = true
      set(Buffer.concat([waiting, bytes]))
      wake()
    },
    end: () => {
      ended = true
      // a last line without its newline is a line all the same
      if (options.lines && waiting.length > 0 && waiting.at(-1) !== 10) set(Buffer.concat([waiting, Uint8Array.of(10)]))
      wake()
    },
  }
}

const ctrlA = 1

/** What Ctrl-A followed by a letter asks for. */
export type ConsoleKey = 'leave' | 'help'

/**
 * Parts the keys of a terminal into bytes for the guest and commands for us: Ctrl-A X leaves, Ctrl-A H helps, Ctrl-A
 * Ctrl-A sends one Ctrl-A.
 */
export const createKeyFilter = (onKey: (key: ConsoleKey) => void): ((bytes: Uint8Array) => Uint8Array) => {
  let escaped = false
  const command = (byte: number): number | undefined => {
    const letter = String.fromCharCode(byte).toLowerCase()
    if (byte === ctrlA || letter === 'a') return ctrlA
    if (letter === 'x') onKey('leave')
    else onKey('help')
    return undefined
  }
  return (bytes) => {
    const kept: number[] = []
    for (const byte of bytes) {
      if (escaped) {
        escaped = false
        const sent = command(byte)
        if (sent !== undefined) kept.push(sent)
      } else if (byte === ctrlA) escaped = true
      else kept.push(byte)
    }
    return Uint8Array.from(kept)
  }
}

/** Connects standard input to a queue. Returns what undoes it. */
export const attachInput = (
  stdin: ReadStream,
  queue: InputQueue,
  filter?: (bytes: Uint8Array) => Uint8Array,
): (() => void) => {
  const onData = (chunk: Uint8Array): void => {
    const bytes = filter ? filter(chunk) : chunk
    if (bytes.length > 0) queue.push(bytes)
  }
  const onEnd = (): void => queue.end()
  if (stdin.isTTY) stdin.setRawMode(true)
  stdin.on('data', onData).on('end', onEnd).on('error', onEnd)
  stdin.resume()
  return () => {
    stdin.off('data', onData).off('end', onEnd).off('error', onEnd)
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.pause()
    stdin.unref?.()
  }
}
