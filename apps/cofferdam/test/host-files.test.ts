import { execFileSync } from 'node:child_process'
import {
  existsSync, linkSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync,
  statSync, symlinkSync, writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNinePServer, decodeReply, encodeRequest, Errno, type Fields, type Values } from '@cofferdam/ninep'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openHostFiles, type HostFiles } from '../src/share/host-files.ts'

let outer = ''
let folder = ''
let opened: HostFiles[] = []

beforeEach(() => {
  outer = mkdtempSync(join(tmpdir(), 'cofferdam-share-'))
  folder = join(outer, 'shared')
  mkdirSync(join(folder, 'docs'), { recursive: true })
  writeFileSync(join(outer, 'secret'), 'secret')
  writeFileSync(join(folder, 'docs/hello'), 'hello')
  symlinkSync('../secret', join(folder, 'out'))
  symlinkSync('..', join(folder, 'up'))
  symlinkSync('docs', join(folder, 'in'))
  opened = []
})
afterEach(() => {
  for (const files of opened) files.close()
  rmSync(outer, { recursive: true, force: true })
})

type Reply = Values<Fields> & { readonly errno?: number }

const share = (writable = true, limits = {}) => {
  const files = openHostFiles(folder, writable)
  opened.push(files)
  const server = createNinePServer({ files, limits })
  const call = (name: string, values: Values<Fields>): Reply =>
    decodeReply(name, server.serve(encodeRequest(name, values), 2 ** 19)) as Reply
  let next = 1
  const walk = (...names: string[]): number | undefined => {
    const reply = call('Twalk', { fid: 0, newfid: next, names })
    return reply.errno === undefined && (reply.qids as unknown[]).length === names.length ? next++ : undefined
  }
  const must = (...names: string[]): number => walk(...names) ?? expect.fail(`no ${names.join('/')}`)
  const read = (...names: string[]): string | number => {
    const fid = must(...names)
    const { errno } = call('Tlopen', { fid, flags: 0 })
    return errno ?? new TextDecoder().decode(call('Tread', { fid, offset: 0n, count: 100 }).data as Uint8Array)
  }
  call('Tversion', { msize: 2 ** 19, version: '9P2000.L' })
  call('Tattach', { fid: 0, afid: 0xffff_ffff, uname: '', aname: '', uid: 0 })
  return { server, call, walk, must, read }
}

/** Descriptors of this process that lead into the folder. */
const descriptors = (): number => readdirSync('/proc/self/fd').filter((fd) => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder)
  } catch {
    return false
  }
}).length

const times = { atimeSec: 0n, atimeNsec: 0n, mtimeSec: 0n, mtimeNsec: 0n }
const set = (fid: number, valid: number, more: Values<Fields> = {}): Values<Fields> =>
  ({ fid, valid, mode: 0, uid: 0, gid: 0, size: 0n, ...times, ...more })

describe.skipIf(process.platform !== 'linux')('a shared folder', () => {
  it('is read as it is: contents, sizes, kinds, links as links', () => {
    const { call, read, must } = share(false)
    expect(read('docs', 'hello')).toBe('hello')
    expect(call('Tgetattr', { fid: must('docs', 'hello'), mask: 0n })).toMatchObject({ size: 5n, nlink: 1n })
    expect(call('Treadlink', { fid: must('out') })).toEqual({ target: '../secret' })
    expect(call('Tstatfs', { fid: 0 })).toMatchObject({ type: 0x0102_1997, namelen: 255 })
  })

  it('gives the same number for the same file, by the order of looking', () => {
    const path = ({ call }: ReturnType<typeof share>, fid: number): unknown =>
      (call('Tgetattr', { fid, mask: 0n }).qid as { path: bigint }).path
    const one = share()
    const [first, second] = [one.must('docs', 'hello'), one.must('docs', 'hello')]
    expect(path(one, first)).toBe(path(one, second))
    one.call('Trenameat', { olddirfid: one.must('docs'), oldname: 'hello', newdirfid: 0, newname: 'moved' })
    expect(path(one, one.must('moved'))).toBe(path(one, first))
    const two = share()
    expect([path(two, 0), path(two, two.must('docs')), path(two, two.must('moved'))]).toEqual([1n, 2n, 3n])
  })

  it('keeps as many fids as are wanted, with few descriptors', () => {
    for (let i = 0; i < 600; i++) writeFileSync(join(folder, `f${i}`), `${i}`)
    const { call, must, server } = share(false)
    const fids = Array.from({ length: 600 }, (_, i) => must(`f${i}`))
    expect(descriptors()).toBeLessThan(300)
    fids.forEach((fid, i) => {
      expect(call('Tgetattr', { fid, mask: 0n }).size).toBe(BigInt(`${i}`.length))
    })
    server.reset()
    expect(descriptors()).toBe(1)
  })
})

