/** Options of the command line. */
import { parseArgs } from 'node:util'

/** What the person at the terminal got wrong, or what the machine lacks: exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

type Defaults = Readonly<Record<string, string | boolean>>
type Values<D extends Defaults> = { readonly [K in keyof D]: D[K] extends boolean ? boolean : string }

/** Reads `--name value` and `--flag`; what is not given is as in `defaults`. */
export function readOptions<D extends Defaults>(args: string[], defaults: D): { values: Values<D>; rest: string[] } {
  const options = Object.fromEntries(Object.entries(defaults).map(([name, value]) =>
    [name, typeof value === 'boolean' ? { type: 'boolean' as const } : { type: 'string' as const }]))
  try {
    const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
    return { values: { ...defaults, ...values } as unknown as Values<D>, rest: positionals }
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

/** A whole number from 0 on. */
export function wholeNumber(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0 || text === '') {
    throw new UsageError(`--${name}: "${text}" is no whole number`)
  }
  return value
}

/** Names, separated by commas, out of those there are. */
export function namesOf<T extends string>(name: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((one) => {
    if (!(known as readonly string[]).includes(one)) {
      throw new UsageError(`--${name}: "${one}" is none of ${known.join(', ')}`)
    }
    return one as T
  })
}
