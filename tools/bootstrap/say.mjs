/** Messages of the set-up: to stderr, so that a program's own output stays clean. */
import { writeSync } from 'node:fs'

const colour = process.stderr.isTTY && process.env.NO_COLOR === undefined

/** One step that takes a while, or its result. */
export function say(text) {
  writeSync(2, colour ? `\u001b[2mcofferdam:\u001b[0m ${text}\n` : `cofferdam: ${text}\n`)
}

/** A line that the next one replaces; nothing where there is no terminal. */
export function status(text) {
  if (process.stderr.isTTY) writeSync(2, `\r\u001b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`)
}

/** Says what is wrong and what to do about it, and ends the process. */
export function fail(text, code = 1) {
  say(colour ? `\u001b[31m${text}\u001b[0m` : text)
  process.exit(code)
}
