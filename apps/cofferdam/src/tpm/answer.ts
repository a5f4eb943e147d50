/** The memory through which a worker hands a TPM's response to a thread that waits for it. */

/** What the first word says. */
export const ANSWER = { waiting: 0, ready: 1, failed: 2 } as const

/** What a worker is started with. */
export interface SwtpmWorkerData {
  /** swtpm's data socket. */
  readonly path: string
  readonly memory: SharedArrayBuffer
  /** Milliseconds that it may take swtpm to listen. */
  readonly deadline: number
}

/** The longest response: TPMs have 4096 bytes at most (TPM 2.0 library, part 2, MAX_RESPONSE_SIZE). */
const MAX_RESPONSE = 4096
const HEAD = 8
export const ANSWER_BYTES = HEAD + MAX_RESPONSE

/** The parts of the memory. */
export const answerOf = (memory: SharedArrayBuffer) => ({
  state: new Int32Array(memory, 0, 1),
  length: new Int32Array(memory, 4, 1),
  bytes: new Uint8Array(memory, HEAD, MAX_RESPONSE),
})
