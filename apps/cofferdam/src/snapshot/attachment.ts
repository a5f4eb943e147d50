import type { ConsoleState } from '../run/console-watch.ts'
import type { ScriptState } from '../run/script.ts'

/** What the command line keeps in a snapshot besides the machine. */
export interface Attachment {
  /** Of this record, not of the file. */
  readonly version: 1
  /** What was booted, in words. */
  readonly booted: string
  readonly commandLine: string
  /** The initrd is ours, which knows `poweroff` and says when its shell is ready. */
  readonly ownShell: boolean
  readonly console: ConsoleState
  readonly script: ScriptState
}

type Check = (value: unknown) => boolean

const text: Check = (value) => typeof value === 'string'
const flag: Check = (value) => typeof value === 'boolean'
const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const orNull = (check: Check): Check => (value) => value === null || check(value)
const list = (check: Check): Check => (value) => Array.isArray(value) && value.every(check)
const record = (fields: Readonly<Record<string, Check>>): Check => (value) => misfit(value, fields) === undefined

/** The first field that is not as its check wants it. */
const misfit = (value: unknown, fields: Readonly<Record<string, Check>>): string | undefined => {
  if (typeof value !== 'object' || value === null) return ''
  return Object.entries(fields).find(([name, check]) => !check((value as Record<string, unknown>)[name]))?.[0]
}

const consoleFields = {
  line: text, lines: list(text), reached: list(text), panicked: flag, panicEnded: flag, halted: flag,
  shells: count, runStatus: orNull(count),
}
const scriptFields = {
  line: list(count), idleSince: orNull(count), typedAhead: count, poweroffTyped: flag, endDelay: count,
}
const fields: Readonly<Record<keyof Attachment, Check>> = {
  version: (value) => value === 1,
  booted: text, commandLine: text, ownShell: flag, console: record(consoleFields), script: record(scriptFields),
}

/** Checks what came with a snapshot. Answers the field that does not fit, if one does not. */
export const attachmentMisfit = (value: unknown): string | undefined => misfit(value, fields)
