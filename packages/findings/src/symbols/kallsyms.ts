/**
 * The symbol table that a Linux kernel carries (CONFIG_KALLSYMS), found in the guest's memory. Formats: Linux
 * scripts/kallsyms.c of 6.1 (offsets and their base before the names), of 6.4 to 6.12 (behind the token index), and of
 * 7.x (behind it, each relative to its own place). The guest can write all of it: every number is checked against the
 * bytes that are there.
 */
import type { ReadLinear } from './linear-memory.ts'
import { createSymbolTable, KERNEL_BASE } from './table.ts'
import type { SymbolTable } from './table.ts'

/** How far above a place in the kernel its tables are looked for. */
const SEARCH = 96 * 2 ** 20
const CHUNK = 2 ** 16
/** Bounds of what is taken for a table. */
const MOST_MARKERS = 4096
const MOST_NAMES = 16 * 2 ** 20
const PER_MARKER = 256
/** Bytes of 256 names, at most. */
const MARKER_SPAN = 2 ** 16
/** Places that look like the tokens' digits, tables of tokens, and lists of names: so many are looked into. */
const MOST_TRIES = { digits: 4096, tokens: 8, names: 64 } as const
/** Tokens of the ten digits: they stand for themselves, one after the other. */
const DIGITS = Uint8Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 0x30 + i / 2 : 0))

/** Bytes of linear memory with their address. Pages that are not mapped are zeroes. */
interface Window {
  readonly at: bigint
  readonly bytes: Uint8Array
  readonly view: DataView
}

function readWindow(read: ReadLinear, from: bigint, length: number): Window {
  const bytes = new Uint8Array(length)
  const page = 4096
  for (let done = 0; done < length;) {
    const n = Math.min(length - done, page - Number((from + BigInt(done)) & 0xfffn))
    const part = bytes.subarray(done, done + n)
    if (!read(from + BigInt(done), part)) part.fill(0)
    done += n
  }
  return { at: from, bytes, view: new DataView(bytes.buffer) }
}

const align = (n: number, to: number): number => Math.ceil(n / to) * to

/** Index of DIGITS in some bytes from an index on, −1 without. */
function findDigits(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0x30, from); at >= 0; at = bytes.indexOf(0x30, at + 1)) {
    if (at + DIGITS.length > bytes.length) return -1
    if (bytes[at + 2] === 0x31 && DIGITS.every((byte, i) => bytes[at + i] === byte)) return at
  }
  return -1
}

interface Tokens {
  readonly texts: readonly string[]
  /** Linear addresses of the table, and of the byte behind the index. */
  readonly start: bigint
  readonly end: bigint
}

/** Tokens whose digits are at an address: 256 texts, and an index of 16-bit offsets that agrees with them. */
function readTokens(read: ReadLinear, digits: bigint): Tokens | undefined {
  const back = 2 ** 11
  const { at, bytes, view } = readWindow(read, digits - BigInt(back), 2 ** 13)
  let start = back
  for (let token = 0x30; token > 0; token--) {
    start--
    while (start > 0 && bytes[start - 1] !== 0) start--
    if (start === 0) return undefined
  }
  const offsets: number[] = []
  const texts: string[] = []
  let next = start
  for (let token = 0; token < 256; token++) {
    const end = bytes.indexOf(0, next)
    if (end < 0) return undefined
    offsets.push(next - start)
    texts.push(String.fromCharCode(...bytes.subarray(next, end)))
    next = end + 1
  }
  for (const to of [4, 8]) {
    const index = align(next + Number(at & 7n), to) - Number(at & 7n)
    if (index + 512 > bytes.length) continue
    if (offsets.every((offset, i) => view.getUint16(index + 2 * i, true) === offset)) {
      return { texts, start: at + BigInt(start), end: at + BigInt(index + 512) }
    }
  }
  return undefined
}

interface Markers {
  /** Linear address. */
  readonly start: bigint
  readonly markers: readonly number[]
}

/** The numbers from an index on that ascend from 0 as markers do. */
function markersAt(view: DataView, at: number): number[] {
  const markers = [0]
  for (let next = at + 4; next + 4 <= view.byteLength && markers.length < MOST_MARKERS; next += 4) {
    const value = view.getUint32(next, true)
    const last = markers[markers.length - 1]
    if (value <= last + PER_MARKER || value > last + MARKER_SPAN || value > MOST_NAMES) break
    markers.push(value)
  }
  return markers
}

