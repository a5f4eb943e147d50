/** The port to the files that a server serves: an operating system's folder, a tree in memory, or anything else. */
import type { Answer, Done } from './errno.ts'

/** What a server says of a file's identity (9P2000: intro(5), "qid"). */
export interface Qid {
  /** {@link QID} bits. */
  readonly type: number
  /** Changes when the content does; 0 where nobody knows. */
  readonly version: number
  /** 64 bits that no other file of the server has, and that a rename does not change. */
  readonly path: bigint
}

/** Bits of a qid's type. */
export const QID = { FILE: 0, SYMLINK: 0x02, DIRECTORY: 0x80 } as const

/** Bits of a mode that say the kind of a file (inode(7)). */
export const MODE = {
  KIND: 0o170000, FIFO: 0o010000, CHARACTER: 0o020000, DIRECTORY: 0o040000, BLOCK: 0o060000, FILE: 0o100000,
  SYMLINK: 0o120000, SOCKET: 0o140000, PERMISSIONS: 0o7777,
} as const

/** The type of a qid by the mode of its file. */
export const qidType = (mode: number): number => {
  const kind = mode & MODE.KIND
  return kind === MODE.DIRECTORY ? QID.DIRECTORY : kind === MODE.SYMLINK ? QID.SYMLINK : QID.FILE
}

/** What stat(2) tells. Times are nanoseconds since 1970. */
export interface Attributes {
  readonly qid: Qid
  /** Kind and permissions, as Linux has them. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly links: bigint
  readonly size: bigint
  /** Bytes that reads and writes are best done in. */
  readonly blockSize: bigint
  /** Units of 512 bytes. */
  readonly blocks: bigint
  readonly accessed: bigint
  readonly modified: bigint
  readonly changed: bigint
}

/** What is to change; what is absent stays. */
export interface AttributeChange {
  /** The lower 12 bits of a mode. */
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  /** Bytes, 0 to 2⁵³ − 1. */
  readonly size?: number
  /** Nanoseconds since 1970, or the time of the change. */
  readonly accessed?: bigint | 'now'
  readonly modified?: bigint | 'now'
}

/** What a file is opened for. */
export interface OpenOptions {
  readonly read: boolean
  readonly write: boolean
  /** Empty the file; only with `write`. */
  readonly truncate: boolean
  /** Writes go to the end, wherever they are meant to. */
  readonly append: boolean
}

/** An open file. Offsets are 0 to 2⁵³ − 1. */
export interface NinePFile {
  /** Fills the start of `into` from `offset`; answers how many bytes there were, 0 at the end. */
  read(offset: number, into: Uint8Array): Answer<number>
  /** Answers how many bytes were written. The bytes are only valid during the call. */
  write(offset: number, bytes: Uint8Array): Answer<number>
  /** Returns when the file's content has reached the medium. */
  sync(dataOnly: boolean): Done
  close(): void
}

/**
 * A file of any kind. Names are never empty, `.` or `..`, hold no `/` and no NUL, and are at most 255 bytes of UTF-8:
 * the server has checked them. Nothing follows a symbolic link.
 */
export interface NinePNode {
  readonly qid: Qid
  attributes(): Answer<Attributes>
  /** The file of that name in this directory; to be released. */
  child(name: string): Answer<NinePNode>
  /** Identity and mode of the file of that name, as a listing shows them. */
  lookAt(name: string): Answer<{ readonly qid: Qid; readonly mode: number }>
  /** The names in this directory, in the same order every time; ENOMEM when there are more than `limit`. */
  list(limit: number): Answer<readonly string[]>
  /** Where this symbolic link points. */
  readLink(): Answer<string>
  /** Opens a regular file. Anything else is refused. */
  open(options: OpenOptions): Answer<NinePFile>
  /** Makes a regular file that is not there yet, and opens it. The node is to be released. */
  create(
    name: string, mode: number, options: OpenOptions,
  ): Answer<{ readonly node: NinePNode; readonly file: NinePFile }>
  makeDirectory(name: string, mode: number): Answer<Qid>
  makeSymlink(name: string, target: string): Answer<Qid>
  set(change: AttributeChange): Done
  /** Moves the file `name` of this directory to `newName` of `folder`, over what is there if it can be replaced. */
  rename(name: string, folder: NinePNode, newName: string): Done
  remove(name: string, kind: 'directory' | 'file'): Done
  /** The directory that holds this file now, to be released, and its name there. */
  place(): Answer<{ readonly folder: NinePNode; readonly name: string }>
  /** Names from the root; empty for the root. What a snapshot finds the file again by. */
  path(): readonly string[]
  /** The same file for one user more; to be released as well. */
  share(): NinePNode
  /** The server needs this node no more. Called once for each time that it was given or shared. */
  release(): void
}

/** What statfs(2) tells. */
export interface FileSystemState {
  readonly blockSize: number
  readonly blocks: bigint
  readonly free: bigint
  readonly available: bigint
  readonly files: bigint
  readonly filesFree: bigint
}

/** A tree of files. */
export interface NinePFiles {
  /** False: the server refuses every change with EROFS before it comes here. */
  readonly writable: boolean
  /** The directory that clients attach to; to be released. */
  root(): Answer<NinePNode>
  statistics(): Answer<FileSystemState>
  /** What a session needs to find its files as they were, beside their paths: data that JSON can carry. */
  snapshot?(): object
  /** Called with that before files are looked for. @throws Error for data that is none */
  restore?(saved: unknown): void
}
