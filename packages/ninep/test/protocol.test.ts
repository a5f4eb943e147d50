import { describe, expect, it } from 'vitest'
import { createMemoryFiles, createNinePServer, Errno, type MemoryEntry } from '../src/index.ts'
import { connect, readReply, requestBytes } from './client.ts'

const build = (entries: Record<string, MemoryEntry> = {}, writable = true, limits = {}) => {
  const files = createMemoryFiles({ entries, writable })
  const server = createNinePServer({ files, limits })
  return { files, server, ...connect(server) }
}
const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(' ')
const bytes = (text: string): Uint8Array => Uint8Array.from(text.trim().split(/\s+/), (b) => parseInt(b, 16))

describe('messages on the wire (intro(5))', () => {
  it('Tversion is size[4] 100 tag[2] msize[4] version[s], and Rversion has the smaller size', () => {
    const server = createNinePServer({ files: createMemoryFiles(), msize: 8192 })
    const request = bytes('15 00 00 00 64 ff ff 00 00 01 00 08 00 39 50 32 30 30 30 2e 4c')
    expect(hex(server.serve(request, 8192))).toBe('15 00 00 00 65 ff ff 00 20 00 00 08 00 39 50 32 30 30 30 2e 4c')
  })

  it('Tattach answers the qid of the root: type 80h, version, path', () => {
    const { server } = build()
    const request = requestBytes('Tattach', { fid: 9, afid: 0xffff_ffff, uname: 'u', aname: '/', uid: 0 }, 0x1234)
    expect(hex(server.serve(request, 100))).toBe('14 00 00 00 69 34 12 80 00 00 00 00 01 00 00 00 00 00 00 00')
  })

  it('an error is Rlerror (7) with the tag of the request and a 32-bit number', () => {
    const { server } = build()
    expect(hex(server.serve(requestBytes('Tclunk', { fid: 77 }, 0xabcd), 100))).toBe('0b 00 00 00 07 cd ab 09 00 00 00')
  })

  it('a size that is not the number of bytes that came is refused', () => {
    const { server } = build()
    for (const size of [0, 6, 10, 12, 0xffff_ffff]) {
      const request = requestBytes('Tclunk', { fid: 0 })
      new DataView(request.buffer).setUint32(0, size, true)
      expect(server.serve(request, 100)[4]).toBe(7)
    }
    expect(hex(server.serve(new Uint8Array(3), 100))).toBe('0b 00 00 00 07 ff ff 47 00 00 00')
  })

  it('fields that are cut off, and bytes behind the last field, are refused', () => {
    const { server } = build()
    const whole = requestBytes('Tgetattr', { fid: 0, mask: 1n })
    for (let length = 7; length < whole.length; length++) {
      const cut = whole.slice(0, length)
      new DataView(cut.buffer).setUint32(0, length, true)
      expect(readReply('Tgetattr', server.serve(cut, 500))).toEqual({ errno: Errno.EPROTO })
    }
    const longer = new Uint8Array(whole.length + 1)
    longer.set(whole)
    longer[0] += 1
    expect(readReply('Tgetattr', server.serve(longer, 500))).toEqual({ errno: Errno.EPROTO })
  })

  it('a message that nobody knows is answered by EOPNOTSUPP', () => {
    const { server } = build()
    for (const type of [0, 6, 7, 106, 101, 112, 255]) {
      expect(hex(server.serve(Uint8Array.of(7, 0, 0, 0, type, 1, 0), 100))).toBe('0b 00 00 00 07 01 00 5f 00 00 00')
    }
  })

  it('a message longer than agreed is refused', () => {
    const { server, call } = build()
    call('Tversion', { msize: 4096, version: '9P2000.L' })
    expect(call('Twrite', { fid: 0, offset: 0n, data: new Uint8Array(4096) })).toEqual({ errno: Errno.EPROTO })
    expect(server.serve(requestBytes('Tversion', { msize: 4096, version: '9P2000.L' }), 4)).toEqual(new Uint8Array())
  })
})

