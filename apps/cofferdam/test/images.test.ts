import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { parsePackage } from '../src/images/apt.ts'
import { findEntry, type CatalogEntry } from '../src/images/catalog.ts'
import { elfNeeds } from '../src/images/elf.ts'
import { fetchImages, resolvePackage } from '../src/images/fetch.ts'
import { findDebianMirror, parseDeb822, parseOneLine } from '../src/images/sources.ts'
import { cacheFolder } from '../src/cache-folder.ts'
import { openStore, sha256, type ImageRecord } from '../src/images/store.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-images-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe("the machine's apt sources", () => {
  it('are read in deb822 style, with comments, several addresses and an embedded key', () => {
    const text = [
      'Types: deb deb-src',
      '# a comment inside',
      'URIs: http://one/debian http://two/debian',
      'Suites: trixie trixie-updates',
      'Components: main',
      'Signed-By:',
      ' -----BEGIN PGP PUBLIC KEY BLOCK-----',
      ' .',
      ' mQINBF',
      '',
      'Enabled: no',
      'Types: deb',
      'URIs: http://three/debian',
      'Suites: sid',
      'Components: main',
    ].join('\n')
    const entries = parseDeb822(text)
    expect(entries.map(({ uri }) => uri)).toEqual(['http://one/debian', 'http://two/debian'])
    expect(entries[0]?.suites).toEqual(['trixie', 'trixie-updates'])
    expect(entries[0]?.signedBy).toBe('\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF')
  })

  it('are read in one-line style, with options', () => {
    const line = 'deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://m/debian sid main # c'
    const [entry] = parseOneLine(`${line}\n# deb y z`)
    expect(entry).toEqual({
      types: ['deb'],
      uri: 'http://m/debian',
      suites: ['sid'],
      components: ['main'],
      signedBy: '/usr/share/keyrings/x.gpg',
    })
  })

  it('name the Debian archive among others', () => {
    const text = [
      'deb https://other.example/node_20.x nodistro main',
      'deb http://mirror.example/debian-security bookworm-security main',
      'deb-src http://mirror.example/debian bookworm main',
      'deb http://mirror/debian bookworm main contrib',
    ].join('\n')
    expect(findDebianMirror(parseOneLine(text))).toEqual({ uri: 'http://mirror/debian', signedBy: undefined })
  })

  it('hold no Debian archive on another system', () => {
    expect(findDebianMirror(parseOneLine('deb http://archive.ubuntu.com/ubuntu noble main'))).toBeUndefined()
  })
})

describe('resolving a kernel', () => {
  const show = (packages: Readonly<Record<string, string>>) => ({
    show: (name: string) => {
      const depends = packages[name]
      return Promise.resolve(depends === undefined ? undefined : { name, version: '1', depends: depends.split(' ') })
    },
  })
  const entry = (name: string): CatalogEntry => {
    const found = findEntry(name)
    if (!found) throw new Error(name)
    return found
  }

  it('follows the metapackage to the image', async () => {
    const newest = 'linux-image-6.1.0-50-cloud-amd64'
    const apt = show({ 'linux-image-cloud-amd64': newest, [newest]: 'kmod' })
    expect((await resolvePackage(apt, entry('bookworm-cloud'))).name).toBe(newest)
  })

  it('goes on to linux-binary where the image package is itself empty', async () => {
    const apt = show({
      'linux-image-amd64': 'linux-base-amd64 linux-image-7.2.13+deb14-amd64',
      'linux-image-7.2.13+deb14-amd64': 'dracut linux-binary-7.2.13+deb14-amd64 linux-modules-7.2.13+deb14-amd64',
      'linux-binary-7.2.13+deb14-amd64': '',
    })
    expect((await resolvePackage(apt, entry('sid-generic'))).name).toBe('linux-binary-7.2.13+deb14-amd64')
  })

  it('says which package a suite lacks', async () => {
    const resolved = resolvePackage(show({}), entry('sid-cloud'))
    await expect(resolved).rejects.toThrow('sid has no package linux-image-cloud-amd64')
  })

  it('reads the newest version of what apt-cache shows', () => {
    const text = 'Package: a\nVersion: 2\nDepends: b (>= 1), c | d,e\n\nPackage: a\nVersion: 1\n'
    expect(parsePackage(text)).toEqual({ name: 'a', version: '2', depends: ['b', 'c', 'e'] })
  })
})

