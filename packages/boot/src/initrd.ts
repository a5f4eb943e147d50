/** Looks at an initial RAM disk before a kernel does (Linux Documentation, early-userspace/buffer-format.rst). */
import { BootError, hex } from './error.ts'

/** Compressions that Linux unpacks (lib/decompress.c) and cpio, by their first bytes. */
const FORMATS: readonly (readonly [string, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]], ['gzip', [0x1f, 0x9e]], ['bzip2', [0x42, 0x5a]], ['lzma', [0x5d, 0x00]], ['xz', [0xfd, 0x37]],
  ['lzo', [0x89, 0x4c]], ['lz4', [0x02, 0x21]], ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
]
const CPIO_HEADER = 110
/** Name of a cpio archive's last entry: "TRAILER!!!". */
const TRAILER = [0x54, 0x52, 0x41, 0x49, 0x4c, 0x45, 0x52, 0x21, 0x21, 0x21]

const startsWith = (bytes: Uint8Array, at: number, magic: readonly number[]): boolean =>
  magic.every((b, i) => bytes[at + i] === b)

/** "070701" or "070702" (with checksums). */
const isCpio = (bytes: Uint8Array, at: number): boolean =>
  startsWith(bytes, at, [0x30, 0x37, 0x30, 0x37, 0x30]) && (bytes[at + 5] === 0x31 || bytes[at + 5] === 0x32)

/** A field of 8 hexadecimal digits, or −1. */
function hexField(bytes: Uint8Array, at: number): number {
  let value = 0
  for (let i = at; i < at + 8; i++) {
    const digit = Number.parseInt(String.fromCharCode(bytes[i]), 16)
    if (Number.isNaN(digit)) return -1
    value = value * 16 + digit
  }
  return value
}

const align4 = (n: number): number => Math.ceil(n / 4) * 4

/** Walks one cpio archive; answers where it ends. */
function walkCpio(bytes: Uint8Array, start: number, file: string): number {
  for (let at = start; ;) {
    const refuse = (problem: string) => new BootError(file, `cpio entry at ${hex(at)}`, problem)
    if (at + CPIO_HEADER > bytes.length) throw refuse('ends inside its header: the file is truncated')
    if (!isCpio(bytes, at)) throw refuse('no cpio magic (070701); the archive is damaged')
    const size = hexField(bytes, at + 54)
    const nameSize = hexField(bytes, at + 94)
    if (size < 0 || nameSize < 1) throw refuse('its size fields are no hexadecimal numbers')
    // Name and data begin and end on multiples of 4, counted from the archive's start.
    const data = start + align4(at - start + CPIO_HEADER + nameSize)
    const next = start + align4(data - start + size)
    if (data + size > bytes.length) {
      throw refuse(`ends at ${hex(data + size)}, the file at ${hex(bytes.length)}: it is truncated`)
    }
    if (nameSize === TRAILER.length + 1 && startsWith(bytes, at + CPIO_HEADER, TRAILER)) return next
    at = next
  }
}

/**
 * Checks that a file is what Linux takes for an initrd: cpio archives, one after the other, the last one possibly
 * compressed. What is compressed is not looked into. Answers the formats in order.
 *
 * @throws BootError that says where and what was expected
 */
export function checkInitrd(bytes: Uint8Array, file = 'initrd'): string[] {
  if (bytes.length === 0) throw new BootError(file, 'size', 'the file is empty')
  const found: string[] = []
  for (let at = 0; at < bytes.length;) {
    if (bytes[at] === 0) {
      at++
      continue
    }
    const format = FORMATS.find(([, magic]) => startsWith(bytes, at, magic))
    if (format !== undefined) return [...found, format[0]]
    if (!isCpio(bytes, at)) {
      if (found.length > 0) {
        throw new BootError(file, `bytes at ${hex(at)}`, 'neither cpio nor a compression after the first archive')
      }
      throw new BootError(file, 'format',
        `begins with ${[...bytes.subarray(at, at + 4)].map(hex).join(' ')}; expected a cpio archive `
        + '(newc) or one that gzip, bzip2, lzma, xz, lzo, lz4 or zstd compressed')
    }
    found.push('cpio')
    at = walkCpio(bytes, at, file)
  }
  if (found.length === 0) throw new BootError(file, 'format', 'all zeroes; expected a cpio archive')
  return found
}