describe('version(5)', () => {
  it('another dialect is answered by "unknown", and nothing else is served', () => {
    const { call } = build()
    expect(call('Tversion', { msize: 8192, version: '9P2000.u' })).toEqual({ msize: 8192, version: 'unknown' })
    expect(call('Tgetattr', { fid: 0, mask: 0n })).toEqual({ errno: Errno.EPROTO })
  })

  it('starts anew: every fid is gone', () => {
    const { call } = build()
    call('Tversion', { msize: 8192, version: '9P2000.L' })
    expect(call('Tgetattr', { fid: 0, mask: 0n })).toEqual({ errno: Errno.EBADF })
  })

  it('refuses messages too small for a name', () => {
    expect(build().call('Tversion', { msize: 4095, version: '9P2000.L' })).toEqual({ errno: Errno.EMSGSIZE })
  })
})

describe('walk(5)', () => {
  const entries = { 'a/b/c': 'deep', 'a/file': 'x' }

  it('answers one qid for each name, and newfid is the last', () => {
    const { call } = build(entries)
    const reply = call('Twalk', { fid: 0, newfid: 1, names: ['a', 'b', 'c'] })
    expect((reply.qids as { type: number }[]).map(({ type }) => type)).toEqual([0x80, 0x80, 0])
    expect(call('Tgetattr', { fid: 1, mask: 0n }).size).toBe(4n)
  })

  it('stops at the first name that is not there; newfid then stands for nothing', () => {
    const { call } = build(entries)
    expect((call('Twalk', { fid: 0, newfid: 1, names: ['a', 'x', 'c'] }).qids as unknown[]).length).toBe(1)
    expect(call('Tgetattr', { fid: 1, mask: 0n })).toEqual({ errno: Errno.EBADF })
    expect((call('Twalk', { fid: 0, newfid: 1, names: ['a', 'file', 'c'] }).qids as unknown[]).length).toBe(2)
  })

  it('fails when the first name is not there, or fid is no directory', () => {
    const { call, walk } = build(entries)
    expect(call('Twalk', { fid: 0, newfid: 1000, names: ['x'] })).toEqual({ errno: Errno.ENOENT })
    expect(call('Twalk', { fid: walk('a/file'), newfid: 1000, names: ['x'] })).toEqual({ errno: Errno.ENOTDIR })
  })

  it.each([
    ['..', Errno.EINVAL], ['.', Errno.EINVAL], ['a/b', Errno.EINVAL], ['/', Errno.EINVAL], ['', Errno.ENOENT],
    ['a\0', Errno.EINVAL], ['x'.repeat(256), Errno.ENAMETOOLONG], ['ä'.repeat(128), Errno.ENAMETOOLONG],
  ])('refuses the name %j', (name, errno) => {
    const { call } = build(entries)
    expect(call('Twalk', { fid: 0, newfid: 1, names: ['a', name] })).toEqual({ errno })
    expect(call('Tmkdir', { dfid: 0, name, mode: 0o755, gid: 0 })).toEqual({ errno })
    expect(call('Tlcreate', { fid: 0, name, flags: 1, mode: 0o644, gid: 0 })).toEqual({ errno })
    expect(call('Trenameat', { olddirfid: 0, oldname: 'a', newdirfid: 0, newname: name })).toEqual({ errno })
    expect(call('Tunlinkat', { dirfd: 0, name, flags: 0 })).toEqual({ errno })
  })

  it('refuses names that are not UTF-8', () => {
    const { server } = build(entries)
    const request = requestBytes('Twalk', { fid: 0, newfid: 1, names: ['ab'] })
    request[request.length - 1] = 0xff
    expect(readReply('Twalk', server.serve(request, 100))).toEqual({ errno: Errno.EILSEQ })
  })

  it('takes at most 16 names', () => {
    const { call } = build(entries)
    const names = Array.from({ length: 17 }, () => 'a')
    expect(call('Twalk', { fid: 0, newfid: 1, names })).toEqual({ errno: Errno.EINVAL })
  })

  it('refuses a newfid that is in use, and moving an open fid', () => {
    const { call, open } = build(entries)
    const fid = open('a')
    expect(call('Twalk', { fid: 0, newfid: fid, names: [] })).toEqual({ errno: Errno.EBADF })
    expect(call('Twalk', { fid, newfid: fid, names: ['b'] })).toEqual({ errno: Errno.EBUSY })
  })
})

