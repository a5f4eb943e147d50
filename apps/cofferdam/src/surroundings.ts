import { readFileSync } from 'node:fs'
import type { ReadStream, WriteStream } from 'node:tty'
import type { CreateMachine } from './machine-port.ts'
import { openStore, type ImageStore } from './images/store.ts'

/** What a command uses of the process around it; tests bring their own. */
export interface Surroundings {
  readonly stdin: ReadStream
  readonly stdout: WriteStream
  readonly stderr: WriteStream
  readonly store: ImageStore
  readonly createMachine: CreateMachine
  /** Wall milliseconds since the process started. */
  readonly now: () => number
}

/** The surroundings of the running process. */
export const processSurroundings = (createMachine: CreateMachine): Surroundings => ({
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  store: openStore(),
  createMachine,
  now: () => performance.now(),
})

type Style = 'bold' | 'dim' | 'red' | 'green'

const codes: Readonly<Record<Style, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
}

/** Colours text on a terminal that wants it (no-color.org), and only there. */
export const createPaint = (stream: { readonly isTTY?: boolean }): ((style: Style, text: string) => string) => {
  const colours = stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
  return (style, text) => (colours ? `\x1b[${codes[style][0]}m${text}\x1b[${codes[style][1]}m` : text)
}

/**
 * The most memory that this process has had, in bytes. Linux tells of this program alone; `maxRSS` there is also what
 * the process was before it became this program (getrusage(2)), so elsewhere only.
 */
export const peakMemory = (): number => {
  let status: string
  try {
    status = readFileSync('/proc/self/status', 'latin1')
  } catch {
    status = ''
  }
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? []
  return Number(kib ?? process.resourceUsage().maxRSS) * 1024
}
