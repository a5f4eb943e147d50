/** Entries of directories come, move and go: Tmkdir, Tsymlink, Tlink, Trename, Trenameat, Tunlinkat, remove(5). */
import { fail, failed, type Answer } from '../errno.ts'
import type { FidTable } from '../fids.ts'
import { QID, type NinePNode } from '../files.ts'
import { message } from '../message.ts'

/** The longest target of a symbolic link, bytes (PATH_MAX with its NUL). */
const LONGEST_TARGET = 4095

const encoder = new TextEncoder()

/** The directory that a fid stands for. */
function directory(fids: FidTable, number: number): Answer<NinePNode> {
  const fid = fids.get(number)
  if (failed(fid)) return fid
  return (fid.node.qid.type & QID.DIRECTORY) === 0 ? fail('ENOTDIR') : fid.node
}

export const tmkdir = message({
  type: 72,
  name: 'Tmkdir',
  request: { dfid: 'u32', name: 'name', mode: 'u32', gid: 'u32' },
  reply: { qid: 'qid' },
  changes: true,
  serve({ fids }, { dfid, name, mode }) {
    const folder = directory(fids, dfid)
    if (failed(folder)) return folder
    const qid = folder.makeDirectory(name, mode & 0o7777)
    return failed(qid) ? qid : { qid }
  },
})

export const tsymlink = message({
  type: 16,
  name: 'Tsymlink',
  request: { fid: 'u32', name: 'name', target: 'text', gid: 'u32' },
  reply: { qid: 'qid' },
  changes: true,
  serve({ fids }, { fid, name, target }) {
    const folder = directory(fids, fid)
    if (failed(folder)) return folder
    if (target === '') return fail('ENOENT')
    if (encoder.encode(target).length > LONGEST_TARGET) return fail('ENAMETOOLONG')
    const qid = folder.makeSymlink(name, target)
    return failed(qid) ? qid : { qid }
  },
})

export const treadlink = message({
  type: 22,
  name: 'Treadlink',
  request: { fid: 'u32' },
  reply: { target: 'text' },
  serve({ fids }, { fid: number }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    if ((fid.node.qid.type & QID.SYMLINK) === 0) return fail('EINVAL')
    const target = fid.node.readLink()
    return failed(target) ? target : { target }
  },
})

/** Tlink: there are no hard links, as link(2) says it: EPERM. */
export const tlink = message({
  type: 70,
  name: 'Tlink',
  request: { dfid: 'u32', fid: 'u32', name: 'name' },
  reply: {},
  changes: true,
  serve: () => fail('EPERM'),
})

export const trenameat = message({
  type: 74,
  name: 'Trenameat',
  request: { olddirfid: 'u32', oldname: 'name', newdirfid: 'u32', newname: 'name' },
  reply: {},
  changes: true,
  serve({ fids }, { olddirfid, oldname, newdirfid, newname }) {
    const from = directory(fids, olddirfid)
    if (failed(from)) return from
    const to = directory(fids, newdirfid)
    if (failed(to)) return to
    return from.rename(oldname, to, newname) ?? {}
  },
})

export const trename = message({
  type: 20,
  name: 'Trename',
  request: { fid: 'u32', dfid: 'u32', name: 'name' },
  reply: {},
  changes: true,
  serve({ fids }, { fid: number, dfid, name }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    const to = directory(fids, dfid)
    if (failed(to)) return to
    const place = fid.node.place()
    if (failed(place)) return place
    const done = place.folder.rename(place.name, to, name)
    place.folder.release()
    return done ?? {}
  },
})

/** The only flag of Tunlinkat (AT_REMOVEDIR). */
const REMOVE_DIRECTORY = 0x200

export const tunlinkat = message({
  type: 76,
  name: 'Tunlinkat',
  request: { dirfd: 'u32', name: 'name', flags: 'u32' },
  reply: {},
  changes: true,
  serve({ fids }, { dirfd, name, flags }) {
    const folder = directory(fids, dirfd)
    if (failed(folder)) return folder
    if ((flags & ~REMOVE_DIRECTORY) !== 0) return fail('EINVAL')
    return folder.remove(name, flags === 0 ? 'file' : 'directory') ?? {}
  },
})

/** Tremove: removes the file and forgets the fid, the latter even when the former fails. */
export const tremove = message({
  type: 122,
  name: 'Tremove',
  request: { fid: 'u32' },
  reply: {},
  serve({ fids, files }, { fid: number }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    const remove = (): Answer<object> => {
      if (!files.writable) return fail('EROFS')
      const place = fid.node.place()
      if (failed(place)) return place
      const kind = (fid.node.qid.type & QID.DIRECTORY) === 0 ? 'file' : 'directory'
      const done = place.folder.remove(place.name, kind)
      place.folder.release()
      return done ?? {}
    }
    const removed = remove()
    fids.remove(fid)
    return failed(removed) ? removed : {}
  },
})