describe.skipIf(process.platform !== 'linux')('a folder shared to be written', () => {
  it('takes files, folders and links, and shows them to the host', () => {
    const { call, must, read } = share()
    const fid = must('docs')
    expect(call('Tlcreate', { fid, name: 'new', flags: 2, mode: 0o606, gid: 0 }).errno).toBeUndefined()
    expect(call('Twrite', { fid, offset: 2n, data: new TextEncoder().encode('abc') })).toEqual({ count: 3 })
    expect(call('Tfsync', { fid, datasync: 0 })).toEqual({})
    expect(call('Tmkdir', { dfid: 0, name: 'd', mode: 0o777, gid: 0 }).errno).toBeUndefined()
    expect(call('Tsymlink', { fid: 0, name: 'l', target: '/etc', gid: 0 }).errno).toBeUndefined()
    expect(readFileSync(join(folder, 'docs/new'), 'latin1')).toBe('\0\0abc')
    expect(read('docs', 'new')).toBe('\0\0abc')
    const mode = (name: string): number => lstatSync(join(folder, name)).mode & 0o7777
    expect([mode('docs/new'), mode('d'), readlinkSync(join(folder, 'l'))]).toEqual([0o606, 0o777, '/etc'])
  })

  it('sets size, mode and times of files and folders', () => {
    const { call, must } = share()
    const fid = must('docs', 'hello')
    const later = { atimeSec: 1_700_000_000n, mtimeSec: 1_600_000_000n, atimeNsec: 500_000_000n }
    expect(call('Tsetattr', set(fid, 0x1b9, { mode: 0o640, size: 2n, ...later }))).toEqual({})
    expect(call('Tgetattr', { fid, mask: 0n })).toMatchObject({ mode: 0o100640, size: 2n, ...later })
    expect(readFileSync(join(folder, 'docs/hello'), 'latin1')).toBe('he')
    expect(call('Tsetattr', set(must('docs'), 1, { mode: 0o1777 }))).toEqual({})
    expect(call('Tsetattr', set(must('docs'), 8))).toEqual({ errno: Errno.EISDIR })
  })

  it('renames and removes', () => {
    const { call, must } = share()
    const docs = must('docs')
    writeFileSync(join(folder, 'old'), 'old')
    const hello = must('docs', 'hello')
    expect(call('Trenameat', { olddirfid: docs, oldname: 'hello', newdirfid: 0, newname: 'old' })).toEqual({})
    expect(readFileSync(join(folder, 'old'), 'latin1')).toBe('hello')
    expect(call('Trename', { fid: hello, dfid: docs, name: 'again' })).toEqual({})
    expect(call('Tremove', { fid: hello })).toEqual({})
    const into = { olddirfid: 0, oldname: 'docs', newdirfid: docs, newname: 'x' }
    expect(call('Trenameat', into)).toEqual({ errno: Errno.EINVAL })
    expect(call('Tunlinkat', { dirfd: 0, name: 'docs', flags: 0x200 })).toEqual({})
    expect(existsSync(join(folder, 'docs'))).toBe(false)
    expect(call('Tmkdir', { dfid: docs, name: 'x', mode: 0o755, gid: 0 }).errno).toBe(Errno.ENOENT)
  })

  it('keeps an open file that was removed, until it is closed', () => {
    const { call, must, server } = share()
    const fid = must('docs', 'hello')
    call('Tlopen', { fid, flags: 2 })
    call('Tunlinkat', { dirfd: must('docs'), name: 'hello', flags: 0 })
    writeFileSync(join(folder, 'docs/hello'), 'another')
    expect(new TextDecoder().decode(call('Tread', { fid, offset: 0n, count: 9 }).data as Uint8Array)).toBe('hello')
    expect(call('Tgetattr', { fid, mask: 0n })).toMatchObject({ size: 5n, nlink: 0n })
    expect(call('Tsetattr', set(fid, 8, { size: 1n }))).toEqual({})
    expect(call('Tremove', { fid })).toEqual({ errno: Errno.ENOENT })
    server.reset()
    expect(readFileSync(join(folder, 'docs/hello'), 'latin1')).toBe('another')
  })

  it('gives no set-user-ID programs and no owners', () => {
    const { call, must } = share()
    const fid = must('docs')
    expect(call('Tlcreate', { fid, name: 's', flags: 1, mode: 0o6755, gid: 0 }).errno).toBeUndefined()
    expect(statSync(join(folder, 'docs/s')).mode & 0o7777).toBe(0o755)
    expect(call('Tsetattr', set(fid, 1, { mode: 0o4755 }))).toEqual({ errno: Errno.EPERM })
    expect(call('Tsetattr', set(fid, 2, { uid: 4_000_000 }))).toEqual({ errno: Errno.EPERM })
    const { uid, gid } = statSync(join(folder, 'docs/s'))
    expect(call('Tsetattr', set(fid, 6, { uid, gid }))).toEqual({})
    expect(call('Tsetattr', set(must('out'), 6, { uid, gid }))).toEqual({})
  })
})