/**
 * Offsets of every 256th name: they ascend from 0, and the tokens follow; or, from 6.1.y to 6.3, three bytes for each
 * name and then the tokens.
 */
function readMarkers(read: ReadLinear, end: bigint): Markers | undefined {
  const length = (4 + 3 * PER_MARKER) * (MOST_MARKERS / 2)
  const { at, view } = readWindow(read, (end & ~3n) - BigInt(length), length)
  for (let offset = length - 8; offset >= 0; offset -= 4) {
    if (view.getUint32(offset, true) !== 0) continue
    const markers = markersAt(view, offset)
    const gap = length - offset - 4 * markers.length
    const seqs = 3 * PER_MARKER * markers.length
    if (markers.length > 2 && (gap < 8 || (gap > seqs - 3 * PER_MARKER && gap < seqs + 16))) {
      return { start: at + BigInt(offset), markers }
    }
  }
  return undefined
}

/** Where the name behind the one at an offset begins; −1 past the end. */
function afterName(bytes: Uint8Array, at: number): number {
  if (at >= bytes.length) return -1
  const first = bytes[at]
  const next = (first & 0x80) === 0 ? at + 1 + first : at + 2 + ((first & 0x7f) | (bytes[at + 1] << 7))
  return next <= bytes.length ? next : -1
}

interface Names {
  readonly bytes: Uint8Array
  readonly count: number
  /** Linear address of the count. */
  readonly countAt: bigint
  /** Offset of each name. */
  readonly offsets: Uint32Array
}

/** The names that end where the markers begin: their count stands before them. */
function readNames(read: ReadLinear, { start, markers }: Markers): Names | undefined {
  const last = markers[markers.length - 1]
  const lowest = start - BigInt(last + MARKER_SPAN)
  const { at, bytes, view } = readWindow(read, lowest, last + MARKER_SPAN)
  const [fewest, most] = [(markers.length - 1) * PER_MARKER + 1, markers.length * PER_MARKER]
  let tries: number = MOST_TRIES.names
  for (let names = MARKER_SPAN; names >= 8 && tries > 0; names--) {
    if ((Number(at & 3n) + names) % 4 !== 0) continue
    for (const before of [4, 8]) {
      const count = view.getUint32(names - before, true)
      if (count < fewest || count > most || tries-- <= 0) continue
      const offsets = namesAt(bytes.subarray(names), count, markers)
      if (offsets !== undefined) {
        return { bytes: bytes.subarray(names), count, countAt: at + BigInt(names - before), offsets }
      }
    }
  }
  return undefined
}

/** Offsets of names, when there are `count` of them, the markers are right, and padding alone follows. */
function namesAt(bytes: Uint8Array, count: number, markers: readonly number[]): Uint32Array | undefined {
  const offsets = new Uint32Array(count)
  let at = 0
  for (let i = 0; i < count; i++) {
    if (i % PER_MARKER === 0 && markers[i / PER_MARKER] !== at) return undefined
    offsets[i] = at
    at = afterName(bytes, at)
    if (at < 0) return undefined
  }
  return bytes.length - at < 8 ? offsets : undefined
}

const isKernel = (address: bigint): boolean => address >= KERNEL_BASE

/** Addresses less KERNEL_BASE, −1 for those below it, which come first; undefined unless they ascend. */
function ascending(count: number, address: (i: number) => bigint): Float64Array | undefined {
  const out = new Float64Array(count)
  let inKernel = 0
  for (let i = 0; i < count; i++) {
    const linear = address(i)
    out[i] = isKernel(linear) && linear < 2n ** 64n ? Number(linear - KERNEL_BASE) : -1
    if (out[i] >= 0) inKernel++
    else if (inKernel > 0) return undefined
    if (i > 0 && out[i] < out[i - 1]) return undefined
  }
  return inKernel > count / 2 ? out : undefined
}

