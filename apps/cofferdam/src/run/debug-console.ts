import { closeSync, openSync, writeSync } from 'node:fs'
import { inputError, plainReason } from '../errors.ts'
import type { Surroundings } from '../surroundings.ts'

/** Where the guest's debug console (ports E9h and 402h) goes. */
export interface DebugConsole {
  readonly byte: (byte: number) => void
  readonly close: () => void
}

const newline = 10
const mostInLine = 4096

/** Opens `--debug-console`: a file, or with `true` the standard error stream, line by line. */
export const openDebugConsole = (to: string | true, { stderr }: Pick<Surroundings, 'stderr'>): DebugConsole => {
  const file = to === true ? undefined : openFile(to)
  let line: number[] = []
  const flush = (): void => {
    if (line.length === 0) return
    const bytes = Uint8Array.from(line)
    line = []
    if (file === undefined) stderr.write(bytes)
    else writeSync(file, bytes)
  }
  return {
    byte: (byte) => {
      line.push(byte)
      if (byte === newline || line.length >= mostInLine) flush()
    },
    close: () => {
      flush()
      if (file !== undefined) closeSync(file)
    },
  }
}

const openFile = (path: string): number => {
  try {
    return openSync(path, 'w')
  } catch (error) {
    throw inputError(`debug-console ${path}`, plainReason(error), 'a file that can be written')
  }
}
