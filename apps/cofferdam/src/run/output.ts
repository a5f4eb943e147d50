import type { WriteStream } from 'node:tty'

/** The guest's serial output on its way to standard output. */
export interface SerialOutput {
  /** Keeps a copy of the bytes until the next flush. */
  write(bytes: Uint8Array): void
  /** Writes what was kept, waits while the reader is slow, and lets other events have their turn. */
  flush(): Promise<void>
  /** Stops waiting for the reader, now and later. */
  release(): void
  /** Whether nothing was ever written. */
  silent(): boolean
  /** Whether the last byte ended a line. */
  atLineStart(): boolean
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/**
 * Collects serial output per slice, so that a byte does not cost a system call.
 * @param onClosed - called when the reader has gone away
 */
export const createSerialOutput = (stdout: WriteStream, onClosed: () => void): SerialOutput => {
  let waiting: Uint8Array[] = []
  let lastByte = 10
  let silent = true
  let released = false
  let goOn: (() => void) | undefined
  const release = (): void => {
    released = true
    goOn?.()
  }
  stdout.on('error', () => {
    release()
    onClosed()
  })
  const drained = (): Promise<void> =>
    new Promise((resolve) => {
      goOn = resolve
      stdout.once('drain', resolve)
    })
  return {
    write: (bytes) => {
      if (bytes.length === 0) return
      silent = false
      lastByte = bytes.at(-1) ?? lastByte
      waiting.push(bytes.slice())
    },
    flush: async () => {
      const bytes = Buffer.concat(waiting)
      waiting = []
      const taken = bytes.length === 0 || stdout.destroyed || stdout.write(bytes)
      if (!taken && !released) await drained()
      await turn()
    },
    release,
    silent: () => silent,
    atLineStart: () => lastByte === 10,
  }
}
