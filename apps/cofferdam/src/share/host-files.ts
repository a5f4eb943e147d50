/**
 * A folder of the host as the tree of a 9p server. A file is only ever reached from its directory's descriptor by one
 * name that is not followed (system.ts), so no path is ever looked up that a link, a rename or `..` could bend.
 */
import {
  chmodSync, closeSync, constants, fchmodSync, fdatasyncSync, fsyncSync, mkdirSync, opendirSync, openSync, readlinkSync,
  readSync, renameSync, rmdirSync, statfsSync, symlinkSync, truncateSync, unlinkSync, utimesSync, writeSync,
  type BigIntStats,
} from 'node:fs'
import {
  fail, failed, MODE, qidType, type Answer, type AttributeChange, type Attributes, type Done, type NinePFile,
  type NinePFiles, type NinePNode, type OpenOptions, type Qid,
} from '@cofferdam/ninep'
import { openHandles, type Handle, type Handles } from './handles.ts'
import { createFileNumbers, keyOf, type FileNumbers } from './numbers.ts'
import { attempt, behind, openEntry, perform, statusIn, statusOf, within, type FoundEntry } from './system.ts'

/** A shared folder. */
export interface HostFiles extends NinePFiles {
  /** Closes every descriptor; the files are not used after it. */
  close(): void
}

/** What a guest may set of a mode: no set-user-ID and set-group-ID programs on the host. */
const settable = 0o1777

const { O_APPEND, O_CREAT, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants

const flagsOf = ({ read, write, truncate, append }: OpenOptions): number =>
  (write ? (read ? O_RDWR : O_WRONLY) : O_RDONLY) | (truncate ? O_TRUNC : 0) | (append ? O_APPEND : 0)
  // some files of procfs and sysfs would wait for something to read
  | O_NONBLOCK | O_NOCTTY

interface Share {
  readonly handles: Handles
  readonly numbers: FileNumbers
}

const qidOf = ({ numbers }: Share, status: BigIntStats): Qid =>
  ({ type: qidType(Number(status.mode)), version: 0, path: numbers.of(keyOf(status)) })

const attributesOf = (qid: Qid, status: BigIntStats): Attributes => ({
  qid,
  mode: Number(status.mode),
  uid: Number(status.uid),
  gid: Number(status.gid),
  links: status.nlink,
  size: status.size,
  blockSize: status.blksize,
  blocks: status.blocks,
  accessed: status.atimeNs,
  modified: status.mtimeNs,
  changed: status.ctimeNs,
})

const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A name or a link's target as text; undefined when it is not UTF-8, which 9p can't carry. */
const textOf = (bytes: Uint8Array): string | undefined => {
  try {
    return text.decode(bytes)
  } catch {
    return undefined
  }
}

/** An open file; its descriptor also stands for the file when its name is gone. */
const openFile = ({ handles }: Share, handle: Handle, descriptor: number): NinePFile => {
  handle.open.add(descriptor)
  handle.users += 1
  return {
    read: (offset, into) => attempt(() => readSync(descriptor, into, 0, into.length, offset)),
    write: (offset, bytes) => attempt(() => writeSync(descriptor, bytes, 0, bytes.length, offset)),
    sync: (dataOnly) => perform(() => (dataOnly ? fdatasyncSync(descriptor) : fsyncSync(descriptor))),
    close() {
      handle.open.delete(descriptor)
      closeSync(descriptor)
      handles.leave(handle)
    },
  }
}

/** A file with a second name may have it outside the folder: it is not changed. */
const isShared = (status: BigIntStats): boolean => status.nlink > 1n && !status.isDirectory()

/** Latest time that is set, seconds: the year 36812. */
const latest = 2 ** 40

const setTimes = (path: string, status: BigIntStats, { accessed, modified }: AttributeChange): Done => {
  const now = Date.now() / 1000
  const seconds = (asked: bigint | 'now' | undefined, old: bigint): number =>
    asked === 'now' ? now : Number(asked ?? old) / 1e9
  const [atime, mtime] = [seconds(accessed, status.atimeNs), seconds(modified, status.mtimeNs)]
  // Node takes a time before 1970 for another one
  if (![atime, mtime].every((time) => time >= 0 && time < latest)) return fail('EINVAL')
  return perform(() => utimesSync(path, atime, mtime))
}

/** Whether a change may be made at all. Giving a file the owner that it has is none. */
const refusal = (status: BigIntStats, { uid, gid, ...change }: AttributeChange): Done => {
  const isOther = (asked: number | undefined, old: bigint): boolean => asked !== undefined && BigInt(asked) !== old
  if (isOther(uid, status.uid) || isOther(gid, status.gid)) return fail('EPERM')
  if (Object.keys(change).length === 0) return undefined
  if (!status.isFile() && !status.isDirectory()) return fail(status.isSymbolicLink() ? 'EOPNOTSUPP' : 'EPERM')
  if (isShared(status)) return fail('EPERM')
  return ((change.mode ?? 0) & ~settable) === 0 ? undefined : fail('EPERM')
}

const setAttributes = (descriptor: number, change: AttributeChange): Done => {
  const status = attempt(() => statusOf(descriptor))
  if (failed(status)) return status
  const refused = refusal(status, change)
  if (refused !== undefined) return refused
  const path = behind(descriptor)
  const { mode, size, accessed, modified } = change
  if (size !== undefined) {
    if (!status.isFile()) return fail('EISDIR')
    const done = perform(() => truncateSync(path, size))
    if (failed(done)) return done
  }
  if (mode !== undefined) {
    const done = perform(() => chmodSync(path, mode))
    if (failed(done)) return done
  }
  return accessed === undefined && modified === undefined ? undefined : setTimes(path, status, change)
}

/** The names in a directory, sorted; those that are not UTF-8 are left out. */
const listNames = (descriptor: number, limit: number): Answer<string[]> => attempt((): Answer<string[]> => {
  const directory = opendirSync(behind(descriptor), { encoding: 'buffer' as BufferEncoding, bufferSize: 256 })
  const names: string[] = []
  try {
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      // the types don't know that the encoding "buffer" gives bytes
      const name = textOf(entry.name as unknown as Uint8Array)
      if (name === undefined) continue
      if (names.length >= limit) return fail('ENOMEM')
      names.push(name)
    }
  } finally {
    directory.closeSync()
  }
  return names.sort()
})

