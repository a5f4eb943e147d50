/** A tree in memory as data that JSON can carry, and back. */
import { failed } from './errno.ts'
import { MODE } from './files.ts'
import type { Inode, Inodes } from './memory-inodes.ts'
import { NinePSnapshotError } from './snapshot.ts'

/** One file; folders come before what they hold. Times are decimal. */
interface SavedInode {
  readonly number: number
  readonly parent: number
  readonly name: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly times: readonly [accessed: string, modified: string, changed: string]
  /** A file's content in base64, a link's target, or empty. */
  readonly content: string
}

/** A tree. The root has number 1 and stands first. */
export interface MemoryFilesSnapshot {
  readonly next: number
  readonly files: readonly SavedInode[]
}

const toBase64 = (bytes: Uint8Array): string => {
  let text = ''
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
  return btoa(text)
}

const saveInode = (inode: Inode): SavedInode => ({
  number: inode.number,
  parent: inode.parent?.number ?? 0,
  name: inode.name,
  mode: inode.mode,
  uid: inode.uid,
  gid: inode.gid,
  times: [String(inode.accessed), String(inode.modified), String(inode.changed)],
  content: inode.kind === 'file'
    ? toBase64(inode.data.subarray(0, inode.size))
    : inode.kind === 'link' ? inode.target : '',
})

/** The tree as data. */
export function saveInodes(inodes: Inodes): MemoryFilesSnapshot {
  const files: SavedInode[] = []
  const folders: Inode[] = [inodes.root]
  files.push(saveInode(inodes.root))
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    if (folder.kind !== 'directory') continue
    for (const inode of folder.entries.values()) {
      files.push(saveInode(inode))
      folders.push(inode)
    }
  }
  return { next: inodes.next(), files }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const isSaved = (value: unknown): value is SavedInode => {
  if (!isRecord(value)) return false
  const { number, parent, name, mode, uid, gid, times, content } = value
  return [number, parent, mode, uid, gid].every(isCount) && typeof name === 'string' && typeof content === 'string'
    && Array.isArray(times) && times.length === 3
    && times.every((time) => typeof time === 'string' && /^-?\d{1,30}$/.test(time))
}

const bytesOf = (base64: string): Uint8Array | undefined => {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))
  } catch {
    return undefined
  }
}

const kindOf = (mode: number): Inode['kind'] | undefined =>
  ({ [MODE.DIRECTORY]: 'directory', [MODE.FILE]: 'file', [MODE.SYMLINK]: 'link' } as const)[mode & MODE.KIND]

function setAttributes(inode: Inode, { mode, uid, gid, times }: SavedInode): void {
  const [accessed, modified, changed] = times.map(BigInt)
  Object.assign(inode, { mode, uid, gid, accessed, modified, changed })
}

function restoreOne(inodes: Inodes, known: Map<number, Inode>, saved: SavedInode, at: string): void {
  const folder = known.get(saved.parent)
  const kind = kindOf(saved.mode)
  if (folder === undefined) throw new NinePSnapshotError(`${at}.parent`, 'a folder that stands before it')
  if (kind === undefined) throw new NinePSnapshotError(`${at}.mode`, 'a file, a directory or a link')
  if (known.has(saved.number)) throw new NinePSnapshotError(`${at}.number`, 'a number of its own')
  const { number, name, mode, content } = saved
  if (['', '.', '..'].includes(name) || /[/\0]/.test(name)) throw new NinePSnapshotError(`${at}.name`, 'a name')
  const inode = inodes.restore(folder, { number, name, kind, mode, target: kind === 'link' ? content : '' })
  if (failed(inode)) throw new NinePSnapshotError(at, 'a name of its own in a folder, and room for it')
  known.set(number, inode)
  if (inode.kind !== 'file') return
  const bytes = bytesOf(content)
  if (bytes === undefined) throw new NinePSnapshotError(`${at}.content`, 'base64')
  if (inodes.resize(inode, bytes.length) !== undefined) {
    throw new NinePSnapshotError(at, 'a content that there is room for')
  }
  inode.data.set(bytes)
}

/** Fills a tree from a snapshot. */
export function restoreInodes(inodes: Inodes, saved: unknown): void {
  if (!isRecord(saved) || !isCount(saved.next)) throw new NinePSnapshotError('next', 'a number')
  if (!Array.isArray(saved.files) || !saved.files.every(isSaved)) {
    throw new NinePSnapshotError('files', 'a list of files')
  }
  const [root, ...rest] = saved.files as readonly SavedInode[]
  if (root?.number !== 1) throw new NinePSnapshotError('files[0].number', '1, the root')
  if (kindOf(root.mode) !== 'directory') throw new NinePSnapshotError('files[0].mode', 'a directory')
  inodes.clear(saved.next)
  const known = new Map<number, Inode>([[1, inodes.root]])
  rest.forEach((one, i) => { restoreOne(inodes, known, one, `files[${i + 1}]`) })
  for (const one of saved.files as readonly SavedInode[]) {
    const inode = known.get(one.number)
    if (inode !== undefined) setAttributes(inode, one)
  }
}
