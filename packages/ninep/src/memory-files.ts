/** A tree of files in memory: for pages, which have no folders, and for tests. */
import { fail, failed, type Answer, type Done } from './errno.ts'
import { MODE, qidType } from './files.ts'
import type {
  AttributeChange, Attributes, NinePFile, NinePFiles, NinePNode, OpenOptions, Qid,
} from './files.ts'
import { restoreInodes, saveInodes, type MemoryFilesSnapshot } from './memory-snapshot.ts'
import { createInodes, isAbove, type Inode, type Inodes } from './memory-inodes.ts'

/** What a file is given as: its content, or a symbolic link. */
export type MemoryEntry = string | Uint8Array | { readonly link: string }

/** Options of {@link createMemoryFiles}. */
export interface MemoryFilesOptions {
  /** Contents by path (`folder/name`); folders come by themselves. Text is UTF-8. */
  readonly entries?: Readonly<Record<string, MemoryEntry>>
  /** Default false. */
  readonly writable?: boolean
  /** Bytes that all files together may take, with 256 for each, default 64 MiB; then ENOSPC. */
  readonly capacity?: number
  /** Nanoseconds since 1970, default always 0. */
  readonly now?: () => bigint
}

/** A tree in memory. */
export interface MemoryFiles extends NinePFiles {
  /** A file's content, undefined when there is no regular file at that path. */
  content(path: string): Uint8Array | undefined
  /** Bytes taken. */
  used(): number
  /** The whole tree as data that JSON can carry; a file that was removed while it is open is not in it. */
  snapshot(): MemoryFilesSnapshot
  /** @throws NinePSnapshotError for a snapshot that is none, or does not fit the capacity; then the tree is empty */
  restore(saved: unknown): void
}

const qidOf = ({ number, mode }: Inode): Qid => ({ type: qidType(mode), version: 0, path: BigInt(number) })

const attributesOf = (inode: Inode): Attributes => {
  const size = BigInt(inode.kind === 'link' ? inode.target.length : inode.kind === 'file' ? inode.size : 0)
  return {
    qid: qidOf(inode), mode: inode.mode, uid: inode.uid, gid: inode.gid, size,
    links: inode.parent === undefined && inode.number !== 1 ? 0n : 1n,
    blockSize: 4096n, blocks: (size + 511n) / 512n,
    accessed: inode.accessed, modified: inode.modified, changed: inode.changed,
  }
}

function openFile(inodes: Inodes, inode: Inode, options: OpenOptions): Answer<NinePFile> {
  if (inode.kind !== 'file') return fail('EACCES')
  if (options.truncate) inodes.resize(inode, 0)
  inode.users += 1
  return {
    read(offset, into) {
      const part = inode.data.subarray(Math.min(offset, inode.size), Math.min(inode.size, offset + into.length))
      into.set(part)
      return part.length
    },
    write(given, bytes) {
      const offset = options.append ? inode.size : given
      const grown = offset + bytes.length > inode.size ? inodes.resize(inode, offset + bytes.length) : undefined
      if (failed(grown)) return grown
      inode.data.set(bytes, offset)
      inodes.touch(inode)
      return bytes.length
    },
    sync: () => undefined,
    close: () => inodes.leave(inode),
  }
}

/** Whether `moved` may take the place of `there`, as rename(2) has it. */
function mayReplace(moved: Inode, there: Inode | undefined): Done {
  if (there === undefined) return undefined
  if (there.kind === 'directory') {
    if (moved.kind !== 'directory') return fail('EISDIR')
    return there.entries.size > 0 ? fail('ENOTEMPTY') : undefined
  }
  return moved.kind === 'directory' ? fail('ENOTDIR') : undefined
}

function change(inodes: Inodes, inode: Inode, asked: AttributeChange): Done {
  if (asked.size !== undefined) {
    if (inode.kind !== 'file') return fail(inode.kind === 'directory' ? 'EISDIR' : 'EINVAL')
    const done = inodes.resize(inode, asked.size)
    if (done !== undefined) return done
  }
  const now = inodes.now()
  if (asked.mode !== undefined) inode.mode = (inode.mode & MODE.KIND) | asked.mode
  if (asked.uid !== undefined) inode.uid = asked.uid
  if (asked.gid !== undefined) inode.gid = asked.gid
  if (asked.accessed !== undefined) inode.accessed = asked.accessed === 'now' ? now : asked.accessed
  if (asked.modified !== undefined) inode.modified = asked.modified === 'now' ? now : asked.modified
  inode.changed = now
  return undefined
}

/** The inode behind each node, so that a node can be handed back to this tree. */
const inodeOf = new WeakMap<NinePNode, Inode>()

