/** The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words. */

/** Adds bytes to a sum, the last odd one as the upper half of a word. */
export function sumBytes(bytes: Uint8Array, start = 0): number {
  let sum = start
  const even = bytes.length & ~1
  for (let i = 0; i < even; i += 2) sum += bytes[i] << 8 | bytes[i + 1]
  if (even < bytes.length) sum += bytes[even] << 8
  return sum
}

/** The checksum of a sum. */
export function foldSum(sum: number): number {
  let folded = sum
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x1_0000)
  return folded ^ 0xffff
}

/** The checksum of some bytes; 0 when they contain a checksum that is right. */
export const checksum = (bytes: Uint8Array): number => foldSum(sumBytes(bytes))

/** The sum of the pseudo-header of UDP and TCP (RFC 768, RFC 9293 section 3.1). */
export const pseudoHeaderSum = (source: number, destination: number, protocol: number, length: number): number =>
  (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length
