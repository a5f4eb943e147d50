/** Small helpers over byte arrays. */

/** A view of the array's own bytes. */
export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Lower-case hexadecimal. */
export const toHex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')

/** Bytes of an even number of hexadecimal digits. @throws RangeError for anything else. */
export function fromHex(text: string): Uint8Array {
  if (!/^([\da-f]{2})*$/i.test(text)) throw new RangeError('an even number of hexadecimal digits')
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16))
}

/** Whether two arrays hold the same bytes. */
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])

/** Whether all bytes are 0. */
export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)

/** Arrays one after the other. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}
