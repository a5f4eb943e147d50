import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { appletNames, buildInitramfs } from '../src/initramfs/build.ts'
import { writeCpio } from '../src/initramfs/cpio.ts'
import { initScript } from '../src/initramfs/init-script.ts'

interface Member {
  readonly name: string
  readonly mode: number
  readonly links: number
  readonly device: string
  readonly data: string
}

/** Reads a newc archive by the format's description, apart from the writer. */
const readCpio = (archive: Uint8Array): Member[] => {
  const text = new TextDecoder('latin1').decode(archive)
  const members: Member[] = []
  for (let at = 0; ; ) {
    expect(text.slice(at, at + 6)).toBe('070701')
    const field = (index: number): number => parseInt(text.slice(at + 6 + index * 8, at + 14 + index * 8), 16)
    const [size, nameSize] = [field(6), field(11)]
    const name = text.slice(at + 110, at + 110 + nameSize - 1)
    expect(text[at + 110 + nameSize - 1]).toBe('\0')
    const dataAt = at + Math.ceil((110 + nameSize) / 4) * 4
    if (name === 'TRAILER!!!') return members
    const data = text.slice(dataAt, dataAt + size)
    members.push({ name, mode: field(1), links: field(4), device: `${field(9)}:${field(10)}`, data })
    at = dataAt + Math.ceil(size / 4) * 4
  }
}

const busybox = new TextEncoder().encode('\x7fELF…\0[\0[[\0acpid\0busybox\0sh\0\0more')

describe('writeCpio', () => {
  it('writes every kind of member, padded as the kernel reads them', () => {
    const archive = writeCpio([
      { path: 'd', kind: 'directory' },
      { path: 'd/file', kind: 'file', data: new TextEncoder().encode('12345'), mode: 0o600 },
      { path: 'link', kind: 'symlink', target: 'd/file' },
      { path: 'console', kind: 'character-device', major: 5, minor: 1 },
    ])
    expect(archive.length % 512).toBe(0)
    expect(readCpio(archive)).toEqual([
      { name: 'd', mode: 0o40755, links: 2, device: '0:0', data: '' },
      { name: 'd/file', mode: 0o100600, links: 1, device: '0:0', data: '12345' },
      { name: 'link', mode: 0o120777, links: 1, device: '0:0', data: 'd/file' },
      { name: 'console', mode: 0o20600, links: 1, device: '5:1', data: '' },
    ])
  })
})

describe('appletNames', () => {
  it('reads the table of names inside the binary', () => {
    expect(appletNames(busybox)).toEqual(['[', '[[', 'acpid', 'busybox', 'sh'])
  })
  it('finds none in a file without the table', () => {
    expect(appletNames(Uint8Array.of(1, 2, 3))).toEqual([])
  })
})

describe('the default initramfs', () => {
  const names = (archive: Uint8Array): string[] => readCpio(archive).map(({ name }) => name)

  it('holds /init, a console, BusyBox and a link for each of its programs', () => {
    const members = readCpio(buildInitramfs({ busybox }))
    expect(members.find(({ name }) => name === 'init')).toMatchObject({ mode: 0o100755, data: initScript })
    expect(members.find(({ name }) => name === 'dev/console')).toMatchObject({ device: '5:1' })
    expect(members.find(({ name }) => name === 'bin/sh')).toMatchObject({ data: 'busybox', mode: 0o120777 })
    expect(members.filter(({ name }) => name === 'bin/busybox')).toHaveLength(1)
  })

  it('is the same bytes for the same input', () => {
    expect(buildInitramfs({ busybox })).toEqual(buildInitramfs({ busybox }))
  })

  it('puts a folder before what is in it, and a given file in the place of ours', () => {
    const data = new TextEncoder().encode('mine')
    const files = [
      { path: '/usr/share/x', data, executable: false },
      { path: '/init', data, executable: true },
    ]
    const archive = buildInitramfs({ busybox, files })
    const order = names(archive)
    expect(order.indexOf('usr')).toBeLessThan(order.indexOf('usr/share'))
    expect(order.indexOf('usr/share')).toBeLessThan(order.indexOf('usr/share/x'))
    expect(readCpio(archive).filter(({ name }) => name === 'init')).toMatchObject([{ data: 'mine' }])
  })

  it('follows its own links: /sbin is /bin', () => {
    const files = [{ path: '/sbin/tool', data: new Uint8Array(1), executable: true }]
    expect(names(buildInitramfs({ busybox, files }))).toContain('bin/tool')
  })

  it('refuses a file below a file', () => {
    const files = [{ path: '/init/x', data: new Uint8Array(1), executable: true }]
    expect(() => buildInitramfs({ busybox, files })).toThrow('expected a folder at /init')
  })

  it('gzips with a header that holds no time and no name', () => {
    const zipped = buildInitramfs({ busybox, compress: 'gzip' })
    expect([...zipped.subarray(0, 10)]).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255])
    expect(new Uint8Array(gunzipSync(zipped))).toEqual(buildInitramfs({ busybox }))
  })
})