/** The record behind each node, so that a node can be handed back to this folder. */
const handleOf = new WeakMap<NinePNode, Handle>()

/** What can be done in a directory. */
const directoryMethods = (share: Share, handle: Handle) => {
  const { handles } = share
  const inside = <T>(work: (directory: number) => Answer<T>): Answer<T> => {
    if (handle.kind !== MODE.DIRECTORY) return fail('ENOTDIR')
    const directory = handles.descriptor(handle)
    return failed(directory) ? directory : work(directory)
  }
  /** A name goes: when it was the last one, so does the file. */
  const forget = (status: BigIntStats): void => {
    if (status.nlink > 1n && !status.isDirectory()) return
    handles.gone(keyOf(status))
  }
  const enter = (name: string, opened: Answer<FoundEntry>): Answer<Handle> =>
    (failed(opened) ? opened : handles.enter(handle, name, opened.descriptor, opened.status))

  return {
    child: (name: string): Answer<NinePNode> => inside((directory) => {
      const found = enter(name, openEntry(directory, name))
      return failed(found) ? found : nodeOf(share, found)
    }),
    lookAt: (name: string) => inside((directory) => {
      const status = attempt(() => statusIn(directory, name))
      return failed(status) ? status : { qid: qidOf(share, status), mode: Number(status.mode) }
    }),
    list: (limit: number) => inside((directory) => listNames(directory, limit)),
    create: (name: string, mode: number, options: OpenOptions) => inside((directory) => {
      const flags = (flagsOf(options) & ~O_TRUNC) | O_CREAT | O_EXCL | O_NOFOLLOW
      const descriptor = attempt(() => openSync(within(directory, name), flags, mode & settable))
      if (failed(descriptor)) return descriptor
      // the mode that was asked for, whatever the umask of this process is
      const done = perform(() => fchmodSync(descriptor, mode & settable))
      const found = failed(done) ? done : enter(name, openEntry(directory, name))
      if (failed(found)) {
        closeSync(descriptor)
        return found
      }
      return { node: nodeOf(share, found), file: openFile(share, found, descriptor) }
    }),
    makeDirectory: (name: string, mode: number) => inside((directory): Answer<Qid> => {
      const made = perform(() => mkdirSync(within(directory, name), mode & settable))
      if (failed(made)) return made
      const found = openEntry(directory, name)
      if (failed(found)) return found
      const done = found.status.isDirectory()
        ? perform(() => chmodSync(behind(found.descriptor), mode & settable))
        : fail('ESTALE')
      closeSync(found.descriptor)
      return failed(done) ? done : qidOf(share, found.status)
    }),
    makeSymlink: (name: string, target: string) => inside((directory): Answer<Qid> => {
      const made = perform(() => symlinkSync(target, within(directory, name)))
      if (failed(made)) return made
      const status = attempt(() => statusIn(directory, name))
      return failed(status) ? status : qidOf(share, status)
    }),
    rename: (name: string, folder: NinePNode, newName: string): Done => inside((): Answer<undefined> => {
      const target = handleOf.get(folder)
      if (target?.kind !== MODE.DIRECTORY) return fail('EXDEV')
      // the second descriptor may take the first one's place
      const to = handles.descriptor(target)
      if (failed(to)) return to
      const from = handles.descriptor(handle)
      if (failed(from)) return from
      const status = attempt(() => statusIn(from, name))
      if (failed(status)) return status
      const replaced = attempt(() => statusIn(to, newName))
      const done = perform(() => renameSync(within(from, name), within(to, newName)))
      if (failed(done)) return done
      if (!failed(replaced)) {
        // two names of one file: rename(2) does nothing
        if (keyOf(replaced) === keyOf(status)) return undefined
        forget(replaced)
      }
      handles.moved(keyOf(status), target, newName)
      return undefined
    }),
    remove: (name: string, kind: 'directory' | 'file'): Done => inside((directory): Answer<undefined> => {
      const status = attempt(() => statusIn(directory, name))
      if (failed(status)) return status
      const path = within(directory, name)
      const done = perform(() => (kind === 'directory' ? rmdirSync(path) : unlinkSync(path)))
      if (failed(done)) return done
      forget(status)
      return undefined
    }),
  }
}