describe('limits', () => {
  it('more fids than there may be: ENFILE', () => {
    const { call } = build({}, true, { fids: 3 })
    expect([1, 2, 3].map((newfid) => call('Twalk', { fid: 0, newfid, names: [] }).errno))
      .toEqual([undefined, undefined, Errno.ENFILE])
    call('Tclunk', { fid: 1 })
    expect(call('Twalk', { fid: 0, newfid: 3, names: [] }).errno).toBeUndefined()
  })

  it('more open files than there may be: EMFILE', () => {
    const { call, open, walk } = build({ f: '' }, true, { openFiles: 2 })
    const first = open('f')
    open('f')
    const fid = walk('f')
    expect(call('Tlopen', { fid, flags: 0 }).errno).toBe(Errno.EMFILE)
    call('Tclunk', { fid: first })
    expect(call('Tlopen', { fid, flags: 0 }).errno).toBeUndefined()
  })

  it('a directory with more names than a listing holds: ENOMEM; kept listings make room for new ones', () => {
    const { call, open, names } = build({ 'a/1': '', 'a/2': '', 'b/1': '', 'b/2': '', 'c/1': '', 'c/2': '', 'c/3': '' },
      true, { listedNames: 2 })
    const a = open('a')
    expect(call('Treaddir', { fid: a, offset: 0n, count: 50 }).errno).toBeUndefined()
    expect(names('b')).toEqual(['.', '..', '1', '2'])
    expect((call('Treaddir', { fid: a, offset: 3n, count: 50 }).data as Uint8Array).length).toBe(25)
    expect(call('Treaddir', { fid: open('c'), offset: 0n, count: 50 })).toEqual({ errno: Errno.ENOMEM })
  })

  it('memory is given back when the last user of a removed file is gone', () => {
    const { call, open, files } = build({ f: 'x'.repeat(1000) })
    const before = files.used()
    const fid = open('f')
    call('Tunlinkat', { dirfd: 0, name: 'f', flags: 0 })
    expect(files.used()).toBe(before)
    expect((call('Tread', { fid, offset: 998n, count: 10 }).data as Uint8Array).length).toBe(2)
    call('Tclunk', { fid })
    expect(files.used()).toBe(0)
  })
})

describe('a tree that is read-only', () => {
  it('answers EROFS to everything that would change it, and stays as it is', () => {
    const { call, walk, read, names } = build({ f: 'text', 'd/x': '' }, false)
    const fid = walk('f')
    const dfid = walk('d')
    const at = { atimeSec: 0n, atimeNsec: 0n, mtimeSec: 0n, mtimeNsec: 0n }
    const requests: [string, object][] = [
      ['Tlopen', { fid, flags: 1 }], ['Tlopen', { fid, flags: 0o1002 }],
      ['Tlcreate', { fid: dfid, name: 'n', flags: 2, mode: 0o644, gid: 0 }],
      ['Tmknod', { fid: dfid, name: 'n', mode: 0o100644, major: 0, minor: 0, gid: 0 }],
      ['Tsymlink', { fid: dfid, name: 'n', target: '/', gid: 0 }],
      ['Tlink', { dfid, fid, name: 'n' }],
      ['Tmkdir', { dfid, name: 'n', mode: 0o755, gid: 0 }],
      ['Tsetattr', { fid, valid: 8, mode: 0, uid: 0, gid: 0, size: 0n, ...at }],
      ['Twrite', { fid, offset: 0n, data: new Uint8Array(1) }],
      ['Trename', { fid, dfid, name: 'n' }],
      ['Trenameat', { olddirfid: 0, oldname: 'f', newdirfid: dfid, newname: 'n' }],
      ['Tunlinkat', { dirfd: 0, name: 'f', flags: 0 }],
      ['Tunlinkat', { dirfd: 0, name: 'd', flags: 0x200 }],
      ['Tremove', { fid }],
    ]
    for (const [name, values] of requests) {
      expect([name, call(name, values as never)]).toEqual([name, { errno: Errno.EROFS }])
    }
    expect([read('f'), names(''), names('d')]).toEqual(['text', ['.', '..', 'd', 'f'], ['.', '..', 'x']])
  })
})

