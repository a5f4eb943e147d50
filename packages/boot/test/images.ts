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
export function syntheticBzImage(fields: Parameters<typeof SetupHeader.create>[0] = {}, kernelBytes = 0x4000): Uint8Array {
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
