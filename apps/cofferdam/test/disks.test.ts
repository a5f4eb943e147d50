import {
  existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { openDisks } from '../src/disks/open-disk.ts'
import { parseDisk } from '../src/disks/parse-disk.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-disks-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let count = 0
const image = (size = 8192, fill = 7): string => {
  const path = join(folder, `image-${count++}`)
  writeFileSync(path, new Uint8Array(size).fill(fill))
  return path
}
const open = (text: string) => {
  const [disk] = openDisks(parseDisk(text))
  if (disk === undefined) throw new Error('no disk')
  return disk
}
const sector = (fill: number): Uint8Array => new Uint8Array(512).fill(fill)
const firstBytes = (text: string, at: number): number => {
  const bytes = new Uint8Array(512)
  expect(open(text).backend.read(at, bytes)).toBe(true)
  expect(new Set(bytes).size).toBe(1)
  return bytes[0] ?? -1
}

describe('--disk', () => {
  it.each([
    ['a.img', { file: 'a.img', mode: 'overlay' }],
    ['a.img,ro', { file: 'a.img', mode: 'ro' }],
    ['a.img,serial=x y,rw', { file: 'a.img', mode: 'rw', serial: 'x y' }],
    ['a.img,overlay', { file: 'a.img', mode: 'overlay' }],
    ['a.img,overlay=b=c', { file: 'a.img', mode: 'overlay', overlay: 'b=c' }],
    ['a,,b,ro,serial=1,,2', { file: 'a,b', mode: 'ro', serial: '1,2' }],
  ])('%s', (text, disk) => {
    expect(parseDisk(text)).toEqual([disk])
    expect(parseDisk(text, [{ file: 'x', mode: 'ro' }])).toEqual([{ file: 'x', mode: 'ro' }, disk])
  })

  const bad = ['', ',ro', 'a,ro,rw', 'a,foo', 'a,serial=1,serial=2', 'a,overlay=', 'a,ro,overlay=b']
  it.each(bad)('refuses %j', (text) => {
    expect(() => parseDisk(text)).toThrow('expected FILE[,ro|rw|overlay[=FILE]][,serial=TEXT]')
  })
})

describe('a disk', () => {
  it('is not changed by default', () => {
    const path = image()
    const { backend } = open(path)
    expect([backend.write(512, sector(1)), backend.flush()]).toEqual([true, true])
    const bytes = sector(0)
    expect([backend.read(512, bytes), bytes[0]]).toEqual([true, 1])
    expect(new Set(readFileSync(path))).toEqual(new Set([7]))
  })

  it('is changed in place with rw, zeros included', () => {
    const path = image()
    const { backend } = open(`${path},rw`)
    expect(backend.write(512, sector(1)) && backend.writeZeroes(1024, 512, true) && backend.flush()).toBe(true)
    expect([0, 512, 1024, 1536].map((at) => readFileSync(path)[at])).toEqual([7, 1, 0, 7])
  })

  it('is read-only with ro, which the file may be too', () => {
    const { backend } = open(`${image()},ro`)
    expect([backend.readOnly, backend.write(0, sector(1)), backend.flush()]).toEqual([true, false, true])
  })

  it.each([
    ['missing.img', /^disk .*missing.img: no such file$/],
    ['.', /^disk .*: type: expected a regular file$/],
  ])('is refused: %s', (name, reason) => {
    expect(() => open(join(folder, name))).toThrow(reason)
  })

  it.each([0, 513])('is refused with %i bytes', (size) => {
    expect(() => open(image(size))).toThrow(new RegExp(`^disk .*: size: expected a multiple of 512 .*it has ${size}$`))
  })

  it('that is written belongs to one disk only, by whatever name', () => {
    const path = image()
    symlinkSync(path, `${path}-link`)
    expect(() => openDisks(parseDisk(`${path}-link,ro`, parseDisk(`${path},rw`)))).toThrow(/: file: expected one disk/)
    expect(openDisks(parseDisk(`${path}-link`, parseDisk(path))).length).toBe(2)
  })
})

describe('an overlay file', () => {
  it('keeps what was written, sector by sector, and leaves the image alone', () => {
    const path = image()
    const overlay = `${path}.overlay`
    const { backend } = open(`${path},overlay=${overlay}`)
    expect(backend.write(1024, sector(1)) && backend.writeZeroes(4096, 512, false) && backend.flush()).toBe(true)
    const again = `${path},overlay=${overlay}`
    expect([512, 1024, 1536, 4096, 4608].map((at) => firstBytes(again, at))).toEqual([7, 1, 7, 0, 7])
    expect(new Set(readFileSync(path))).toEqual(new Set([7]))
  })

  it('is bound to its image as it was', () => {
    const [path, other] = [image(), image(4096)]
    const overlay = `${path}.overlay`
    open(`${path},overlay=${overlay}`)
    expect(() => open(`${other},overlay=${overlay}`)).toThrow(/^overlay .*: image size: /)
    const { atime } = statSync(path)
    utimesSync(path, atime, new Date(1e12))
    expect(() => open(`${path},overlay=${overlay}`)).toThrow(/^overlay .*: image time: .*changed since/)
  })

  it.each([
    ['of another kind', (bytes: Uint8Array) => bytes.fill(1), 'signature'],
    ['cut short', (bytes: Uint8Array) => bytes.subarray(0, 100), 'header'],
    ['of a later version', (bytes: Uint8Array) => { bytes[100] = 1; return bytes }, 'reserved bytes'],
  ])('is refused when it is %s', (_name, damage, field) => {
    const path = image()
    const overlay = `${path}.overlay`
    open(`${path},overlay=${overlay}`)
    writeFileSync(overlay, damage(new Uint8Array(readFileSync(overlay))))
    expect(() => open(`${path},overlay=${overlay}`)).toThrow(new RegExp(`^overlay .*: ${field}: expected`))
  })

  it('is refused by field, or read, written and flushed without a crash, whatever is damaged in it', () => {
    const path = image()
    const overlay = `${path}.overlay`
    const { backend } = open(`${path},overlay=${overlay}`)
    expect(backend.write(1024, sector(1))).toBe(true)
    const good = new Uint8Array(readFileSync(overlay))
    const damaged = fc.record({
      // Header, bitmap (one bit for each of 16 sectors) and what was written.
      bytes: fc.array(fc.tuple(
        fc.oneof(fc.nat(31), fc.integer({ min: 4096, max: 4100 }), fc.nat(good.length - 1)), fc.nat(255),
      ), { maxLength: 4 }),
      length: fc.oneof(fc.constant(good.length), fc.nat(good.length), fc.integer({ min: 0, max: 70_000 })),
    })
    fc.assert(fc.property(damaged, ({ bytes, length }) => {
      const file = new Uint8Array(length)
      file.set(good.subarray(0, length))
      for (const [at, value] of bytes) if (at < length) file[at] = value
      writeFileSync(overlay, file)
      let disk
      try {
        disk = open(`${path},overlay=${overlay}`)
      } catch (error) {
        expect(String(error)).toMatch(/^Error: overlay .*: (header|signature|image size|image time|reserved bytes|it cannot be read)/)
        return
      }
      for (let at = 0; at < 8192; at += 512) {
        expect(typeof disk.backend.read(at, new Uint8Array(512))).toBe('boolean')
      }
      expect(disk.backend.write(0, sector(9)) && disk.backend.flush()).toBe(true)
      const first = new Uint8Array(512)
      expect(disk.backend.read(0, first)).toBe(true)
      expect(first).toEqual(sector(9))
    }), { numRuns: 150 })
  })

  it('is not made for an image that is refused', () => {
    const path = image(100)
    expect(() => open(`${path},overlay=${path}.overlay`)).toThrow('size')
    expect(existsSync(`${path}.overlay`)).toBe(false)
  })
})

describe('a disk in a snapshot', () => {
  const saved = (backend: ReturnType<typeof open>['backend']): null =>
    JSON.parse(JSON.stringify(backend.snapshot())) as null

  it('comes back with what was written to its overlay in memory', () => {
    const path = image()
    const { backend } = open(path)
    backend.write(512, sector(9))
    const other = open(path).backend
    other.restore(saved(backend))
    const bytes = sector(0)
    expect([other.read(512, bytes), bytes[511]]).toEqual([true, 9])
  })

  it.each(['rw', 'ro', 'overlay', 'overlay=FILE'])('is refused by %s when a file was changed since', (mode) => {
    const path = image()
    const text = `${path},${mode.replace('FILE', `${path}.overlay`)}`
    const { backend } = open(text)
    backend.write(512, sector(9))
    const state = saved(backend)
    expect(() => open(text).backend.restore(state)).not.toThrow()
    utimesSync(mode.includes('=') ? `${path}.overlay` : path, 1, 2)
    expect(() => backend.restore(state)).toThrow(/(disk|overlay) .*: snapshot field 'changed': .* changed since/)
    expect(() => open(image(512)).backend.restore(state)).toThrow('snapshot field')
  })
})
