/**
 * Messages as bytes: little-endian integers, counted strings and counted data (9P2000: intro(5)). A message's fields
 * are declared once, as data; everything that a client sends passes through here and is checked here.
 */
import { fail, failed, type Answer } from './errno.ts'
import type { Qid } from './files.ts'

/** What the kinds of fields are in TypeScript. */
export interface FieldTypes {
  u8: number
  u16: number
  u32: number
  u64: bigint
  /** A string: UTF-8 without NUL. */
  text: string
  /** A string that names an entry of a directory. */
  name: string
  /** Up to 16 names. */
  names: readonly string[]
  /** 32-bit count and bytes. Of a request it is a view of the message. */
  data: Uint8Array
  qid: Qid
  qids: readonly Qid[]
}

/** The fields of a message in their order. */
export type Fields = Readonly<Record<string, keyof FieldTypes>>

/** A message's fields with their values. */
export type Values<F extends Fields> = { readonly [K in keyof F]: FieldTypes[F[K]] }

/** size[4] type[1] tag[2]. */
export const HEADER = 7
/** Names in one walk (walk(5): MAXWELEM). */
export const MOST_NAMES = 16
/** Bytes of a name, as in Linux (NAME_MAX). */
export const LONGEST_NAME = 255

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

interface Cursor {
  readonly bytes: Uint8Array
  readonly view: DataView
  at: number
}

/** Moves past `count` bytes and answers where they were, or undefined when they are not there. */
const take = (cursor: Cursor, count: number): number | undefined => {
  const { at } = cursor
  if (count > cursor.bytes.length - at) return undefined
  cursor.at = at + count
  return at
}

const malformed = fail('EPROTO')

const integer = <T>(size: number, get: (view: DataView, at: number) => T) => (cursor: Cursor): Answer<T> => {
  const at = take(cursor, size)
  return at === undefined ? malformed : get(cursor.view, at)
}

const readU16 = integer(2, (view, at) => view.getUint16(at, true))
const readU32 = integer(4, (view, at) => view.getUint32(at, true))

const readText = (cursor: Cursor): Answer<string> => {
  const length = readU16(cursor)
  if (failed(length)) return length
  const at = take(cursor, length)
  if (at === undefined) return malformed
  const bytes = cursor.bytes.subarray(at, at + length)
  if (bytes.includes(0)) return fail('EINVAL')
  try {
    return decoder.decode(bytes)
  } catch {
    return fail('EILSEQ')
  }
}

/** Why a text can't name an entry of a directory, if so. */
const nameFault = (name: string): Answer<string> => {
  if (name === '') return fail('ENOENT')
  if (name === '.' || name === '..' || name.includes('/')) return fail('EINVAL')
  // a UTF-16 unit is at least one byte
  if (name.length > LONGEST_NAME || encoder.encode(name).length > LONGEST_NAME) return fail('ENAMETOOLONG')
  return name
}

const readName = (cursor: Cursor): Answer<string> => {
  const text = readText(cursor)
  return failed(text) ? text : nameFault(text)
}

const readNames = (cursor: Cursor): Answer<string[]> => {
  const count = readU16(cursor)
  if (failed(count)) return count
  if (count > MOST_NAMES) return fail('EINVAL')
  const names: string[] = []
  for (let i = 0; i < count; i++) {
    const name = readName(cursor)
    if (failed(name)) return name
    names.push(name)
  }
  return names
}

const readData = (cursor: Cursor): Answer<Uint8Array> => {
  const length = readU32(cursor)
  if (failed(length)) return length
  const at = take(cursor, length)
  return at === undefined ? malformed : cursor.bytes.subarray(at, at + length)
}

const readQid = (cursor: Cursor): Answer<Qid> => {
  const at = take(cursor, 13)
  if (at === undefined) return malformed
  const { view } = cursor
  return { type: view.getUint8(at), version: view.getUint32(at + 1, true), path: view.getBigUint64(at + 5, true) }
}

const readQids = (cursor: Cursor): Answer<Qid[]> => {
  const count = readU16(cursor)
  if (failed(count)) return count
  const qids: Qid[] = []
  for (let i = 0; i < count; i++) {
    const qid = readQid(cursor)
    if (failed(qid)) return qid
    qids.push(qid)
  }
  return qids
}

