/// <reference types="node" />
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { SetupHeader } from '@cofferdam/spec'

const root = join(import.meta.dirname, '../../..')

/** Kernels that this machine happens to have: name and path. */
export function realKernels(): { name: string, path: string }[] {
  const found: { name: string, path: string }[] = []
  const shared = join(root, '../shared/kernels')
  if (existsSync(shared)) {
    for (const name of readdirSync(shared)) {
      const path = join(shared, name, 'bzImage')
      if (existsSync(path)) found.push({ name, path })
    }
  }
  const cache = join(homedir(), '.cache/cofferdam/images')
  if (existsSync(cache)) {
    for (const name of readdirSync(cache)) {
      const path = join(cache, name, 'vmlinuz')
      if (existsSync(path)) found.push({ name, path })
    }
  }
  return found
}

export const readImage = (path: string): Uint8Array => new Uint8Array(readFileSync(path))

/** A small but complete bzImage. `fields` replaces header fields. */
export function syntheticBzImage(fields: Parameters<typeof SetupHeader.create>[0] = {},
  kernelBytes = 0x4000): Uint8Array {
  const setupSects = fields.setupSects ?? 3
  const setup = (setupSects + 1) * 512
  const image = new Uint8Array(setup + kernelBytes)
  SetupHeader.write(new DataView(image.buffer), {
    setupSects, syssize: kernelBytes / 16, bootFlag: 0xaa55, jump: 0x6aeb, header: 0x5372_6448, version: 0x20f,
    kernelVersion: 0x300, loadflags: 1, initrdAddrMax: 0x7fff_ffff, kernelAlignment: 0x20_0000, relocatableKernel: 1,
    xloadflags: 0x7f, cmdlineSize: 2047, payloadOffset: 0x400, payloadLength: 0x1000, prefAddress: 0x100_0000n,
    initSize: 0x80_0000, handoverOffset: 0x10, ...fields,
  })
  image.set(new TextEncoder().encode('7.2.0-test (me) #1'), 0x500)
  if (kernelBytes >= 0x1400) {
    image.set([0x28, 0xb5, 0x2f, 0xfd], setup + 0x400)
    new DataView(image.buffer).setUint32(setup + 0x13fc, 0x40_0000, true)
  }
  return image
}

/** A cpio archive (newc) with one file of `size` bytes. */
export function syntheticCpio(size: number): Uint8Array {
  const field = (n: number) => n.toString(16).padStart(8, '0')
  const entry = (name: string, length: number): string =>
    '070701' + [1, 0o100644, 0, 0, 1, 0, length, 0, 0, 0, 0, name.length + 1, 0].map(field).join('') + name + '\0'
  const pad = (n: number) => Math.ceil(n / 4) * 4
  const first = entry('data', size)
  const last = entry('TRAILER!!!', 0)
  const bytes = new Uint8Array(pad(first.length) + pad(size) + pad(last.length))
  bytes.set(new TextEncoder().encode(first))
  bytes.set(new TextEncoder().encode(last), pad(first.length) + pad(size))
  return bytes
}

export interface ElfParts {
  bits: 32 | 64
  entry: number
  segments: { physical: number, data: Uint8Array, memorySize?: number }[]
  note?: { name: string, type: number, data: Uint8Array }
}

/** A small ELF executable. */
export function syntheticElf({ bits, entry, segments, note }: ElfParts): Uint8Array {
  const wide = bits === 64
  const headerSize = wide ? 64 : 52
  const entrySize = wide ? 56 : 32
  const count = segments.length + (note === undefined ? 0 : 1)
  let at = headerSize + count * entrySize
  const total = at + segments.reduce((n, s) => n + s.data.length, 0) + 64 + (note?.data.length ?? 0)
  const bytes = new Uint8Array(total)
  const view = new DataView(bytes.buffer)
  const word = (offset: number, value: number) => {
    if (wide) view.setBigUint64(offset, BigInt(value), true)
    else view.setUint32(offset, value, true)
  }
  bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1])
  view.setUint16(16, 2, true)
  view.setUint16(18, wide ? 62 : 3, true)
  view.setUint32(20, 1, true)
  word(24, entry)
  word(wide ? 32 : 28, headerSize)
  view.setUint16(wide ? 54 : 42, entrySize, true)
  view.setUint16(wide ? 56 : 44, count, true)
  const header = (i: number, type: number, offset: number, physical: number, fileSize: number, memorySize: number) => {
    const h = headerSize + i * entrySize
    view.setUint32(h, type, true)
    view.setUint32(h + (wide ? 4 : 24), 7, true)
    const places = wide ? [8, 16, 24, 32, 40, 48] : [4, 8, 12, 16, 20, 28]
    ;[offset, physical, physical, fileSize, memorySize, 4].forEach((v, n) => { word(h + places[n], v) })
  }
  segments.forEach((s, i) => {
    header(i, 1, at, s.physical, s.data.length, s.memorySize ?? s.data.length)
    bytes.set(s.data, at)
    at += s.data.length
  })
  if (note !== undefined) {
    const pad = (n: number) => Math.ceil(n / 4) * 4
    const size = 12 + pad(note.name.length + 1) + pad(note.data.length)
    header(segments.length, 4, at, 0, size, size)
    view.setUint32(at, note.name.length + 1, true)
    view.setUint32(at + 4, note.data.length, true)
    view.setUint32(at + 8, note.type, true)
    bytes.set(new TextEncoder().encode(note.name), at + 12)
    bytes.set(note.data, at + 12 + pad(note.name.length + 1))
  }
  return bytes
}

/** Memory that only knows what was written. */
export function guestMemory() {
  const chunks: { at: number, bytes: Uint8Array }[] = []
  return {
    chunks,
    write(at: number, bytes: Uint8Array) { chunks.push({ at, bytes: bytes.slice() }) },
    read(at: number, length: number): DataView {
      const out = new Uint8Array(length)
      for (const c of chunks) {
        const from = Math.max(at, c.at)
        const to = Math.min(at + length, c.at + c.bytes.length)
        if (from < to) out.set(c.bytes.subarray(from - c.at, to - c.at), from - at)
      }
      return new DataView(out.buffer)
    },
    text(at: number): string {
      const bytes = new Uint8Array(this.read(at, 256).buffer)
      return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)))
    },
  }
}