function nodeOf(inodes: Inodes, inode: Inode): NinePNode {
  inode.users += 1
  const entry = (name: string): Answer<Inode> => {
    if (inode.kind !== 'directory') return fail('ENOTDIR')
    return inode.entries.get(name) ?? fail('ENOENT')
  }
  const remove = (name: string, kind: 'directory' | 'file'): Done => {
    const there = entry(name)
    if (failed(there)) return there
    if (kind === 'directory' && there.kind !== 'directory') return fail('ENOTDIR')
    if (kind === 'file' && there.kind === 'directory') return fail('EISDIR')
    if (there.kind === 'directory' && there.entries.size > 0) return fail('ENOTEMPTY')
    inodes.detach(there)
    return undefined
  }
  const rename = (name: string, folder: NinePNode, newName: string): Done => {
    const moved = entry(name)
    if (failed(moved)) return moved
    const to = inodeOf.get(folder)
    if (to?.kind !== 'directory') return fail('EXDEV')
    if (isAbove(moved, to)) return fail('EINVAL')
    if (to !== inodes.root && to.parent === undefined) return fail('ENOENT')
    const there = to.entries.get(newName)
    if (there === moved) return undefined
    const refused = mayReplace(moved, there)
    if (refused !== undefined) return refused
    if (there !== undefined) inodes.detach(there)
    inodes.move(moved, to, newName)
    return undefined
  }
  const node: NinePNode = {
    qid: qidOf(inode),
    attributes: () => attributesOf(inode),
    child(name) {
      const there = entry(name)
      return failed(there) ? there : nodeOf(inodes, there)
    },
    lookAt(name) {
      const there = entry(name)
      return failed(there) ? there : { qid: qidOf(there), mode: there.mode }
    },
    list(limit) {
      if (inode.kind !== 'directory') return fail('ENOTDIR')
      return inode.entries.size > limit ? fail('ENOMEM') : [...inode.entries.keys()].sort()
    },
    readLink: () => (inode.kind === 'link' ? inode.target : fail('EINVAL')),
    open: (options) => openFile(inodes, inode, options),
    create(name, mode, options) {
      const made = inodes.add(inode, name, 'file', mode)
      if (failed(made)) return made
      const child = nodeOf(inodes, made)
      const file = openFile(inodes, made, options)
      return failed(file) ? file : { node: child, file }
    },
    makeDirectory(name, mode) {
      const made = inodes.add(inode, name, 'directory', mode)
      return failed(made) ? made : qidOf(made)
    },
    makeSymlink(name, target) {
      const made = inodes.add(inode, name, 'link', 0o777, target)
      return failed(made) ? made : qidOf(made)
    },
    set: (asked) => change(inodes, inode, asked),
    rename,
    remove,
    place() {
      if (inode.parent === undefined) return fail(inode === inodes.root ? 'EBUSY' : 'ENOENT')
      return { folder: nodeOf(inodes, inode.parent), name: inode.name }
    },
    path() {
      const names: string[] = []
      for (let at = inode; at.parent !== undefined; at = at.parent) names.unshift(at.name)
      return names
    },
    share: () => nodeOf(inodes, inode),
    release: () => inodes.leave(inode),
  }
  inodeOf.set(node, inode)
  return node
}

function place(inodes: Inodes, path: string, entry: MemoryEntry): void {
  const names = path.split('/').filter((name) => name !== '')
  const last = names.pop()
  if (last === undefined || names.concat(last).some((name) => name === '.' || name === '..' || name.includes('\0'))) {
    throw new Error(`memory files: '${path}': expected names with '/' between them, without '.' and '..'`)
  }
  let folder: Inode = inodes.root
  for (const name of names) {
    const there: Answer<Inode> = (folder.kind === 'directory' ? folder.entries.get(name) : undefined)
      ?? inodes.add(folder, name, 'directory', 0o755)
    if (failed(there)) throw new Error(`memory files: '${path}': expected folders on the way`)
    folder = there
  }
  const isLink = typeof entry === 'object' && 'link' in entry
  const made = isLink ? inodes.add(folder, last, 'link', 0o777, entry.link) : inodes.add(folder, last, 'file', 0o644)
  if (failed(made)) throw new Error(`memory files: '${path}': expected a place that is free, and room`)
  if (isLink || made.kind !== 'file') return
  const bytes = typeof entry === 'string' ? new TextEncoder().encode(entry) : entry
  if (inodes.resize(made, bytes.length) !== undefined) throw new Error(`memory files: '${path}': expected room for it`)
  made.data.set(bytes)
}

/**
 * Creates a tree.
 * @throws Error for an entry that can't be placed
 */
export function createMemoryFiles(options: MemoryFilesOptions = {}): MemoryFiles {
  const { entries = {}, writable = false, capacity = 2 ** 26, now = () => 0n } = options
  const inodes = createInodes({ capacity, now })
  for (const [path, entry] of Object.entries(entries)) place(inodes, path, entry)
  return {
    writable,
    root: () => nodeOf(inodes, inodes.root),
    statistics() {
      const blocks = BigInt(Math.floor(capacity / 4096))
      const free = BigInt(Math.floor((capacity - inodes.used()) / 4096))
      return { blockSize: 4096, blocks, free, available: free, files: BigInt(inodes.count()), filesFree: free }
    },
    content(path) {
      let at: Inode | undefined = inodes.root
      for (const name of path.split('/').filter((part) => part !== '')) {
        at = at?.kind === 'directory' ? at.entries.get(name) : undefined
      }
      return at?.kind === 'file' ? at.data.slice(0, at.size) : undefined
    },
    used: () => inodes.used(),
    snapshot: () => saveInodes(inodes),
    restore: (saved) => restoreInodes(inodes, saved),
  }
}
