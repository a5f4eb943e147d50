/** What is wrong with something that a caller handed in: a file, a report, an option. */

/** Bad input: names the thing, the part of it that was wrong, and what was expected. */
export class SevInputError extends Error {
  /** What was read, such as `OVMF.fd` or `report`; `file` is the same, as other packages' errors call it. */
  readonly subject: string
  readonly file: string
  /** The part that was wrong. */
  readonly field: string

  constructor(subject: string, field: string, expected: string) {
    super(`${subject}: ${field}: expected ${expected}`)
    this.name = 'SevInputError'
    this.subject = subject
    this.file = subject
    this.field = field
  }
}
