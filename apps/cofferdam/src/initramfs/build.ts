import { crc32, deflateRawSync } from 'node:zlib'
import { inputError } from '../errors.ts'
import { writeCpio, type CpioEntry } from './cpio.ts'
import { dhcpScript, initScript, profileScript, sevReportScript } from './init-script.ts'

/** A file to put into the archive. */
export interface GuestFile {
  /** Absolute path in the guest. */
  readonly path: string
  readonly data: Uint8Array
  readonly executable: boolean
}

/** Options of {@link buildInitramfs}. */
export interface InitramfsOptions {
  /** A static BusyBox for x86-64. */
  readonly busybox: Uint8Array
  /** More files, which may replace ours. Default: none. */
  readonly files?: readonly GuestFile[]
  /**
   * `none` (default): the guest copies 2 MB, which is less work than to inflate 1 MB, and the bytes are the same
   * everywhere. `gzip`: smaller, but zlib's output differs between its versions and processors.
   */
  readonly compress?: 'none' | 'gzip'
}

const indexOf = (bytes: Uint8Array, part: Uint8Array): number => {
  for (let at = bytes.indexOf(part[0] ?? 0); at >= 0; at = bytes.indexOf(part[0] ?? 0, at + 1)) {
    if (part.every((byte, index) => bytes[at + index] === byte)) return at
  }
  return -1
}

/**
 * The names of the programs inside a BusyBox binary, from its table of NUL-terminated names (`applet_names`), which
 * always starts with `[` and `[[`. Reading it needs no x86-64 machine that could run it.
 */
export const appletNames = (busybox: Uint8Array): string[] => {
  const start = indexOf(busybox, new TextEncoder().encode('[\0[[\0'))
  if (start < 0) return []
  const names: string[] = []
  for (let at = start; names.length < 1000; ) {
    const end = busybox.indexOf(0, at)
    const name = new TextDecoder('latin1').decode(busybox.subarray(at, end))
    if (end < 0 || !/^[\w.[-]+$/.test(name)) break
    names.push(name)
    at = end + 1
  }
  return names
}

const parentFolders = (path: string): string[] => {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
}

const archivePath = (path: string): string => {
  const parts = path.split('/').slice(1)
  if (!path.startsWith('/') || parts.some((part) => ['', '.', '..'].includes(part) || part.includes('\0'))) {
    throw inputError('initramfs', `guest path ${path}`, 'an absolute path without empty parts, . and ..')
  }
  return parts.join('/')
}

const folders = ['bin', 'dev', 'etc', 'etc/udhcpc', 'lib', 'lib/x86_64-linux-gnu', 'proc', 'root', 'run', 'sys', 'tmp']

// /lib64 is where the x86-64 ABI puts the dynamic linker; /sbin and /usr/bin are where scripts look.
const links: readonly (readonly [string, string])[] = [
  ['lib64', 'lib'],
  ['sbin', 'bin'],
]

const script = (path: string, text: string): CpioEntry => ({
  path,
  kind: 'file',
  data: new TextEncoder().encode(text),
  mode: 0o755,
})

const baseEntries = (busybox: Uint8Array): CpioEntry[] => [
  ...folders.map((path): CpioEntry => ({ path, kind: 'directory', mode: path === 'tmp' ? 0o1777 : 0o755 })),
  ...links.map(([path, target]): CpioEntry => ({ path, kind: 'symlink', target })),
  // the kernel opens /dev/console for /init before anything is mounted
  { path: 'dev/console', kind: 'character-device', major: 5, minor: 1 },
  { path: 'dev/null', kind: 'character-device', major: 1, minor: 3, mode: 0o666 },
  { path: 'bin/busybox', kind: 'file', data: busybox, mode: 0o755 },
  ...appletNames(busybox)
    .filter((name) => name !== 'busybox')
    .map((name): CpioEntry => ({ path: `bin/${name}`, kind: 'symlink', target: 'busybox' })),
  script('etc/profile', profileScript),
  script('etc/udhcpc/default.script', dhcpScript),
  script('bin/sev-report', sevReportScript),
  script('init', initScript),
]

const addFile = (entries: Map<string, CpioEntry>, { path, data, executable }: GuestFile): void => {
  const name = archivePath(path).replace(/^lib64\//, 'lib/').replace(/^sbin\//, 'bin/')
  for (const folder of parentFolders(name)) {
    const there = entries.get(folder)
    if (there && there.kind !== 'directory') {
      throw inputError('initramfs', `guest path ${path}`, `a folder at /${folder}, which is a ${there.kind}`)
    }
    if (!there) entries.set(folder, { path: folder, kind: 'directory' })
  }
  // deleted first, so that a replaced entry moves behind its folders
  entries.delete(name)
  entries.set(name, { path: name, kind: 'file', data, mode: executable ? 0o755 : 0o644 })
}

// RFC 1952: no name, no time, "unknown" system
const gzip = (data: Uint8Array): Uint8Array => {
  const body = deflateRawSync(data, { level: 9 })
  const bytes = new Uint8Array(10 + body.length + 8)
  bytes.set([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255])
  bytes.set(body, 10)
  const view = new DataView(bytes.buffer)
  view.setUint32(10 + body.length, crc32(data), true)
  view.setUint32(14 + body.length, data.length, true)
  return bytes
}

/**
 * Builds the default initramfs: BusyBox with a link per program, /init, and the files given. The same input gives the
 * same bytes.
 * @throws an input error when a guest path can't be
 */
export const buildInitramfs = ({ busybox, files = [], compress = 'none' }: InitramfsOptions): Uint8Array => {
  const entries = new Map(baseEntries(busybox).map((entry) => [entry.path, entry]))
  for (const file of files) addFile(entries, file)
  const archive = writeCpio([...entries.values()])
  return compress === 'gzip' ? gzip(archive) : archive
}