describe.skipIf(process.platform !== 'linux')('out of a shared folder', () => {
  const untouched = (): void => {
    expect(readFileSync(join(outer, 'secret'), 'latin1')).toBe('secret')
    expect(readdirSync(outer).sort()).toEqual(['secret', 'shared'])
  }

  it('no link leads: links are neither walked through nor opened, whatever they point at', () => {
    const { call, walk, must } = share()
    expect([walk('up', 'secret'), walk('in', 'hello')]).toEqual([undefined, undefined])
    for (const flags of [0, 1, 2, 0o1002]) {
      expect(call('Tlopen', { fid: must('out'), flags })).toEqual({ errno: Errno.ELOOP })
    }
    for (const name of ['out', 'up']) {
      const fid = must()
      expect(call('Tlcreate', { fid, name, flags: 0o1002, mode: 0o644, gid: 0 })).toEqual({ errno: Errno.ELOOP })
      expect(call('Tmkdir', { dfid: must(name), name: 'x', mode: 0o755, gid: 0 })).toEqual({ errno: Errno.ENOTDIR })
      expect(call('Tsetattr', set(must(name), 9, { mode: 0o777 }))).toEqual({ errno: Errno.EOPNOTSUPP })
    }
    untouched()
  })

  it('no link leads that takes a name over between two requests', () => {
    const { call, must } = share()
    const [docs, hello] = [must('docs'), must('docs', 'hello')]
    renameSync(join(folder, 'docs'), join(folder, 'other'))
    symlinkSync('..', join(folder, 'docs'))
    // the fid is the folder that it was, wherever that is now
    expect(call('Tlcreate', { fid: docs, name: 'secret', flags: 0o1002, mode: 0o644, gid: 0 }).errno).toBeUndefined()
    expect(readdirSync(join(folder, 'other'))).toEqual(['hello', 'secret'])
    expect(call('Tlopen', { fid: hello, flags: 0 }).errno).toBeUndefined()
    untouched()
  })

  it('no link leads after descriptors were closed and are opened again', () => {
    for (let i = 0; i < 300; i++) writeFileSync(join(folder, `f${i}`), '')
    const { call, must } = share()
    mkdirSync(join(folder, 'docs/deep'))
    writeFileSync(join(folder, 'docs/deep/secret'), 'mine')
    const [docs, file] = [must('docs', 'deep'), must('docs', 'deep', 'secret')]
    for (let i = 0; i < 300; i++) must(`f${i}`)
    rmSync(join(folder, 'docs/deep'), { recursive: true })
    symlinkSync(outer, join(folder, 'docs/deep'))
    expect(call('Tlopen', { fid: file, flags: 2 })).toEqual({ errno: Errno.ESTALE })
    expect(call('Tunlinkat', { dirfd: docs, name: 'secret', flags: 0 })).toEqual({ errno: Errno.ESTALE })
    untouched()
  })

  it('no name leads, and the folder itself is not moved or removed', () => {
    const { call, walk } = share()
    expect([walk('..'), walk('..', 'secret'), walk('../secret'), walk('docs', '..', '..')])
      .toEqual([undefined, undefined, undefined, undefined])
    expect(call('Trename', { fid: 0, dfid: 0, name: 'x' })).toEqual({ errno: Errno.EBUSY })
    const up = { olddirfid: 0, oldname: 'docs', newdirfid: 0, newname: '../docs' }
    expect(call('Trenameat', up)).toEqual({ errno: Errno.EINVAL })
    expect(call('Tremove', { fid: 0 })).toEqual({ errno: Errno.EBUSY })
    untouched()
  })

  it('no hard link leads: a file with a second name is not changed, and none is made', () => {
    linkSync(join(outer, 'secret'), join(folder, 'linked'))
    const { call, must, read } = share()
    expect(read('linked')).toBe('secret')
    for (const flags of [1, 2, 0o1001]) {
      expect(call('Tlopen', { fid: must('linked'), flags })).toEqual({ errno: Errno.EPERM })
    }
    const over = { fid: must(), name: 'linked', flags: 0o1002, mode: 0o644, gid: 0 }
    expect(call('Tlcreate', over)).toEqual({ errno: Errno.EPERM })
    expect(call('Tsetattr', set(must('linked'), 9, { mode: 0o777 }))).toEqual({ errno: Errno.EPERM })
    expect(call('Tlink', { dfid: 0, fid: must('docs', 'hello'), name: 'l' })).toEqual({ errno: Errno.EPERM })
    expect(call('Tunlinkat', { dirfd: 0, name: 'linked', flags: 0 })).toEqual({})
    untouched()
  })

  it('no device or pipe leads: they are shown, and neither opened nor waited for', () => {
    execFileSync('mkfifo', [join(folder, 'pipe')])
    const { call, must } = share()
    expect(Number(call('Tgetattr', { fid: must('pipe'), mask: 0n }).mode) & 0o170000).toBe(0o010000)
    for (const flags of [0, 1, 2]) {
      expect(call('Tlopen', { fid: must('pipe'), flags })).toEqual({ errno: Errno.EACCES })
    }
    expect(call('Tlcreate', { fid: must(), name: 'pipe', flags: 2, mode: 0o644, gid: 0 }))
      .toEqual({ errno: Errno.EACCES })
  })
})

