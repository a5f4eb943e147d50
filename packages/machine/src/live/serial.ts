/** A machine's first serial port as web streams. */
import type { Machine } from '../board.ts'

/** The streams, and what connects them with a machine. `runMachine` calls `feed` and `flush`. */
export interface SerialStreams {
  /** What the guest sends, in chunks. */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>
  /** What the guest gets. A write is done when the guest's port has taken all of it. */
  readonly writable: WritableStream<Uint8Array>
  /** For the machine's options. */
  readonly onSerial: (bytes: Uint8Array) => void
  /** Bytes of the guest's that nobody has read, and that were given up for later ones. */
  readonly dropped: number
  /** Whether bytes wait for the guest. */
  readonly waiting: boolean
  /** Gives the guest as many of the waiting bytes as its port takes. */
  feed(machine: Pick<Machine, 'serialInput'>): void
  /** Hands out what the guest has sent since the last time. */
  flush(): void
  /** The machine has ended: the reader gets what is left and then the end, writes fail. */
  close(): void
}

/** How much is kept of what nobody reads. */
export interface SerialStreamsOptions {
  /**
   * Bytes of the guest's that are kept while nobody reads, at least; of more, the oldest are dropped. Default 1 MiB.
   */
  readonly limit?: number
}

/** Bytes at the end of what was put in. */
function createTail(
  limit: number,
): { dropped: number, push: (bytes: Uint8Array) => void, take: () => Uint8Array<ArrayBuffer> } {
  let buffer = new Uint8Array(4096)
  let length = 0
  const tail = {
    dropped: 0,
    push(bytes: Uint8Array) {
      if (length + bytes.length > buffer.length) {
        // Twice the limit is room enough to move bytes rarely.
        const kept = buffer.subarray(Math.max(0, length - limit), length)
        tail.dropped += length - kept.length
        const larger = new Uint8Array(
          Math.max(buffer.length, Math.min(2 * limit, buffer.length * 2), kept.length + bytes.length)
        )
        larger.set(kept)
        buffer = larger
        length = kept.length
      }
      buffer.set(bytes, length)
      length += bytes.length
    },
    take() {
      const taken = buffer.slice(0, length)
      length = 0
      return taken
    },
  }
  return tail
}

/** Makes the streams of one machine. */
export function createSerialStreams({ limit = 2 ** 20 }: SerialStreamsOptions = {}): SerialStreams {
  const tail = createTail(Math.max(1, limit))
  let controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined
  let pulled = false
  let closed = false
  let pending: { bytes: Uint8Array, done: () => void, failed: (reason: unknown) => void } | undefined

  const flush = (): void => {
    if (!pulled || controller === undefined) return
    const bytes = tail.take()
    if (bytes.length === 0) return
    pulled = false
    controller.enqueue(bytes)
  }
  const readable = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(given) { controller = given },
    pull() {
      pulled = true
      flush()
      if (closed) controller?.close()
    },
    cancel() { controller = undefined },
  }, { highWaterMark: 0 })
  const writable = new WritableStream<Uint8Array>({
    write: (bytes) => new Promise((done, failed) => {
      if (closed) failed(new TypeError('the machine has ended'))
      else if (bytes.length === 0) done()
      else pending = { bytes, done, failed }
    }),
    abort() { pending = undefined },
  })
  return {
    readable, writable, flush,
    onSerial: (bytes) => { tail.push(bytes) },
    get dropped() { return tail.dropped },
    get waiting() { return pending !== undefined },
    feed(machine) {
      if (pending === undefined) return
      const { bytes, done } = pending
      const rest = bytes.subarray(machine.serialInput(bytes))
      if (rest.length > 0) {
        pending = { ...pending, bytes: rest }
        return
      }
      pending = undefined
      done()
    },
    close() {
      if (closed) return
      closed = true
      pending?.failed(new TypeError('the machine has ended'))
      pending = undefined
      const wanted = pulled
      flush()
      // A reader that waits got the rest, and the end with its next look; one that waits for nothing gets the end.
      if (wanted && pulled) controller?.close()
    },
  }
}
