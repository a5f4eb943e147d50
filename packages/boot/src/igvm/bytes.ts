/** Byte arrays, put together. */

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** The same bytes with zeroes after them, up to a multiple of `unit`. */
export function padded(bytes: Uint8Array, unit: number): Uint8Array {
  const all = new Uint8Array(Math.ceil(bytes.length / unit) * unit)
  all.set(bytes)
  return all
}