describe('files', () => {
  it('are read from any offset, as much as there is and as fits into the reply', () => {
    const { call, open } = build({ f: 'hello world' })
    const fid = open('f')
    const read = (offset: bigint, count: number, room?: number): string =>
      new TextDecoder().decode(call('Tread', { fid, offset, count }, room).data as Uint8Array)
    expect([read(0n, 100), read(6n, 3), read(11n, 5), read(2n ** 64n - 1n, 5), read(0n, 100, 16)])
      .toEqual(['hello world', 'wor', '', '', 'hello'])
  })

  it('are created, written, cut and emptied', () => {
    const { call, walk, read, files } = build()
    const fid = walk('')
    expect(call('Tlcreate', { fid, name: 'n', flags: 2, mode: 0o640, gid: 0 }).errno).toBeUndefined()
    expect(call('Twrite', { fid, offset: 3n, data: new TextEncoder().encode('abc') })).toEqual({ count: 3 })
    expect(read('n')).toBe('\0\0\0abc')
    expect(call('Tgetattr', { fid, mask: 0n })).toMatchObject({ mode: 0o100640, size: 6n, nlink: 1n })
    const set = { fid, mode: 0, uid: 0, gid: 0, atimeSec: 0n, atimeNsec: 0n, mtimeSec: 0n, mtimeNsec: 0n }
    expect(call('Tsetattr', { ...set, valid: 8, size: 4n })).toEqual({})
    expect(call('Tsetattr', { ...set, valid: 8, size: 6n })).toEqual({})
    expect(read('n')).toBe('\0\0\0a\0\0')
    expect(call('Tsetattr', { ...set, valid: 8, size: 2n ** 60n })).toEqual({ errno: Errno.EFBIG })
    expect(call('Tsetattr', { ...set, valid: 8, size: 2n ** 40n })).toEqual({ errno: Errno.ENOSPC })
    expect(call('Twrite', { fid, offset: 2n ** 63n, data: new Uint8Array(1) })).toEqual({ errno: Errno.EFBIG })
    expect(call('Tlopen', { fid: walk('n'), flags: 0o1001 }).errno).toBeUndefined()
    expect(files.content('n')).toEqual(new Uint8Array())
  })

  it('that are open to be read are not written, and the other way round', () => {
    const { call, open, walk } = build({ f: 'x' })
    expect(call('Twrite', { fid: open('f'), offset: 0n, data: new Uint8Array(1) })).toEqual({ errno: Errno.EBADF })
    expect(call('Tread', { fid: open('f', 1), offset: 0n, count: 1 })).toEqual({ errno: Errno.EBADF })
    expect(call('Tread', { fid: walk('f'), offset: 0n, count: 1 })).toEqual({ errno: Errno.EBADF })
    expect(call('Tlopen', { fid: walk('f'), flags: 3 })).toEqual({ errno: Errno.EINVAL })
  })

  it('that exist are opened by Tlcreate, but not with O_EXCL, and never through a link', () => {
    const { call, walk } = build({ f: 'x', l: { link: 'f' } })
    const create = (name: string, flags: number) =>
      call('Tlcreate', { fid: walk(''), name, flags, mode: 0o644, gid: 0 })
    expect([create('f', 2).errno, create('f', 0o202).errno, create('l', 2).errno])
      .toEqual([undefined, Errno.EEXIST, Errno.ELOOP])
  })

  it('have times to the nanosecond, before 1970 too', () => {
    const { call, walk } = build({ f: '' })
    const fid = walk('f')
    const times = { atimeSec: 2n ** 64n - 2n, atimeNsec: 999_999_999n, mtimeSec: 5n, mtimeNsec: 7n }
    expect(call('Tsetattr', { fid, valid: 0x1b0, mode: 0, uid: 0, gid: 0, size: 0n, ...times })).toEqual({})
    expect(call('Tgetattr', { fid, mask: 0n })).toMatchObject(times)
    expect(call('Tsetattr', { fid, valid: 0x1b0, mode: 0, uid: 0, gid: 0, size: 0n, ...times, mtimeNsec: 10n ** 9n }))
      .toEqual({ errno: Errno.EINVAL })
    expect(call('Tsetattr', { fid, valid: 0x200, mode: 0, uid: 0, gid: 0, size: 0n, ...times }))
      .toEqual({ errno: Errno.EINVAL })
  })

  it('are no devices, pipes or sockets, and have one name only', () => {
    const { call, walk } = build({ f: '' })
    for (const mode of [0o020666, 0o060666, 0o010666, 0o140666, 0o120777]) {
      expect(call('Tmknod', { fid: 0, name: 'n', mode, major: 1, minor: 3, gid: 0 })).toEqual({ errno: Errno.EPERM })
    }
    expect(call('Tmknod', { fid: 0, name: 'n', mode: 0o100644, major: 0, minor: 0, gid: 0 }).errno).toBeUndefined()
    expect(call('Tlink', { dfid: 0, fid: walk('f'), name: 'g' })).toEqual({ errno: Errno.EPERM })
  })
})

