/** Files, directories and links in memory, with what they take. */
import { fail, type Answer, type Done } from './errno.ts'
import { MODE } from './files.ts'

interface Common {
  readonly number: number
  mode: number
  uid: number
  gid: number
  accessed: bigint
  modified: bigint
  changed: bigint
  /** The directory that holds it; none for the root and for what was removed. */
  parent: Inode | undefined
  name: string
  /** Nodes and open files that stand for it. */
  users: number
}

/** One file of any kind. */
export type Inode = Common & (
  /** `data` may be longer than the file; what lies behind its end is 0. */
  | { readonly kind: 'file'; data: Uint8Array; size: number }
  | { readonly kind: 'directory'; readonly entries: Map<string, Inode> }
  | { readonly kind: 'link'; readonly target: string }
)

/** All files of a tree. */
export interface Inodes {
  readonly root: Inode
  now(): bigint
  used(): number
  count(): number
  add(folder: Inode, name: string, kind: Inode['kind'], mode: number, target?: string): Answer<Inode>
  /** New bytes are 0. */
  resize(file: Extract<Inode, { kind: 'file' }>, size: number): Done
  /** Its content was changed. */
  touch(inode: Inode): void
  /** Takes it out of its directory; its memory is free when nobody uses it. */
  detach(inode: Inode): void
  move(inode: Inode, to: Inode, name: string): void
  /** One user less. */
  leave(inode: Inode): void
  /** Everything goes; numbers go on at `from`. */
  clear(from: number): void
  /** The number of the next file. */
  next(): number
  /** Puts a file back that had a number before. */
  restore(folder: Inode, saved: { readonly number: number; readonly name: string } & Made): Answer<Inode>
}

/** What a new file is made from. */
export interface Made {
  readonly kind: Inode['kind']
  readonly mode: number
  readonly target: string
}

/** What a file takes beside its content, in bytes of the capacity. */
const OVERHEAD = 256

/** Whether `upper` is `lower` or a directory above it. */
export function isAbove(upper: Inode, lower: Inode): boolean {
  for (let at: Inode | undefined = lower; at !== undefined; at = at.parent) if (at === upper) return true
  return false
}

/** Creates an empty root directory. */
export function createInodes({ capacity, now }: { readonly capacity: number; readonly now: () => bigint }): Inodes {
  let used = 0
  let count = 0
  let next = 2

  const make = ({ kind, mode, target }: Made, number: number): Inode => {
    const time = now()
    const common: Common = {
      number, mode, uid: 0, gid: 0, accessed: time, modified: time, changed: time, parent: undefined, name: '',
      users: 0,
    }
    if (kind === 'directory') return { ...common, kind, mode: mode | MODE.DIRECTORY, entries: new Map() }
    if (kind === 'link') return { ...common, kind, mode: mode | MODE.SYMLINK, target }
    return { ...common, kind, mode: mode | MODE.FILE, data: new Uint8Array(), size: 0 }
  }
  const costOf = (inode: Inode): number => {
    const own = inode.kind === 'file' ? inode.data.length : inode.kind === 'link' ? 2 * inode.target.length : 0
    return OVERHEAD + 2 * inode.name.length + own
  }
  const freeIfUnused = (inode: Inode): void => {
    if (inode.users > 0 || inode.parent !== undefined || inode === root) return
    used -= costOf(inode)
    count -= 1
  }
  const touch = (inode: Inode): void => {
    inode.modified = now()
    inode.changed = inode.modified
  }
  const put = (inode: Inode, folder: Inode, name: string): void => {
    if (folder.kind !== 'directory') return
    inode.parent = folder
    inode.name = name
    folder.entries.set(name, inode)
    touch(folder)
  }
  const takeOut = (inode: Inode): void => {
    const { parent } = inode
    if (parent?.kind === 'directory') {
      parent.entries.delete(inode.name)
      touch(parent)
    }
    inode.parent = undefined
  }

  const addNew = (folder: Inode, name: string, made: Made, number: number): Answer<Inode> => {
    if (folder.kind !== 'directory') return fail('ENOTDIR')
    if (folder !== root && folder.parent === undefined) return fail('ENOENT')
    if (folder.entries.has(name)) return fail('EEXIST')
    const cost = OVERHEAD + 2 * (name.length + made.target.length)
    if (used + cost > capacity) return fail('ENOSPC')
    const inode = make(made, number)
    used += cost
    count += 1
    put(inode, folder, name)
    return inode
  }

  const root = make({ kind: 'directory', mode: 0o755, target: '' }, 1)
  return {
    root,
    now,
    used: () => used,
    count: () => count,
    add: (folder, name, kind, mode, target = '') => addNew(folder, name, { kind, mode, target }, next++),
    restore: (folder, saved) => addNew(folder, saved.name, saved, saved.number),
    next: () => next,
    clear(from) {
      if (root.kind === 'directory') root.entries.clear()
      used = 0
      count = 0
      next = from
    },
    resize(file, size) {
      if (size > file.data.length) {
        // half as much again, so that a file that grows byte by byte is not copied each time
        const wanted = Math.max(size, Math.min(Math.ceil(file.data.length * 1.5), file.data.length + capacity - used))
        if (used + wanted - file.data.length > capacity) return fail('ENOSPC')
        used += wanted - file.data.length
        const data = new Uint8Array(wanted)
        data.set(file.data)
        file.data = data
      } else if (size === 0) {
        used -= file.data.length
        file.data = new Uint8Array()
      } else file.data.fill(0, size, Math.max(size, file.size))
      file.size = size
      touch(file)
      return undefined
    },
    touch,
    detach(inode) {
      takeOut(inode)
      inode.changed = now()
      freeIfUnused(inode)
    },
    move(inode, to, name) {
      takeOut(inode)
      used += 2 * (name.length - inode.name.length)
      put(inode, to, name)
      inode.changed = now()
    },
    leave(inode) {
      inode.users -= 1
      freeIfUnused(inode)
    },
  }
}
