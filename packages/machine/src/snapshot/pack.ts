/** The state of a machine as bytes: MessagePack, with typed arrays and bigints as extensions. */
import { decode, encode, ExtensionCodec } from '@msgpack/msgpack'

type Made = Uint16Array | Uint32Array | Int32Array | Float64Array

/** Extension types of the arrays (application-specific: 0 to 127); byte arrays are MessagePack's own. */
const KINDS = [[1, Uint16Array], [2, Uint32Array], [3, Int32Array], [4, Float64Array]] as const

/**
 * Values (numbers, texts, arrays, records, …) that bytes may hold, and how deep they lie in each other. A byte of
 * MessagePack can stand for an object of many: without a limit, a small file would fill this process's memory.
 */
const MOST_VALUES = 2 ** 23
const DEEPEST = 64

const arrays = new ExtensionCodec()
for (const [type, Kind] of KINDS) {
  arrays.register({
    type,
    encode: (value) => (value instanceof Kind ? bytesOf(value) : null),
    decode: (bytes) => {
      if (bytes.length % Kind.BYTES_PER_ELEMENT !== 0) throw new RangeError(`${bytes.length} bytes are no ${Kind.name}`)
      // What is decoded lies anywhere in the file: a typed array wants it aligned, in a buffer of its own.
      return new Kind(new Uint8Array(bytes).buffer)
    },
  })
}

/** Extension type of bigints of up to 64 bits and a sign: 16 bytes, little-endian, in two's complement. */
const BIGINT = 5
const BIGINT_BYTES = 16
arrays.register({
  type: BIGINT,
  encode: (value) => {
    if (typeof value !== 'bigint') return null
    const bytes = new Uint8Array(BIGINT_BYTES)
    const view = new DataView(bytes.buffer)
    view.setBigUint64(0, BigInt.asUintN(64, value), true)
    view.setBigInt64(8, BigInt.asIntN(64, value >> 64n), true)
    return bytes
  },
  decode: (bytes) => {
    if (bytes.length !== BIGINT_BYTES) throw new RangeError(`${bytes.length} bytes are no bigint`)
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    return view.getBigInt64(8, true) << 64n | view.getBigUint64(0, true)
  },
})

const bytesOf = (array: Made): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

/** The bytes of plain data with typed arrays in it. */
export const pack = (value: unknown): Uint8Array => encode(value, { extensionCodec: arrays, maxDepth: DEEPEST })

/**
 * What begins at a byte: the bytes to skip, and how many values follow inside (MessagePack's specification,
 * "Formats").
 */
interface Token {
  readonly bytes: number
  readonly inside: number
}

/** Bytes of the length, or of the number, behind the first bytes C4h to DFh. */
const FIELD = [1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 16, 1, 2, 4, 2, 4, 2, 4] as const

function tokenAt(view: DataView, at: number): Token {
  const first = view.getUint8(at)
  if (first < 0x80 || first >= 0xe0) return { bytes: 1, inside: 0 }
  if (first < 0x90) return { bytes: 1, inside: (first & 15) * 2 }
  if (first < 0xa0) return { bytes: 1, inside: first & 15 }
  if (first < 0xc0) return { bytes: 1 + (first & 31), inside: 0 }
  if (first < 0xc4) return { bytes: 1, inside: 0 }
  const field = FIELD[first - 0xc4]
  const length = (): number =>
    (field === 1 ? view.getUint8(at + 1) : field === 2 ? view.getUint16(at + 1) : view.getUint32(at + 1))
  if (first <= 0xc6 || (first >= 0xd9 && first <= 0xdb)) return { bytes: 1 + field + length(), inside: 0 }
  if (first <= 0xc9) return { bytes: 2 + field + length(), inside: 0 }
  if (first >= 0xdc) return { bytes: 1 + field, inside: length() * (first >= 0xde ? 2 : 1) }
  // Numbers, and extensions of a fixed length with their type.
  return { bytes: 1 + field + (first >= 0xd4 ? 1 : 0), inside: 0 }
}

/** Counts values without making any. @throws RangeError for more than there may be, or deeper ones, or missing bytes */
function checkSize(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const open = [1]
  let at = 0
  for (let values = 0; open.length > 0; values++) {
    if (values > MOST_VALUES) throw new RangeError(`more than ${MOST_VALUES} values`)
    const { bytes: length, inside } = tokenAt(view, at)
    at += length
    open[open.length - 1]--
    if (inside > 0) open.push(inside)
    if (open.length > DEEPEST) throw new RangeError(`values more than ${DEEPEST} deep`)
    while (open.at(-1) === 0) open.pop()
  }
}

/** @throws Error for bytes that `pack` cannot have made */
export function unpack(bytes: Uint8Array): unknown {
  checkSize(bytes)
  return decode(bytes, { extensionCodec: arrays, keyDecoder: null })
}
