/** An option that makes no SVSM. The message is `svsm: FIELD: what is wrong`. */
export class SvsmError extends Error {
  /** What the error is about, as `FILE: FIELD` of other errors. */
  readonly file = 'svsm'
  readonly field: string

  constructor(field: string, problem: string) {
    super(`svsm: ${field}: ${problem}`)
    this.name = 'SvsmError'
    this.field = field
  }
}
