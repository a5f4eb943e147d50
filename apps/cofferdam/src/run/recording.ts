import { closeSync, openSync, writeSync } from 'node:fs'
import { inputError, plainReason } from '../errors.ts'

/** Writes the console to a file as an asciicast, which terminals play and web pages show. */
export interface Recording {
  /** Bytes that the guest sent, at a virtual time in nanoseconds. */
  output(bytes: Uint8Array, time: number): void
  close(): void
}

/** What of the terminal's size is written: wide enough for a kernel's messages. */
const size = { width: 120, height: 30 }
/** Output of less than this long, in virtual nanoseconds, becomes one event. */
const together = 5e6

/**
 * Opens a recording: asciicast v2 (docs.asciinema.org, "asciicast v2"), one JSON value a line. Times are the machine's
 * own, so the same boot gives the same file.
 * @throws a usage error that names the file when it can't be written
 */
export const openRecording = (path: string): Recording => {
  let file: number
  try {
    file = openSync(path, 'w')
    writeSync(file, `${JSON.stringify({ version: 2, ...size })}\n`)
  } catch (error) {
    throw inputError(`record ${path}`, plainReason(error), 'a file that can be written')
  }
  const decoder = new TextDecoder()
  let text = ''
  let since = 0
  const flush = (): void => {
    if (text !== '') writeSync(file, `${JSON.stringify([Math.round(since / 1e6) / 1e3, 'o', text])}\n`)
    text = ''
  }
  return {
    output(bytes, time) {
      if (time - since > together) flush()
      if (text === '') since = time
      text += decoder.decode(bytes, { stream: true })
    },
    close() {
      flush()
      closeSync(file)
    },
  }
}