describe.skipIf(process.platform !== 'linux')('a read-only shared folder', () => {
  it('has no descriptor that could write, and stays as it is', () => {
    const { call, must } = share(false)
    expect(call('Tlopen', { fid: must('docs', 'hello'), flags: 1 })).toEqual({ errno: Errno.EROFS })
    expect(call('Tunlinkat', { dirfd: must('docs'), name: 'hello', flags: 0 })).toEqual({ errno: Errno.EROFS })
    expect(call('Tsymlink', { fid: 0, name: 'l', target: '/', gid: 0 })).toEqual({ errno: Errno.EROFS })
    expect(readdirSync(folder).sort()).toEqual(['docs', 'in', 'out', 'up'])
  })
})

describe.skipIf(process.platform !== 'linux')('a snapshot of a shared folder', () => {
  it('opens files again by their paths; another file of that name is none', () => {
    const one = share()
    const [gone, fid] = [one.must('out'), one.must('docs', 'hello')]
    // the order of looking is not that of the fids
    one.call('Tclunk', { fid: one.must('up') })
    one.call('Tclunk', { fid: 0 })
    one.call('Twalk', { fid, newfid: 0, names: [] })
    one.call('Tlopen', { fid, flags: 2 })
    const saved = JSON.parse(JSON.stringify(one.server.snapshot())) as unknown
    rmSync(join(folder, 'out'))
    const two = share()
    expect(two.server.restore(saved)).toEqual(['/out'])
    expect(two.call('Twrite', { fid, offset: 5n, data: Uint8Array.of(0x21) })).toEqual({ count: 1 })
    expect(two.call('Treadlink', { fid: gone })).toEqual({ errno: Errno.ESTALE })
    expect(readFileSync(join(folder, 'docs/hello'), 'latin1')).toBe('hello!')
  })
})