describe('directories', () => {
  it('are listed by whole entries in the order of their names, with "." and ".."', () => {
    const { names, call, open } = build(
      Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`d/n${i % 7}-${i}`, '']))
    )
    const list = names('d')
    expect(list.length).toBe(62)
    expect(list.slice(2)).toEqual(list.slice(2).sort())
    expect(call('Treaddir', { fid: open('d'), offset: 0n, count: 24 })).toEqual({ errno: Errno.EINVAL })
  })

  it('tell the kind of each entry, and the directory above', () => {
    const { call, open, walk } = build({ 'd/a/x': '', 'd/b': '', 'd/c': { link: 'b' } })
    const { data } = call('Treaddir', { fid: open('d'), offset: 0n, count: 1000 }) as unknown as { data: Uint8Array }
    const view = new DataView(data.buffer, data.byteOffset)
    const entries: [number, number, bigint][] = []
    for (let at = 0; at < data.length; at += 24 + view.getUint16(at + 22, true)) {
      entries.push([view.getUint8(at), view.getUint8(at + 21), view.getBigUint64(at + 5, true)])
    }
    const path = (name: string) => (call('Tgetattr', { fid: walk(name), mask: 0n }).qid as { path: bigint }).path
    expect(entries).toEqual([
      [0x80, 4, path('d')], [0x80, 4, path('')], [0x80, 4, path('d/a')], [0, 8, path('d/b')], [2, 10, path('d/c')],
    ])
  })

  it('are not written, read or emptied as files', () => {
    const { call, open, walk } = build({ 'd/x': '' })
    expect(call('Tlopen', { fid: walk('d'), flags: 2 })).toEqual({ errno: Errno.EISDIR })
    expect(call('Tread', { fid: open('d'), offset: 0n, count: 1 })).toEqual({ errno: Errno.EISDIR })
    expect(call('Treaddir', { fid: open('d/x'), offset: 0n, count: 100 })).toEqual({ errno: Errno.EBADF })
    expect(call('Tlopen', { fid: walk('d/x'), flags: 0o200000 })).toEqual({ errno: Errno.ENOTDIR })
  })

  it('are removed when they are empty, as directories', () => {
    const { call } = build({ 'd/x': '' })
    const unlink = (dirfd: number, name: string, flags: number) => call('Tunlinkat', { dirfd, name, flags }).errno
    expect(unlink(0, 'd', 0)).toBe(Errno.EISDIR)
    expect(unlink(0, 'd', 0x200)).toBe(Errno.ENOTEMPTY)
    expect(unlink(0, 'd', 0x400)).toBe(Errno.EINVAL)
    call('Twalk', { fid: 0, newfid: 5, names: ['d'] })
    expect(unlink(5, 'x', 0x200)).toBe(Errno.ENOTDIR)
    expect(unlink(5, 'x', 0)).toBeUndefined()
    expect(unlink(0, 'd', 0x200)).toBeUndefined()
    expect(call('Tmkdir', { dfid: 5, name: 'n', mode: 0o755, gid: 0 })).toEqual({ errno: Errno.ENOENT })
  })
})