const readers: { readonly [K in keyof FieldTypes]: (cursor: Cursor) => Answer<FieldTypes[K]> } = {
  u8: integer(1, (view, at) => view.getUint8(at)),
  u16: readU16,
  u32: readU32,
  u64: integer(8, (view, at) => view.getBigUint64(at, true)),
  text: readText,
  name: readName,
  names: readNames,
  data: readData,
  qid: readQid,
  qids: readQids,
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Fields of a message from its bytes after the header: all of them, and nothing behind them. */
export function decode<F extends Fields>(fields: F, bytes: Uint8Array): Answer<Values<F>> {
  const cursor: Cursor = { bytes, view: viewOf(bytes), at: 0 }
  const values: Record<string, unknown> = {}
  for (const [field, kind] of Object.entries(fields)) {
    const value: Answer<unknown> = readers[kind](cursor)
    if (failed(value)) return value
    values[field] = value
  }
  return cursor.at === bytes.length ? values as Values<F> : malformed
}

interface Writer {
  readonly bytes: Uint8Array
  readonly view: DataView
  at: number
}

const putText = (writer: Writer, text: string): void => {
  const bytes = encoder.encode(text)
  writer.view.setUint16(writer.at, bytes.length, true)
  writer.bytes.set(bytes, writer.at + 2)
  writer.at += 2 + bytes.length
}

const putQid = (writer: Writer, qid: Qid): void => {
  writer.view.setUint8(writer.at, qid.type)
  writer.view.setUint32(writer.at + 1, qid.version, true)
  writer.view.setBigUint64(writer.at + 5, qid.path, true)
  writer.at += 13
}

const putList = <T>(put: (writer: Writer, item: T) => void) => (writer: Writer, items: readonly T[]): void => {
  writer.view.setUint16(writer.at, items.length, true)
  writer.at += 2
  for (const item of items) put(writer, item)
}

const writers: { readonly [K in keyof FieldTypes]: (writer: Writer, value: FieldTypes[K]) => void } = {
  u8: (writer, value) => writer.view.setUint8(writer.at++, value),
  u16(writer, value) {
    writer.view.setUint16(writer.at, value, true)
    writer.at += 2
  },
  u32(writer, value) {
    writer.view.setUint32(writer.at, value, true)
    writer.at += 4
  },
  u64(writer, value) {
    writer.view.setBigUint64(writer.at, value, true)
    writer.at += 8
  },
  text: putText,
  name: putText,
  names: putList(putText),
  data(writer, value) {
    writer.view.setUint32(writer.at, value.length, true)
    writer.bytes.set(value, writer.at + 4)
    writer.at += 4 + value.length
  },
  qid: putQid,
  qids: putList(putQid),
}

const textSize = (text: string): number => 2 + encoder.encode(text).length

const sizes: { readonly [K in keyof FieldTypes]: (value: FieldTypes[K]) => number } = {
  u8: () => 1,
  u16: () => 2,
  u32: () => 4,
  u64: () => 8,
  text: textSize,
  name: textSize,
  names: (names) => names.reduce((sum, name) => sum + textSize(name), 2),
  data: (data) => 4 + data.length,
  qid: () => 13,
  qids: (qids) => 2 + 13 * qids.length,
}

/** A whole message with its header, or EMSGSIZE when it is longer than `room`. */
export function encode<F extends Fields>(
  { type, tag, fields, values, room }:
  {
    readonly type: number; readonly tag: number; readonly fields: F; readonly values: Values<F>; readonly room: number
  },
): Answer<Uint8Array> {
  const rows = Object.entries(fields).map(([field, kind]) => [kind, values[field]] as const)
  const size = rows.reduce((sum, [kind, value]) => sum + (sizes[kind] as (value: unknown) => number)(value), HEADER)
  if (size > room) return fail('EMSGSIZE')
  const bytes = new Uint8Array(size)
  const writer: Writer = { bytes, view: viewOf(bytes), at: HEADER }
  writer.view.setUint32(0, size, true)
  writer.view.setUint8(4, type)
  writer.view.setUint16(5, tag, true)
  for (const [kind, value] of rows) (writers[kind] as (writer: Writer, value: unknown) => void)(writer, value)
  return bytes
}
