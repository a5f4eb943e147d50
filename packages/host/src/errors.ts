/** The host cannot do what was asked: which option or resource, which part of it, what is wrong. */
export class HostError extends Error {
  /** The option, file or resource. */
  readonly file: string
  readonly field: string

  constructor(file: string, field: string, problem: string) {
    super(`${file}: ${field}: ${problem}`)
    this.name = 'HostError'
    this.file = file
    this.field = field
  }
}

/** A number as messages show it. */
export const hex = (value: number | bigint): string => `0x${value.toString(16)}`