describe('renames', () => {
  const rename = (c: ReturnType<typeof build>, from: string, to: string): number | undefined => {
    const part = (path: string) => [path.split('/').slice(0, -1).join('/'), path.split('/').at(-1)] as const
    const [[fromFolder, oldname], [toFolder, newname]] = [part(from), part(to)]
    const [olddirfid, newdirfid] = [c.walk(fromFolder), c.walk(toFolder)]
    return c.call('Trenameat', { olddirfid, oldname, newdirfid, newname }).errno
  }

  it('keep the qid and replace what can be replaced', () => {
    const c = build({ 'a/f': 'new', 'b/f': 'old', 'b/d/x': '', 'e/y': '' })
    const qid = () => c.call('Tgetattr', { fid: c.walk('b/f'), mask: 0n }).qid
    const before = c.call('Tgetattr', { fid: c.walk('a/f'), mask: 0n }).qid
    expect(rename(c, 'a/f', 'b/f')).toBeUndefined()
    expect([c.read('b/f'), qid()]).toEqual(['new', before])
    expect(rename(c, 'b/f', 'b/d')).toBe(Errno.EISDIR)
    expect(rename(c, 'b/d', 'b/f')).toBe(Errno.ENOTDIR)
    expect(rename(c, 'b/d', 'e')).toBe(Errno.ENOTEMPTY)
    expect(rename(c, 'b/d', 'a')).toBeUndefined()
    expect(c.names('a')).toEqual(['.', '..', 'x'])
  })

  it('never put a directory into itself', () => {
    const c = build({ 'a/b/c': '' })
    expect([rename(c, 'a', 'a/n'), rename(c, 'a', 'a/b/n')]).toEqual([Errno.EINVAL, Errno.EINVAL])
  })

  it('by Trename and removal by Tremove go by the fid', () => {
    const c = build({ 'a/f': 'x', 'b/g': '' })
    const fid = c.walk('a/f')
    expect(c.call('Trename', { fid, dfid: c.walk('b'), name: 'h' })).toEqual({})
    expect(c.names('b')).toEqual(['.', '..', 'g', 'h'])
    expect(c.call('Tremove', { fid })).toEqual({})
    expect(c.names('b')).toEqual(['.', '..', 'g'])
    expect(c.call('Tremove', { fid: 0 })).toEqual({ errno: Errno.EBUSY })
    expect(c.call('Tclunk', { fid: 0 })).toEqual({ errno: Errno.EBADF })
  })
})

