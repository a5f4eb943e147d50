/** The firmware's state as plain data that JSON carries, and back. Byte strings and 64-bit numbers are hexadecimal. */
import { SnapshotError } from '@cofferdam/devices'
import type { Plain } from '@cofferdam/devices'
import { fromHex, toHex } from '../bytes.ts'
import type { GuestContext, PspState } from './types.ts'

const NAME = 'psp'

type Value = number | boolean | bigint | null | Uint8Array | readonly Value[]

/** One value; bytes and big numbers say by a letter what they are. */
function encode(value: Value): Plain {
  if (typeof value === 'bigint') return `n${value.toString(16)}`
  if (value instanceof Uint8Array) return `b${toHex(value)}`
  return Array.isArray(value) ? value.map((item: Value) => encode(item)) : value as Plain
}

function decode(value: Plain | undefined, like: Value, field: string): Value {
  const refuse = (expected: string): never => { throw new SnapshotError(NAME, field, expected) }
  if (Array.isArray(like)) {
    if (!Array.isArray(value) || value.length !== like.length) return refuse(`${like.length} items`)
    return value.map((item: Plain, i) => decode(item, (like as readonly Value[])[i], `${field}[${i}]`))
  }
  if (typeof like === 'bigint') {
    return typeof value === 'string' && /^n[\da-f]+$/.test(value)
      ? BigInt(`0x${value.slice(1)}`)
      : refuse('n and digits')
  }
  if (like instanceof Uint8Array) {
    const fits = typeof value === 'string' && /^b([\da-f]{2})*$/.test(value) && value.length === 1 + 2 * like.length
    return fits ? fromHex(value.slice(1)) : refuse(`b and ${like.length} bytes`)
  }
  return typeof value === typeof like ? value as Value : refuse(`a ${typeof like}`)
}

type Fields = Readonly<Record<string, Value>>

const encodeFields = (fields: Fields): Plain =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, encode(value)]))

/** Fields of the shape of `like`. */
function decodeFields(plain: Plain | undefined, like: Fields, path: string): Fields {
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) {
    throw new SnapshotError(NAME, path, 'a record')
  }
  const record = plain as Readonly<Record<string, Plain>>
  return Object.fromEntries(Object.entries(like).map(([name, value]) =>
    [name, decode(record[name], value, path === '' ? name : `${path}.${name}`)]))
}

/** The fields that are no collections. */
function scalars(state: PspState): Fields {
  const { guests: _guests, dirtyAsids: _dirty, unflushed: _unflushed, vlek: _vlek, ...rest } = state
  return rest
}

/** What a snapshot keeps. */
export function savePsp(state: PspState): Plain {
  const { vlek } = state
  return {
    scalars: encodeFields(scalars(state)),
    guests: [...state.guests.values()].map((guest) => encodeFields({ ...guest })),
    dirtyAsids: [...state.dirtyAsids], unflushed: [...state.unflushed],
    vlek: vlek === null ? null : encodeFields({ ...vlek }),
  }
}

function numbers(plain: Plain | undefined, field: string): number[] {
  if (!Array.isArray(plain) || !plain.every((n) => typeof n === 'number')) {
    throw new SnapshotError(NAME, field, 'a list of numbers')
  }
  return plain
}

/**
 * Puts a snapshot back; nothing changes when it does not fit.
 * @param like a guest without anything, for the shape of guests
 * @throws SnapshotError
 */
export function restorePsp(state: PspState, plain: Plain, like: GuestContext, seedBytes: number): void {
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) throw new SnapshotError(NAME, '', 'a record')
  const record = plain as Readonly<Record<string, Plain>>
  const values = decodeFields(record.scalars, scalars(state), 'scalars')
  if (!Array.isArray(record.guests)) throw new SnapshotError(NAME, 'guests', 'a list')
  const guests = (record.guests as readonly Plain[]).map((guest, i) =>
    decodeFields(guest, { ...like }, `guests[${i}]`) as unknown as GuestContext)
  const dirty = numbers(record.dirtyAsids, 'dirtyAsids')
  const unflushed = numbers(record.unflushed, 'unflushed')
  const vlek = record.vlek === null ? null
    : decodeFields(record.vlek, { seed: new Uint8Array(seedBytes), tcb: 0n }, 'vlek')
  Object.assign(state, values, { vlek })
  const refill = <T>(set: Set<T>, items: readonly T[]): void => {
    set.clear()
    for (const item of items) set.add(item)
  }
  refill(state.dirtyAsids, dirty)
  refill(state.unflushed, unflushed)
  state.guests.clear()
  for (const guest of guests) state.guests.set(guest.page, guest)
}
