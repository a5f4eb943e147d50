import { describe, expect, it } from 'vitest'
import { moduleName, readModuleInfo } from '../src/images/modinfo.ts'
import { buildModules, type DriverGroup, type ModuleFile } from '../src/initramfs/modules.ts'

/** A 64-bit ELF file with a section of strings and the table of section names: as much as a module's facts need. */
const elfModule = (strings: readonly string[]): Uint8Array => {
  const content = new TextEncoder().encode(strings.map((line) => `${line}\0`).join(''))
  const names = new TextEncoder().encode('\0.modinfo\0.shstrtab\0')
  const [contentAt, namesAt] = [64, 64 + content.length]
  const table = namesAt + names.length
  const bytes = new Uint8Array(table + 3 * 64)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 0x7f454c46)
  view.setUint8(4, 2)
  view.setBigUint64(40, BigInt(table), true)
  view.setUint16(58, 64, true)
  view.setUint16(60, 3, true)
  view.setUint16(62, 2, true)
  bytes.set(content, contentAt)
  bytes.set(names, namesAt)
  const section = (index: number, name: number, at: number, length: number): void => {
    view.setUint32(table + index * 64, name, true)
    view.setBigUint64(table + index * 64 + 24, BigInt(at), true)
    view.setBigUint64(table + index * 64 + 32, BigInt(length), true)
  }
  section(1, 1, contentAt, content.length)
  section(2, 10, namesAt, names.length)
  return bytes
}

const file = (name: string, depends: string, ...aliases: string[]): ModuleFile => ({
  path: `/lib/modules/1.2.3/${name}.ko`,
  data: elfModule(['license=GPL', `depends=${depends}`, ...aliases.map((alias) => `alias=${alias}`)]),
})

describe('a kernel module', () => {
  it('is named by its file, with underscores', () => {
    expect(moduleName('kernel/drivers/char/hw_random/virtio-rng.ko.xz')).toBe('virtio_rng')
  })

  it('says what it depends on and what it serves', () => {
    const bytes = elfModule(['depends=virtio,virtio-ring', 'alias=virtio:d00000002v*', 'aliases=no', 'alias=x'])
    expect(readModuleInfo('virtio_blk.ko', bytes)).toEqual({
      name: 'virtio_blk', depends: ['virtio', 'virtio_ring'], aliases: ['virtio:d00000002v*', 'x'],
    })
  })

  const whole = elfModule(['depends='])
  it.each([
    ['no ELF file', new TextEncoder().encode('#!/bin/sh\n'.repeat(20)), 'header'],
    ['cut short', whole.subarray(0, whole.length - 1), 'section headers'],
    ['empty', new Uint8Array(0), 'header'],
    ['without facts', elfModule([]).map((byte, i) => (i === 66 ? 0x78 : byte)), '.modinfo'],
  ])('is refused when it is %s', (_name, bytes, field) => {
    expect(() => readModuleInfo('a.ko', bytes)).toThrow(`module a.ko: ${field}: expected a kernel module`)
  })
})

describe('the archive of modules', () => {
  const files = [
    file('virtio', ''), file('virtio_ring', 'virtio'), file('virtio_blk', 'virtio_ring,virtio', 'virtio:d2v*'),
    file('virtio_pci', 'virtio_ring', 'pci:v00001AF4d*'), file('virtio_net', 'virtio', 'virtio:d1v*'),
  ]
  const textOf = (groups: readonly DriverGroup[]): string =>
    new TextDecoder('latin1').decode(buildModules(files, groups) ?? new Uint8Array(0))

  it('holds the modules of the groups and what they depend on, and no others', () => {
    const text = textOf(['disk'])
    const names = [...text.matchAll(/lib\/modules\/1\.2\.3\/(\w+\.ko)\0/g)].map(([, name]) => name)
    expect(names).toEqual(['virtio.ko', 'virtio_blk.ko', 'virtio_pci.ko', 'virtio_ring.ko'])
  })

  it('holds what a driver has the kernel ask for by name, only with that driver', () => {
    const crypto = [
      file('gf128mul', ''), file('ghash_generic', 'gf128mul', 'crypto-ghash'), file('gcm', '', 'crypto-gcm'),
    ]
    const text = new TextDecoder('latin1').decode(buildModules([...crypto, file('sev_guest', '')], ['coco']))
    expect(text).toContain('alias crypto-gcm gcm\n')
    expect(text).toContain('ghash_generic.ko: gf128mul.ko\n')
    expect(text).toContain('sev_guest.ko:\n')
    expect(buildModules(crypto, ['coco'])).toBeUndefined()
  })

  it('lists with each module all that it needs, what is loaded first at the end', () => {
    const text = textOf(['disk'])
    expect(text).toContain('virtio.ko:\n')
    expect(text).toContain('virtio_blk.ko: virtio_ring.ko virtio.ko\n')
    expect(text).toContain('virtio_pci.ko: virtio_ring.ko virtio.ko\n')
  })

  it('says which module serves which device', () => {
    const text = textOf(['net', 'disk'])
    expect(text)
      .toContain('alias virtio:d2v* virtio_blk\nalias virtio:d1v* virtio_net\nalias pci:v00001AF4d* virtio_pci\n')
    expect(textOf(['disk'])).not.toContain('virtio_net')
  })

  it('is not there when the kernel has the drivers built in', () => {
    expect([buildModules(files, ['coco']), buildModules([], ['disk']), buildModules(files, [])])
      .toEqual([undefined, undefined, undefined])
  })
})
