import { PassThrough, Readable } from 'node:stream'
import type { ReadStream, WriteStream } from 'node:tty'

/** An output stream that keeps what was written. */
export const collectOutput = (isTTY = false): { stream: WriteStream; text: () => string } => {
  const chunks: Buffer[] = []
  const stream = new PassThrough()
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return {
    stream: Object.assign(stream, { isTTY, columns: 80 }) as unknown as WriteStream,
    text: () => Buffer.concat(chunks).toString('utf8'),
  }
}

/** A pipe that holds a text and then ends. */
export const pipeInput = (text: string): ReadStream =>
  Object.assign(Readable.from(text === '' ? [] : [Buffer.from(text)]), { isTTY: false }) as unknown as ReadStream

/** A terminal whose keys a test presses. */
export const terminalInput = (): { stream: ReadStream; press: (keys: string) => void; raw: () => boolean } => {
  let raw = false
  const stream = new PassThrough()
  const setRawMode = (mode: boolean): void => {
    raw = mode
  }
  return {
    stream: Object.assign(stream, { isTTY: true, setRawMode }) as unknown as ReadStream,
    press: (keys) => void stream.write(Buffer.from(keys, 'latin1')),
    raw: () => raw,
  }
}