/** Offsets to a base: plain ones, or (with per-CPU symbols as absolute ones) negative to the base less 1. */
function relativeTo(base: bigint, view: DataView, at: number, count: number): Float64Array | undefined {
  if (!isKernel(base)) return undefined
  return ascending(count, (i) => base + BigInt(view.getUint32(at + 4 * i, true)))
    ?? ascending(count, (i) => {
      const offset = view.getInt32(at + 4 * i, true)
      return offset >= 0 ? BigInt(offset) : base - 1n - BigInt(offset)
    })
}

/** Addresses of the symbols, in whichever of the three forms fits. */
function readAddresses(read: ReadLinear, { count, countAt }: Names, behind: bigint): Float64Array | undefined {
  for (const start of [(behind + 3n) & ~3n, (behind + 7n) & ~7n]) {
    const { view } = readWindow(read, start, 4 * count + 16)
    const base = view.getBigUint64(align(4 * count + Number(start & 7n), 8) - Number(start & 7n), true)
    const found = relativeTo(base, view, 0, count)
    if (found !== undefined) return found
  }
  // The older order: offsets, their base, the count.
  const { view } = readWindow(read, (countAt & ~7n) - BigInt(4 * count + 16), 4 * count + 16)
  const base = view.getBigUint64(4 * count + 8, true)
  return relativeTo(base, view, 8, count) ?? relativeTo(base, view, 4, count) ?? relativeToSelf(
    read, (behind + 3n) & ~3n, count,
  )
}

/** Each offset counts from its own place. */
function relativeToSelf(read: ReadLinear, start: bigint, count: number): Float64Array | undefined {
  const { view } = readWindow(read, start, 4 * count)
  return ascending(count, (i) => start + BigInt(4 * i + view.getInt32(4 * i, true)))
}

/** The text of a name: its tokens, one after the other. The first character is its type. */
function expand({ bytes }: Names, texts: readonly string[], at: number): string {
  const end = afterName(bytes, at)
  let text = ''
  for (let i = at + ((bytes[at] & 0x80) === 0 ? 1 : 2); i < end && text.length < 512; i++) text += texts[bytes[i]]
  return text
}

function tableOf(read: ReadLinear, tokens: Tokens): SymbolTable | undefined {
  const markers = readMarkers(read, tokens.start)
  const names = markers && readNames(read, markers)
  if (names === undefined) return undefined
  const addresses = readAddresses(read, names, tokens.end)
  if (addresses === undefined) return undefined
  // Per-CPU symbols and other absolute ones come first, and are no places.
  const skipped = addresses.findIndex((offset) => offset >= 0)
  return createSymbolTable({
    offsets: addresses.subarray(skipped),
    typeAndName: (index) => expand(names, tokens.texts, names.offsets[index + skipped]),
  })
}

/**
 * Finds the symbol table of the kernel that has `inside` in it.
 * @param inside linear address of any of its code
 */
export function findKallsyms(read: ReadLinear, inside: bigint): SymbolTable | undefined {
  if (!isKernel(inside)) return undefined
  const from = inside & ~0x1f_ffffn
  const page = new Uint8Array(1)
  const tries: Record<'digits' | 'tokens', number> = { ...MOST_TRIES }
  for (let done = 0; done < SEARCH; done += CHUNK) {
    const at = from + BigInt(done)
    if (at >= 2n ** 64n) return undefined
    // Regions of 2 MiB that nobody maps are passed over.
    if (done % (2 * 2 ** 20) === 0 && !anyMapped(read, at, page)) {
      done += 2 * 2 ** 20 - CHUNK
      continue
    }
    const { bytes } = readWindow(read, at, CHUNK + DIGITS.length)
    for (let found = findDigits(bytes, 0); found >= 0; found = findDigits(bytes, found + 1)) {
      if (tries.digits-- <= 0 || tries.tokens <= 0) return undefined
      const tokens = readTokens(read, at + BigInt(found))
      if (tokens === undefined) continue
      tries.tokens--
      const table = tableOf(read, tokens)
      if (table !== undefined) return table
    }
  }
  return undefined
}

/** Whether one of 32 places of 2 MiB is mapped. */
function anyMapped(read: ReadLinear, at: bigint, out: Uint8Array): boolean {
  for (let i = 0; i < 32; i++) if (read(at + BigInt(i * CHUNK), out)) return true
  return false
}
