/** One member of an archive. Times are always 0 and owners always root, so that the same input gives the same bytes. */
export type CpioEntry =
  | { readonly path: string; readonly kind: 'directory'; readonly mode?: number }
  | { readonly path: string; readonly kind: 'file'; readonly data: Uint8Array; readonly mode?: number }
  | { readonly path: string; readonly kind: 'symlink'; readonly target: string }
  | CharacterDevice

interface CharacterDevice {
  readonly path: string
  readonly kind: 'character-device'
  readonly major: number
  readonly minor: number
  readonly mode?: number
}

// stat(2) file types
const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000, 'character-device': 0o020000 } as const
const defaultMode = { directory: 0o755, file: 0o644, symlink: 0o777, 'character-device': 0o600 } as const

const encoder = new TextEncoder()

const contentOf = (entry: CpioEntry): Uint8Array => {
  if (entry.kind === 'file') return entry.data
  if (entry.kind === 'symlink') return encoder.encode(entry.target)
  return new Uint8Array(0)
}

const modeOf = (entry: CpioEntry): number => {
  const mode = 'mode' in entry ? entry.mode : undefined
  return typeBits[entry.kind] | (mode ?? defaultMode[entry.kind])
}

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0')

const padded = (length: number): number => (length + 3) & ~3

// Linux Documentation/driver-api/early-userspace/buffer-format.rst: "070701", then 13 fields of 8 hexadecimal digits,
// the name with its NUL padded to 4 bytes from the header's start, and the data padded to 4 bytes.
const headerOf = (inode: number, entry: CpioEntry, nameSize: number, size: number): string => {
  const device = entry.kind === 'character-device' ? [entry.major, entry.minor] : [0, 0]
  const links = entry.kind === 'directory' ? 2 : 1
  const fields = [inode, modeOf(entry), 0, 0, links, 0, size, 0, 0, ...device, nameSize, 0]
  return `070701${fields.map(hex).join('')}`
}

const member = (inode: number, entry: CpioEntry): Uint8Array => {
  const name = encoder.encode(`${entry.path}\0`)
  const data = contentOf(entry)
  const header = encoder.encode(headerOf(inode, entry, name.length, data.length))
  const dataAt = padded(header.length + name.length)
  const bytes = new Uint8Array(dataAt + padded(data.length))
  bytes.set(header)
  bytes.set(name, header.length)
  bytes.set(data, dataAt)
  return bytes
}

const trailer: CpioEntry = { path: 'TRAILER!!!', kind: 'file', data: new Uint8Array(0), mode: 0 }

/**
 * Writes an initramfs archive (cpio "newc", the only format that Linux unpacks besides "crc"). Members keep their
 * order; the archive is padded to 512 bytes as the tools do.
 */
export const writeCpio = (entries: readonly CpioEntry[]): Uint8Array => {
  const members = [...entries, trailer].map((entry, index) => member(index + 1, entry))
  const length = members.reduce((sum, bytes) => sum + bytes.length, 0)
  const archive = new Uint8Array(Math.ceil(length / 512) * 512)
  let at = 0
  for (const bytes of members) {
    archive.set(bytes, at)
    at += bytes.length
  }
  return archive
}