describe('symbolic links', () => {
  it('are given as they are, and opening one is refused', () => {
    const { call, walk } = build({ l: { link: '../../etc/passwd' } })
    const fid = walk('l')
    expect(call('Treadlink', { fid })).toEqual({ target: '../../etc/passwd' })
    expect(call('Tlopen', { fid, flags: 0 })).toEqual({ errno: Errno.ELOOP })
    expect(call('Treadlink', { fid: 0 })).toEqual({ errno: Errno.EINVAL })
    expect(call('Tsymlink', { fid: 0, name: 'm', target: 'x'.repeat(4095), gid: 0 }).errno).toBeUndefined()
    expect(call('Treadlink', { fid: walk('m') })).toEqual({ target: 'x'.repeat(4095) })
    expect(call('Tsymlink', { fid: 0, name: 'n', target: 'x'.repeat(4096), gid: 0 }))
      .toEqual({ errno: Errno.ENAMETOOLONG })
    expect(call('Tsymlink', { fid: 0, name: 'n', target: '', gid: 0 })).toEqual({ errno: Errno.ENOENT })
  })
})

describe('a snapshot', () => {
  const entries = { 'd/f': 'content', 'd/g': 'x', h: '' }

  it('brings fids and open files back in another server', () => {
    const one = build(entries)
    const [fid, dir] = [one.open('d/f', 2), one.open('d')]
    one.call('Treaddir', { fid: dir, offset: 0n, count: 500 })
    const saved = JSON.parse(JSON.stringify(one.server.snapshot())) as unknown
    const files = createMemoryFiles({ writable: true })
    const server = createNinePServer({ files })
    expect(server.restore(saved)).toEqual([])
    expect(server.snapshot()).toEqual(saved)
    expect(files.used()).toBe(one.files.used())
    for (const [name, values] of [
      ['Tread', { fid, offset: 3n, count: 9 }], ['Treaddir', { fid: dir, offset: 2n, count: 500 }],
      ['Twrite', { fid, offset: 0n, data: Uint8Array.of(65) }], ['Tgetattr', { fid: 0, mask: 0n }],
    ] as const) {
      const request = requestBytes(name, values)
      expect(server.serve(request, 1000)).toEqual(one.server.serve(request, 1000))
    }
  })

  it('says which files are lost; their fids answer ESTALE', () => {
    const one = build(entries)
    const fid = one.open('d/f', 2)
    const saved = one.server.snapshot()
    const emptied = { ...saved, files: createMemoryFiles({ entries: { 'd/g': '' } }).snapshot() }
    const two = createNinePServer({ files: createMemoryFiles() })
    expect(two.restore(emptied)).toEqual(['/d/f'])
    expect(readReply('Tread', two.serve(requestBytes('Tread', { fid, offset: 0n, count: 1 }), 100)).errno)
      .toBe(Errno.EBADF)
    expect(readReply('Tgetattr', two.serve(requestBytes('Tgetattr', { fid, mask: 1n }), 100)).errno).toBe(Errno.ESTALE)
  })

  it('that is none is refused by the name of its field', () => {
    const { server, files } = build(entries)
    const good = server.snapshot()
    const bad: [unknown, string][] = [
      [null, ''], [{ ...good, msize: -1 }, 'msize'], [{ ...good, fids: 1 }, 'fids'],
      [{ ...good, fids: [...good.fids, ...good.fids] }, 'fids'],
      [{ ...good, fids: [{ ...good.fids[0], path: ['..'] }] }, 'fids[0].path'],
      [{ ...good, fids: [{ ...good.fids[0], opened: 'x' }] }, 'fids[0].opened'],
      [{ ...good, fids: [{ ...good.fids[0], qid: { type: 1, version: 0, path: -1 } }] }, 'fids[0].qid.path'],
    ]
    for (const [saved, field] of bad) expect(() => server.restore(saved)).toThrow(`'${field}'`)
    expect(() => { files.restore({ next: 1, files: [{}] }) }).toThrow("'files'")
  })
})
