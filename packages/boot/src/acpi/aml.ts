/**
 * A small AML assembler (ACPI 6.5, chapter 20): every function answers the bytes of one term, and terms nest.
 * Only what our own definition block needs is here.
 */

/** Encoded AML. */
export type Aml = readonly number[]

const littleEndian = (value: number, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256)

/** A name: segments of four characters, a leading `\` for the root (§20.2.2). */
export function nameString(name: string): Aml {
  const root = name.startsWith('\\')
  const segments = (root ? name.slice(1) : name).split('.').filter((s) => s !== '')
  const bytes = segments.flatMap((s) => {
    if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(s)) throw new RangeError(`AML: ${s} is no name segment`)
    return [...s.padEnd(4, '_')].map((c) => c.charCodeAt(0))
  })
  const prefix = segments.length === 1 ? [] : segments.length === 2 ? [0x2e] : [0x2f, segments.length]
  return [...(root ? [0x5c] : []), ...(segments.length === 0 ? [0] : prefix), ...bytes]
}

/** Package length, which counts itself (§20.2.4). */
function withLength(body: Aml): Aml {
  const n = body.length
  if (n + 1 < 0x40) return [n + 1, ...body]
  for (let extra = 1; extra <= 3; extra++) {
    const total = n + 1 + extra
    if (total >= 2 ** (4 + 8 * extra)) continue
    return [(extra << 6) | (total & 0xf), ...littleEndian(Math.floor(total / 16), extra), ...body]
  }
  throw new RangeError('AML: package too long')
}

/** The shortest integer constant (§20.2.3). */
export function integer(value: number): Aml {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`AML: integer ${value}`)
  if (value <= 1) return [value]
  if (value < 0x100) return [0x0a, value]
  if (value < 0x1_0000) return [0x0b, ...littleEndian(value, 2)]
  if (value < 0x1_0000_0000) return [0x0c, ...littleEndian(value, 4)]
  return [0x0e, ...littleEndian(value, 8)]
}

export const text = (value: string): Aml => [0x0d, ...[...value].map((c) => c.charCodeAt(0)), 0]

/** EISA id such as "PNP0A08" as the integer that `_HID` takes (§19.3.4). */
export function eisaId(id: string): Aml {
  const letter = (i: number) => id.charCodeAt(i) - 0x40
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2)
  const product = Number.parseInt(id.slice(3), 16)
  return [0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff]
}

export const named = (name: string, value: Aml): Aml => [0x08, ...nameString(name), ...value]
export const scope = (name: string, ...terms: Aml[]): Aml =>
  [0x10, ...withLength([...nameString(name), ...terms.flat()])]
export const device = (name: string, ...terms: Aml[]): Aml =>
  [0x5b, 0x82, ...withLength([...nameString(name), ...terms.flat()])]
/** Package of up to 255 elements. */
export const pack = (...elements: Aml[]): Aml => [0x12, ...withLength([elements.length, ...elements.flat()])]
export const buffer = (bytes: Aml): Aml => [0x11, ...withLength([...integer(bytes.length), ...bytes])]
export const method = (name: string, args: number, ...terms: Aml[]): Aml =>
  [0x14, ...withLength([...nameString(name), args, ...terms.flat()])]

export const arg = (n: number): Aml => [0x68 + n]
export const ifThen = (condition: Aml, ...terms: Aml[]): Aml => [0xa0, ...withLength([...condition, ...terms.flat()])]
export const otherwise = (...terms: Aml[]): Aml => [0xa1, ...withLength(terms.flat())]
export const equal = (a: Aml, b: Aml): Aml => [0x93, ...a, ...b]
export const and = (a: Aml, b: Aml, target: Aml): Aml => [0x7b, ...a, ...b, ...target]
export const or = (a: Aml, b: Aml, target: Aml): Aml => [0x7d, ...a, ...b, ...target]
export const giveBack = (value: Aml): Aml => [0xa4, ...value]
export const dwordField = (source: Aml, index: number, name: string): Aml =>
  [0x8a, ...source, ...integer(index), ...nameString(name)]

/** A UUID as the buffer that ToUUID makes (§19.6.142): the first three groups are little-endian. */
export function uuid(value: string): Aml {
  const [a, b, c, d, e] = value.split('-').map((group) =>
    Array.from({ length: group.length / 2 }, (_, i) => Number.parseInt(group.slice(2 * i, 2 * i + 2), 16)))
  return buffer([...a.reverse(), ...b.reverse(), ...c.reverse(), ...d, ...e])
}

// Resource descriptors (§6.4).

/** Both ends fixed, produced for children. */
const FIXED_PRODUCER = 0x0c

/** Ports in use: decoded on 16 bits, at a fixed place. */
export const ioPorts = (start: number, length: number): Aml =>
  [0x47, 1, ...littleEndian(start, 2), ...littleEndian(start, 2), 1, length]
/** One edge-triggered, active-high ISA interrupt. */
export const irq = (line: number): Aml => [0x22, ...littleEndian(1 << line, 2)]
export const memory32Fixed = (base: number, length: number, writable = true): Aml =>
  [0x86, 9, 0, writable ? 1 : 0, ...littleEndian(base, 4), ...littleEndian(length, 4)]

function addressSpace(tag: number, width: number, type: number, specific: number, first: number, last: number): Aml {
  const le = (v: number) => littleEndian(v, width)
  return [tag, ...littleEndian(3 + 5 * width, 2), type, FIXED_PRODUCER, specific, ...le(0), ...le(first), ...le(last),
    ...le(0),
    ...le(last - first + 1)]
}
export const busRange = (first: number, last: number): Aml => addressSpace(0x88, 2, 2, 0, first, last)
export const ioRange = (first: number, last: number): Aml => addressSpace(0x88, 2, 1, 3, first, last)
/** Memory window, read and write, not cacheable. */
export const memoryRange32 = (first: number, last: number): Aml => addressSpace(0x87, 4, 0, 1, first, last)
/** Memory window, read and write, prefetchable. */
export const memoryRange64 = (first: number, last: number): Aml => addressSpace(0x8a, 8, 0, 7, first, last)
/** The descriptors of a `_CRS`, closed by an end tag. */
export const resources = (...descriptors: Aml[]): Aml => buffer([...descriptors.flat(), 0x79, 0])
