import { SevFeatures } from '@cofferdam/spec'
import { InvalidArgumentError } from 'commander'
import { reportFormat } from './findings/report.ts'

const units: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

const smallestMemory = 2 ** 26
const largestMemory = 2 ** 40

const refuse = (expected: string): InvalidArgumentError => new InvalidArgumentError(`expected ${expected}`)

/**
 * A size of memory such as `4095M`: a whole number and a unit, powers of two, from 64M to 1T, in whole pages.
 * @returns bytes
 */
export const parseMemory = (text: string): number => {
  const [, digits, unit] = /^(\d{1,12})([KMGT])$/.exec(text) ?? []
  if (digits === undefined || unit === undefined) {
    throw refuse('a whole number and a unit, such as 512M, 4095M, 2G or 1T')
  }
  const bytes = Number(digits) * (units[unit] ?? NaN)
  if (bytes < smallestMemory || bytes > largestMemory) throw refuse('from 64M to 1T')
  if (bytes % 4096 !== 0) throw refuse('a whole number of 4 KiB pages')
  return bytes
}

/** Bytes in the largest unit that holds them exactly: `4095M`. */
export const formatMemory = (bytes: number): string => {
  const unit = ['T', 'G', 'M', 'K'].find((name) => bytes % (units[name] ?? 1) === 0)
  return unit === undefined ? `${bytes}` : `${bytes / (units[unit] ?? 1)}${unit}`
}

const wholeNumber = (text: string, from: number, to: number): number | undefined => {
  const value = /^(\d{1,16}|0x[\da-f]{1,13})$/i.test(text) ? Number(text) : NaN
  return value >= from && value <= to ? value : undefined
}

/** How many processors: 1 to 64. */
export const parseVcpus = (text: string): number => {
  const value = wholeNumber(text, 1, 64)
  if (value === undefined) throw refuse('a whole number from 1 to 64')
  return value
}

/** The privilege level of a guest under an SVSM: 1 to 3. */
export const parseVmpl = (text: string): number => {
  const value = wholeNumber(text, 1, 3)
  if (value === undefined) throw refuse('a privilege level from 1 to 3')
  return value
}

/** A 32-bit number, decimal or 0x…. */
export const parseDword = (text: string): number => {
  const value = wholeNumber(text, 0, 2 ** 32 - 1)
  if (value === undefined) throw refuse('a number of 32 bits, such as 0x800f12')
  return value
}

/** A 64-bit number, decimal or 0x…. */
export const parseQword = (text: string): bigint => {
  const value = /^(\d{1,20}|0x[\da-f]{1,16})$/i.test(text) ? BigInt(text) : 1n << 64n
  if (value >= 1n << 64n) throw refuse('a number of 64 bits, such as 0x1')
  return value
}

/** A seed: a whole number from 0 to 2⁵³ − 1, decimal or 0x…. */
export const parseSeed = (text: string): number => {
  const value = wholeNumber(text, 0, Number.MAX_SAFE_INTEGER)
  if (value === undefined) throw refuse('a whole number from 0 to 9007199254740991')
  return value
}

/** A time in seconds, more than 0 and at most ten days. */
export const parseSeconds = (text: string): number => {
  const value = /^\d{1,9}(\.\d{1,6})?$/.test(text) ? Number(text) : NaN
  if (!(value > 0 && value <= 864_000)) throw refuse('seconds, such as 30 or 2.5')
  return value
}

/** Where gdb may connect: a port of this machine alone, unless an address is given with it. */
export const parseGdb = (text: string): { host: string; port: number } => {
  const found = /^(?:(\[[0-9a-f:.]+\]|[a-z0-9.-]+):)?(\d{1,5})$/i.exec(text)
  const port = found === null ? NaN : Number(found[2])
  if (found === null || !(port <= 65_535)) throw refuse('PORT or ADDRESS:PORT, such as 1234')
  const [, host] = found as (string | undefined)[]
  return { host: host === undefined ? '127.0.0.1' : host.replaceAll(/[[\]]/g, ''), port }
}

/** A non-empty text. */
export const parseText = (text: string): string => {
  if (text === '') throw refuse('a text that is not empty')
  return text
}

/** A file to put into the initramfs. */
export interface AddedFile {
  readonly host: string
  readonly guest: string
}

/** `HOSTPATH:GUESTPATH`, repeated; the last colon parts them. */
export const parseAdd = (text: string, before: readonly AddedFile[] = []): AddedFile[] => {
  const colon = text.lastIndexOf(':')
  const [host, guest] = [text.slice(0, Math.max(0, colon)), text.slice(colon + 1)]
  if (host === '' || !/^\/./.test(guest)) throw refuse('HOSTPATH:GUESTPATH, such as ./hello:/bin/hello')
  return [...before, { host, guest }]
}

/** Collects a repeated option. */
export const collect = (text: string, before: readonly string[] = []): string[] => [...before, parseText(text)]

/** How a trace is written: by the file's extension. */
export type TraceFormat = 'lines' | 'perfetto'

/** The format that a trace file's extension stands for. */
export const traceFormat = (path: string): TraceFormat | undefined => {
  if (/\.(json|perfetto)$/.test(path)) return 'perfetto'
  if (/\.(jsonl|ndjson)$/.test(path)) return 'lines'
  return undefined
}

/** A trace file: its extension says the format. */
export const parseTracePath = (text: string): string => {
  if (traceFormat(text) === undefined) {
    throw refuse('a file named .jsonl or .ndjson (one event a line), or .json or .perfetto (a Perfetto trace)')
  }
  return text
}

/** A report file: its extension says the format. */
export const parseReportPath = (text: string): string => {
  if (reportFormat(text) === undefined) throw refuse('a file named .json, .xml (JUnit) or .sarif (SARIF 2.1.0)')
  return text
}

const sevFeatureBits: Readonly<Record<string, bigint>> = {
  'debug-swap': SevFeatures.mask.DebugSwap,
  'prevent-host-ibs': SevFeatures.mask.PreventHostIBS,
  'btb-isolation': SevFeatures.mask.BTBIsolation,
  'secure-tsc': SevFeatures.mask.SecureTSC,
  'vmsa-reg-prot': SevFeatures.mask.VmsaRegProt,
}

/** The SEV features that `--sev-features` knows. */
export const sevFeatureNames: readonly string[] = Object.keys(sevFeatureBits)

/** SEV features by name, with commas between; their bits of Vmsa.sevFeatures. */
export const parseSevFeatures = (text: string): bigint => text.split(',').reduce((all, name) => {
  if (/^(restricted|alternate)-injection$/.test(name)) {
    throw new InvalidArgumentError(`${name}: the reference host delivers interrupts itself, as Linux expects them`)
  }
  const bit = Object.hasOwn(sevFeatureBits, name) ? sevFeatureBits[name] : undefined
  if (bit === undefined) throw refuse(`some of ${sevFeatureNames.join(', ')}`)
  return all | bit
}, 0n)