/** Opens what a descriptor names, if it is a regular file; the way there is the descriptor itself. */
const openRegular = (descriptor: number, options: OpenOptions): Answer<number> => {
  const status = attempt(() => statusOf(descriptor))
  if (failed(status)) return status
  if (!status.isFile()) return fail('EACCES')
  if (options.write && isShared(status)) return fail('EPERM')
  return attempt(() => openSync(behind(descriptor), flagsOf(options)))
}

/** A node; it is one user of its handle, which the caller has counted. */
const nodeOf = (share: Share, handle: Handle): NinePNode => {
  const { handles } = share
  const withDescriptor = <T>(work: (descriptor: number) => Answer<T>): Answer<T> => {
    const descriptor = handles.descriptor(handle)
    return failed(descriptor) ? descriptor : work(descriptor)
  }
  const qid: Qid = { type: qidType(handle.kind), version: 0, path: handle.number }
  const more = (of: Handle): NinePNode => {
    of.users += 1
    return nodeOf(share, of)
  }
  const node: NinePNode = {
    qid,
    ...directoryMethods(share, handle),
    attributes: () => withDescriptor((descriptor) => attempt(() => attributesOf(qid, statusOf(descriptor)))),
    readLink() {
      // There is no readlinkat(2) on the link itself: it is read by its name, after a look whether it is still the one.
      const { parent, name } = handle
      if (parent === undefined) return fail('EINVAL')
      const directory = handles.descriptor(parent)
      if (failed(directory)) return directory
      return attempt((): Answer<string> => {
        if (keyOf(statusIn(directory, name)) !== handle.key) return fail('ESTALE')
        return textOf(readlinkSync(within(directory, name), { encoding: 'buffer' })) ?? fail('EILSEQ')
      })
    },
    open: (options) => withDescriptor((descriptor) => {
      const opened = openRegular(descriptor, options)
      return failed(opened) ? opened : openFile(share, handle, opened)
    }),
    set: (change) => withDescriptor((descriptor) => setAttributes(descriptor, change) as Answer<undefined>),
    place() {
      const { parent, name } = handle
      if (parent === undefined) return fail('EBUSY')
      const directory = handles.descriptor(parent)
      if (failed(directory)) return directory
      const status = attempt(() => statusIn(directory, name))
      if (failed(status)) return status
      return handle.removed || keyOf(status) !== handle.key ? fail('ENOENT') : { folder: more(parent), name }
    },
    path() {
      const names: string[] = []
      for (let at = handle; at.parent !== undefined; at = at.parent) names.push(at.name)
      return names.reverse()
    },
    share: () => more(handle),
    release: () => handles.leave(handle),
  }
  handleOf.set(node, handle)
  return node
}

/**
 * Shares a folder.
 * @param folder - its path; links in it are followed, once, here
 * @throws the system's error when it can't be opened, or when this system has no `/proc/self/fd`
 */
export const openHostFiles = (folder: string, writable: boolean): HostFiles => {
  const numbers = createFileNumbers()
  const handles = openHandles(folder, numbers)
  const share: Share = { handles, numbers }
  const { root } = handles
  return {
    writable,
    root() {
      root.users += 1
      return nodeOf(share, root)
    },
    statistics() {
      const descriptor = handles.descriptor(root)
      if (failed(descriptor)) return descriptor
      return attempt(() => {
        const { bsize, blocks, bfree, bavail, files, ffree } = statfsSync(behind(descriptor), { bigint: true })
        return { blockSize: Number(bsize), blocks, free: bfree, available: bavail, files, filesFree: ffree }
      })
    },
    snapshot: () => numbers.snapshot(),
    restore: (saved) => handles.renumber(saved),
    close: () => handles.close(),
  }
}
