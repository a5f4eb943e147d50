/**
 * Binary structures as data: every offset and the total size, as an ABI document's table has them. All fields are
 * little-endian. Overlap and fields outside the structure are refused when the module loads.
 */

/**
 * `[offset, bytes]`: 1, 2 and 4 bytes are numbers, 8 are a bigint, other sizes byte arrays.
 * `[offset, bytes, 'bytes']` is a byte array whatever its size (signatures, arrays).
 */
export type LayoutField = readonly [offset: number, bytes: number] | readonly [offset: number, bytes: number, 'bytes']

/** Named fields of a structure. */
export type LayoutFields = Readonly<Record<string, LayoutField>>

/** What a field holds. */
export type FieldValue<T extends LayoutField> =
  T extends readonly [number, number, 'bytes'] ? Uint8Array
    : T extends readonly [number, 1 | 2 | 4] ? number
      : T extends readonly [number, 8] ? bigint
        : Uint8Array

/** All fields of a structure by name. */
export type LayoutRecord<F extends LayoutFields> = { [K in keyof F]: FieldValue<F[K]> }

/** A declared structure. `base` is the offset of the structure in the view, 0 when left out. */
export interface Layout<F extends LayoutFields> {
  /** Bytes of the whole structure. */
  readonly size: number
  /** The declaration. */
  readonly fields: F
  /** Offset of each field. */
  readonly offset: Readonly<Record<keyof F, number>>
  /** Reads one field. @throws RangeError when the view is shorter than the structure. */
  get<K extends keyof F>(view: DataView, field: K, base?: number): FieldValue<F[K]>
  /** Writes one field. @throws RangeError when the view is too short or the value does not fit. */
  set<K extends keyof F>(view: DataView, field: K, value: FieldValue<F[K]>, base?: number): void
  /** Reads all fields (byte arrays are copies). */
  read(view: DataView, base?: number): LayoutRecord<F>
  /** Writes the named fields and leaves the rest as it is. */
  write(view: DataView, values: Partial<LayoutRecord<F>>, base?: number): void
  /** A new structure with the named fields set and everything else 0. */
  create(values?: Partial<LayoutRecord<F>>): Uint8Array
}

type Value = number | bigint | Uint8Array

function check(size: number, fields: LayoutFields): void {
  const seen: (readonly [string, number, number])[] = []
  for (const [name, [offset, bytes]] of Object.entries(fields)) {
    if (!Number.isInteger(offset) || !Number.isInteger(bytes) || offset < 0 || bytes < 1 || offset + bytes > size) {
      throw new RangeError(`layout: ${name} at ${offset}+${bytes} lies outside a structure of ${size} bytes`)
    }
    for (const [other, start, end] of seen) {
      if (offset < end && start < offset + bytes) throw new RangeError(`layout: ${name} overlaps ${other}`)
    }
    seen.push([name, offset, offset + bytes])
  }
}

function readField(view: DataView, field: LayoutField, base: number): Value {
  const at = base + field[0]
  const bytes = field[1]
  if (field[2] !== 'bytes') {
    if (bytes === 1) return view.getUint8(at)
    if (bytes === 2) return view.getUint16(at, true)
    if (bytes === 4) return view.getUint32(at, true)
    if (bytes === 8) return view.getBigUint64(at, true)
  }
  return new Uint8Array(view.buffer, view.byteOffset + at, bytes).slice()
}

function writeField(view: DataView, name: string, field: LayoutField, value: Value, base: number): void {
  const [offset, bytes] = field
  const at = base + offset
  const refuse = () => new RangeError(`layout: ${String(value)} does not fit into ${name} (${bytes} bytes)`)
  if (value instanceof Uint8Array) {
    if (value.length > bytes) throw refuse()
    const target = new Uint8Array(view.buffer, view.byteOffset + at, bytes)
    target.fill(0)
    target.set(value)
  } else if (typeof value === 'bigint') {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw refuse()
    view.setBigUint64(at, value, true)
  } else {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * bytes)) throw refuse()
    if (bytes === 1) view.setUint8(at, value)
    else if (bytes === 2) view.setUint16(at, value, true)
    else view.setUint32(at, value, true)
  }
}

/**
 * Declares a structure of `size` bytes.
 * @throws RangeError at load when fields overlap or lie outside.
 */
export function layout<const F extends LayoutFields>(size: number, fields: F): Layout<F> {
  check(size, fields)
  const table: LayoutFields = fields
  const names = Object.keys(fields)
  const guard = (view: DataView, base: number): void => {
    if (base < 0 || base + size > view.byteLength) {
      throw new RangeError(`layout: ${size} bytes at ${base} wanted, ${view.byteLength} there`)
    }
  }
  const write = (view: DataView, values: Readonly<Record<string, Value | undefined>>, base: number): void => {
    guard(view, base)
    for (const [name, value] of Object.entries(values)) {
      if (value !== undefined) writeField(view, name, table[name], value, base)
    }
  }
  const untyped = {
    size,
    fields,
    offset: Object.fromEntries(names.map((n) => [n, table[n][0]])),
    get(view: DataView, field: string, base = 0) {
      guard(view, base)
      return readField(view, table[field], base)
    },
    set(view: DataView, field: string, value: Value, base = 0) {
      guard(view, base)
      writeField(view, field, table[field], value, base)
    },
    read(view: DataView, base = 0) {
      guard(view, base)
      return Object.fromEntries(names.map((n) => [n, readField(view, table[n], base)]))
    },
    write(view: DataView, values: Record<string, Value>, base = 0) {
      write(view, values, base)
    },
    create(values: Record<string, Value> = {}) {
      const bytes = new Uint8Array(size)
      write(new DataView(bytes.buffer), values, 0)
      return bytes
    },
  }
  // The declaration gives each field its type; inside, a field is whatever its size says.
  return untyped as unknown as Layout<F>
}
