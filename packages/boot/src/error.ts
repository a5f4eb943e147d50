/** An image or an option that cannot be booted: which file, which field, what stands there and what was expected. */
export class BootError extends Error {
  /** Name of the file or option as the caller gave it. */
  readonly file: string
  /** The field, region or rule. */
  readonly field: string

  constructor(file: string, field: string, problem: string) {
    super(`${file}: ${field}: ${problem}`)
    this.name = 'BootError'
    this.file = file
    this.field = field
  }
}

/** A number as messages show it. */
export const hex = (value: number | bigint): string => `0x${value.toString(16)}`

/** A number of bytes as messages show it. */
export function bytesText(bytes: number): string {
  const units: [number, string][] = [[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB']]
  for (const [size, name] of units) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size} ${name}`
  }
  return `${bytes} bytes`
}
