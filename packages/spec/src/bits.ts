/**
 * Bit fields as data. A register or a table entry is declared once, as the manual's figure has it; two fields that
 * overlap are refused when the module loads.
 */

/** Where a field lies: one bit, or `[highest, lowest]` as manuals write ranges (63:12). */
export type BitRange = number | readonly [high: number, low: number]

/** Named fields of one register. */
export type BitFields = Readonly<Record<string, BitRange>>

type Low32 =
  | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15
  | 16 | 17 | 18 | 19 | 20 | 21 | 22 | 23 | 24 | 25 | 26 | 27 | 28 | 29 | 30 | 31

type HighestBit<R> = R extends readonly [infer H, number] ? H : R

/** `number` when all fields lie below bit 32, else `bigint`. */
export type BitsValue<F extends BitFields> = [Exclude<HighestBit<F[keyof F]>, Low32>] extends [never] ? number : bigint

/** A declared register: how to take its value apart and put it together. */
export interface Bits<F extends BitFields, V extends number | bigint> {
  /** The declaration, for tables and logs. */
  readonly fields: F
  /** Mask of each field, in place. */
  readonly mask: Readonly<Record<keyof F, V>>
  /** Lowest bit of each field. */
  readonly shift: Readonly<Record<keyof F, number>>
  /** All declared bits; the rest is reserved. */
  readonly used: V
  /** The field's value, shifted down. */
  get(value: V, field: keyof F): V
  /** `value` with the field replaced. @throws RangeError when `to` does not fit. */
  set(value: V, field: keyof F, to: V): V
  /** A value from named fields, the others 0. @throws RangeError when one does not fit. */
  pack(fields: Partial<Record<keyof F, V>>): V
  /** All fields by name. */
  unpack(value: V): Record<keyof F, V>
  /** Names of the fields that are not 0, for logs: `PE NE PG`, ranges as `name=0x…`. */
  describe(value: V): string
}

interface Placed {
  readonly name: string
  readonly high: number
  readonly low: number
}

function place(fields: BitFields, width: number): Placed[] {
  const placed: Placed[] = []
  for (const [name, range] of Object.entries(fields)) {
    const [high, low] = typeof range === 'number' ? [range, range] : range
    if (!Number.isInteger(high) || !Number.isInteger(low) || low < 0 || high < low || high >= width) {
      throw new RangeError(`bits: ${name} [${high}:${low}] is no range of a ${width}-bit value`)
    }
    for (const other of placed) {
      if (low <= other.high && other.low <= high) throw new RangeError(`bits: ${name} overlaps ${other.name}`)
    }
    placed.push({ name, high, low })
  }
  return placed
}

const record = <T>(placed: readonly Placed[], value: (p: Placed) => T): Record<string, T> =>
  Object.fromEntries(placed.map((p) => [p.name, value(p)]))

function bits32(fields: BitFields, placed: Placed[]): Bits<BitFields, number> {
  const limit = record(placed, (p) => 2 ** (p.high - p.low + 1) - 1)
  const shift = record(placed, (p) => p.low)
  const mask = record(placed, (p) => (limit[p.name] << p.low) >>> 0)
  const get = (value: number, field: string): number => ((value & mask[field]) >>> shift[field]) >>> 0
  const set = (value: number, field: string, to: number): number => {
    if (!(to >= 0 && to <= limit[field])) throw new RangeError(`bits: ${to} does not fit into ${field}`)
    return ((value & ~mask[field]) | (to << shift[field])) >>> 0
  }
  return {
    fields, mask, shift, get, set,
    used: placed.reduce((all, p) => (all | mask[p.name]) >>> 0, 0),
    pack: (values) => Object.entries(values).reduce((all, [name, v]) => set(all, name, v ?? 0), 0),
    unpack: (value) => record(placed, (p) => get(value, p.name)),
    describe: (value) => describe(placed, (p) => get(value, p.name)),
  }
}

function bits64of(fields: BitFields, placed: Placed[]): Bits<BitFields, bigint> {
  const limit = record(placed, (p) => (1n << BigInt(p.high - p.low + 1)) - 1n)
  const shift = record(placed, (p) => p.low)
  const mask = record(placed, (p) => limit[p.name] << BigInt(p.low))
  const get = (value: bigint, field: string): bigint => (value & mask[field]) >> BigInt(shift[field])
  const set = (value: bigint, field: string, to: bigint): bigint => {
    if (to < 0n || to > limit[field]) throw new RangeError(`bits: ${to} does not fit into ${field}`)
    return (value & ~mask[field] & 0xffff_ffff_ffff_ffffn) | (to << BigInt(shift[field]))
  }
  return {
    fields, mask, shift, get, set,
    used: placed.reduce((all, p) => all | mask[p.name], 0n),
    pack: (values) => Object.entries(values).reduce((all, [name, v]) => set(all, name, v ?? 0n), 0n),
    unpack: (value) => record(placed, (p) => get(value, p.name)),
    describe: (value) => describe(placed, (p) => get(value, p.name)),
  }
}

function describe(placed: readonly Placed[], get: (p: Placed) => number | bigint): string {
  const shown = placed.map((p) => {
    const v = get(p)
    if (v === 0 || v === 0n) return ''
    return p.high === p.low ? p.name : `${p.name}=0x${v.toString(16)}`
  })
  return shown.filter((s) => s !== '').join(' ')
}

/**
 * Declares a register. With every field below bit 32 its values are numbers (unsigned), else bigints.
 * @throws RangeError at load when fields overlap or lie outside 64 bits.
 */
export function bits<const F extends BitFields>(fields: F): Bits<F, BitsValue<F>> {
  const placed = place(fields, 64)
  const wide = placed.some((p) => p.high > 31)
  // The type of the values follows the highest field; the compiler sees the same rule in BitsValue.
  return (wide ? bits64of(fields, placed) : bits32(fields, placed)) as unknown as Bits<F, BitsValue<F>>
}

/** Declares a 64-bit register whose values are bigints even when all fields lie low. */
export function bits64<const F extends BitFields>(fields: F): Bits<F, bigint> {
  return bits64of(fields, place(fields, 64)) as unknown as Bits<F, bigint>
}