describe('the image store', () => {
  const record = (version: string, text: string): ImageRecord => ({
    name: 'x',
    package: 'p',
    version,
    suite: 'sid',
    files: [{ name: 'f', size: text.length, sha256: sha256(new TextEncoder().encode(text)) }],
  })
  const put = (store: ReturnType<typeof openStore>, version: string, text: string) =>
    store.put('x', (into) => {
      writeFileSync(join(into, 'f'), text)
      return Promise.resolve(record(version, text))
    })

  it('finds what was put, and the newer one after that, and keeps no older one', async () => {
    const store = openStore(join(folder, 'a'))
    expect(await store.find('x')).toBeUndefined()
    await put(store, '1:1.0', 'one')
    await put(store, '2', 'second')
    const found = await store.find('x')
    expect(found?.version).toBe('2')
    expect(readFileSync(found?.path ?? '', 'utf8')).toBe('second')
    expect(readdirSync(store.folder).sort()).toHaveLength(2)
  })

  it('keeps the old image when a fetch fails half-way', async () => {
    const store = openStore(join(folder, 'b'))
    await put(store, '1', 'one')
    const failing = store.put('x', (into) => {
      writeFileSync(join(into, 'f'), 'half')
      return Promise.reject(new Error('network'))
    })
    await expect(failing).rejects.toThrow('network')
    expect((await store.find('x'))?.version).toBe('1')
    expect(readdirSync(store.folder).filter((name) => name.startsWith('.'))).toEqual([])
  })

  it('keeps an image that another process has put meanwhile, because somebody may be reading it', async () => {
    const store = openStore(join(folder, 'e'))
    const paths = await Promise.all(['one', 'one', 'one'].map(async (text) => (await put(store, '1', text)).path))
    paths.push((await put(store, '1', 'one')).path)
    for (const path of paths) expect(readFileSync(path, 'utf8')).toBe('one')
  })

  it('replaces an image of the same version that is damaged', async () => {
    const store = openStore(join(folder, 'f'))
    writeFileSync((await put(store, '1', 'one')).path, 'eno')
    expect(readFileSync((await put(store, '1', 'one')).path, 'utf8')).toBe('one')
  })

  it('replaces an image of the same version for which less was looked for', async () => {
    const store = openStore(join(folder, 'g'))
    await put(store, '1', 'one')
    const fuller = await store.put('x', (into) => {
      writeFileSync(join(into, 'f'), 'more')
      return Promise.resolve({ ...record('1', 'more'), wanted: ['f', 'g'] })
    })
    expect(readFileSync(fuller.path, 'utf8')).toBe('more')
    expect((await store.find('x'))?.wanted).toEqual(['f', 'g'])
  })

  it('does not offer an image whose file has another size', async () => {
    const store = openStore(join(folder, 'c'))
    const image = await put(store, '1', 'one')
    writeFileSync(image.path, 'longer')
    expect(await store.find('x')).toBeUndefined()
  })

  it('is used without apt and network when the image is there', async () => {
    const store = openStore(join(folder, 'd'))
    await store.put('busybox-static', (into) => {
      writeFileSync(join(into, 'f'), 'one')
      return Promise.resolve({ ...record('1', 'one'), name: 'busybox-static' })
    })
    const options = { store, refresh: false, onProgress: () => undefined, aptRoot: '/no/such/folder' }
    expect((await fetchImages(['busybox-static'], options))[0]?.version).toBe('1')
  })

  it('lies where XDG says, if that is an absolute path', () => {
    expect(cacheFolder({ XDG_CACHE_HOME: '/x' })).toBe('/x/cofferdam')
    expect(cacheFolder({ XDG_CACHE_HOME: 'x' })).toMatch(/\/\.cache\/cofferdam$/)
  })
})

describe('elfNeeds', () => {
  it('refuses headers that name what is not in the file', () => {
    const header = Buffer.alloc(64)
    header.set([0x7f, 0x45, 0x4c, 0x46, 2])
    expect(elfNeeds('a', header)).toMatchObject({ libraries: [] })
    header.writeUInt16LE(56, 54)
    header.writeUInt16LE(1, 56)
    header.writeUInt32LE(0xffff_ffff, 32)
    expect(() => elfNeeds('a', header)).toThrow('program a: program headers')
  })

  it('finds nothing in what is no ELF file', () => {
    const script = new TextEncoder().encode('#!/bin/sh\n'.repeat(20))
    expect(elfNeeds('script', script)).toEqual({ libraries: [], interpreter: undefined })
  })
  const foreign = process.platform !== 'linux' || process.arch !== 'x64'
  it.skipIf(foreign)('names the C library and the interpreter of this very program', () => {
    const needs = elfNeeds('node', readFileSync(process.execPath))
    expect(needs.libraries).toContain('libc.so.6')
    expect(needs.interpreter).toBe('/lib64/ld-linux-x86-64.so.2')
  })
})
