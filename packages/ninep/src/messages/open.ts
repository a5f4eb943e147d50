/** Opening and creating regular files: Tlopen, Tlcreate, Tmknod. */
import { fail, failed, type Answer } from '../errno.ts'
import type { Fid } from '../fids.ts'
import { MODE, QID, type NinePFile, type NinePNode, type OpenOptions } from '../files.ts'
import { message, type Session } from '../message.ts'

/** Flags of Tlopen and Tlcreate (Linux: P9_DOTL_*). Those not named change nothing here. */
export const OPEN = {
  ACCESS: 3, WRONLY: 1, RDWR: 2, CREATE: 0o100, EXCL: 0o200, TRUNC: 0o1000, APPEND: 0o2000, DIRECTORY: 0o200000,
} as const

/** Opens have no unit of their own: the client takes what a message holds. */
const iounit = 0

function optionsOf(flags: number): Answer<OpenOptions> {
  const access = flags & OPEN.ACCESS
  if (access === OPEN.ACCESS) return fail('EINVAL')
  const write = access !== 0
  const truncate = (flags & OPEN.TRUNC) !== 0
  if (truncate && !write) return fail('EINVAL')
  return { read: access !== OPEN.WRONLY, write, truncate, append: (flags & OPEN.APPEND) !== 0 }
}

/** Opens what a fid stands for, by its kind. */
function open(session: Session, fid: Fid, flags: number): Answer<object> {
  const { files, fids } = session
  const options = optionsOf(flags)
  if (failed(options)) return options
  if (fid.opened !== undefined) return fail('EBUSY')
  const { type } = fid.node.qid
  if ((type & QID.SYMLINK) !== 0) return fail('ELOOP')
  if ((type & QID.DIRECTORY) !== 0) {
    if (options.write) return fail('EISDIR')
    fids.open(fid, { kind: 'directory' })
    return {}
  }
  if ((flags & OPEN.DIRECTORY) !== 0) return fail('ENOTDIR')
  if (options.write && !files.writable) return fail('EROFS')
  if (!fids.roomToOpen()) return fail('EMFILE')
  const file = fid.node.open(options)
  if (failed(file)) return file
  fids.open(fid, { kind: 'file', file, options })
  return {}
}

export const tlopen = message({
  type: 12,
  name: 'Tlopen',
  request: { fid: 'u32', flags: 'u32' },
  reply: { qid: 'qid', iounit: 'u32' },
  serve(session, { fid: number, flags }) {
    const fid = session.fids.get(number)
    if (failed(fid)) return fid
    const opened = open(session, fid, flags)
    return failed(opened) ? opened : { qid: fid.node.qid, iounit }
  },
})

type Created = Answer<{ readonly node: NinePNode; readonly file: NinePFile }>

/** A file that is there already is opened, unless that is not wanted; nothing is followed. */
function openExisting(folder: NinePNode, name: string, options: OpenOptions): Created {
  const node = folder.child(name)
  if (failed(node)) return node
  const kind = node.qid.type
  const wrong = (kind & QID.DIRECTORY) !== 0 ? fail('EISDIR') : (kind & QID.SYMLINK) !== 0 ? fail('ELOOP') : undefined
  const file = wrong ?? node.open(options)
  if (!failed(file)) return { node, file }
  node.release()
  return file
}

function create(folder: NinePNode, name: string, mode: number, flags: number): Created {
  const options = optionsOf(flags)
  if (failed(options)) return options
  if ((folder.qid.type & QID.DIRECTORY) === 0) return fail('ENOTDIR')
  const created = folder.create(name, mode & MODE.PERMISSIONS, options)
  const there = failed(created) && created.errno === fail('EEXIST').errno
  return there && (flags & OPEN.EXCL) === 0 ? openExisting(folder, name, options) : created
}

/** Tlcreate: makes a file in the directory that the fid stands for; the fid then stands for the open file. */
export const tlcreate = message({
  type: 14,
  name: 'Tlcreate',
  request: { fid: 'u32', name: 'name', flags: 'u32', mode: 'u32', gid: 'u32' },
  reply: { qid: 'qid', iounit: 'u32' },
  changes: true,
  serve({ fids }, { fid: number, name, flags, mode }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    if (fid.opened !== undefined) return fail('EBUSY')
    if (!fids.roomToOpen()) return fail('EMFILE')
    const created = create(fid.node, name, mode, flags)
    if (failed(created)) return created
    const { node, file } = created
    const options = optionsOf(flags)
    fids.replace(fid, node, fid.node.qid)
    if (!failed(options)) fids.open(fid, { kind: 'file', file, options })
    return { qid: node.qid, iounit }
  },
})

/** Tmknod: regular files only; a guest makes no devices, pipes and sockets on its host. */
export const tmknod = message({
  type: 18,
  name: 'Tmknod',
  request: { fid: 'u32', name: 'name', mode: 'u32', major: 'u32', minor: 'u32', gid: 'u32' },
  reply: { qid: 'qid' },
  changes: true,
  serve({ fids }, { fid: number, name, mode }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    const kind = mode & MODE.KIND
    if (kind !== MODE.FILE && kind !== 0) return fail('EPERM')
    const created = create(fid.node, name, mode, OPEN.EXCL | OPEN.WRONLY)
    if (failed(created)) return created
    created.file.close()
    created.node.release()
    return { qid: created.node.qid }
  },
})
