/** The fids of a session: numbers by which a client names files. */
import { fail, failed, type Answer } from './errno.ts'
import type { NinePFile, NinePNode, OpenOptions, Qid } from './files.ts'

/** How a fid is open. */
export type Opened =
  | { readonly kind: 'file'; readonly file: NinePFile; readonly options: OpenOptions }
  /** `names`: the listing that reads go through, as long as there is room for it. */
  | { readonly kind: 'directory'; names?: readonly string[] | undefined }

/** One fid. */
export interface Fid {
  readonly number: number
  node: NinePNode
  /** The directory that it was found in: `..` of its listing. */
  parent: Qid
  opened?: Opened | undefined
}

/** What a client may hold at once; more is refused. */
export interface FidLimits {
  /** Fids, default 65536: Linux keeps one for each name in its cache. */
  readonly fids: number
  /** Open files, default 512: each may be a file descriptor of the host. */
  readonly openFiles: number
  /** Names in one listing, and in all that are kept, default 2²⁰. */
  readonly listedNames: number
}

/** The default limits. */
export const defaultLimits: FidLimits = { fids: 65_536, openFiles: 512, listedNames: 2 ** 20 }

/** The fids of one session. */
export interface FidTable {
  get(number: number): Answer<Fid>
  /** Whether `number` can be given to another file. */
  free(number: number): boolean
  /** Takes the node over, even when there is no room for it. */
  add(number: number, node: NinePNode, parent: Qid): Answer<Fid>
  /** Puts another node in place of a fid's. */
  replace(fid: Fid, node: NinePNode, parent: Qid): void
  /** Whether another file can be opened: otherwise EMFILE. */
  roomToOpen(): boolean
  open(fid: Fid, opened: Opened): void
  /** The names of a directory that is open; read anew when `afresh` or when they were dropped for others. */
  names(fid: Fid, afresh: boolean): Answer<readonly string[]>
  remove(fid: Fid): void
  clear(): void
  all(): IterableIterator<Fid>
}

/** Creates an empty table. */
export function createFidTable(limits: FidLimits): FidTable {
  const fids = new Map<number, Fid>()
  let openFiles = 0
  /** Directories with a listing, oldest first, and the sum of their names. */
  const listings = new Set<Fid>()
  let listed = 0

  const dropListing = (fid: Fid): void => {
    if (!listings.delete(fid) || fid.opened?.kind !== 'directory') return
    listed -= fid.opened.names?.length ?? 0
    fid.opened.names = undefined
  }
  const close = (fid: Fid): void => {
    dropListing(fid)
    if (fid.opened?.kind === 'file') {
      openFiles -= 1
      fid.opened.file.close()
    }
    fid.opened = undefined
  }
  const drop = (fid: Fid): void => {
    close(fid)
    fid.node.release()
  }

  return {
    get: (number) => fids.get(number) ?? fail('EBADF'),
    free: (number) => !fids.has(number),
    add(number, node, parent) {
      if (fids.has(number) || fids.size >= limits.fids) {
        node.release()
        return fail(fids.has(number) ? 'EBADF' : 'ENFILE')
      }
      const fid = { number, node, parent }
      fids.set(number, fid)
      return fid
    },
    replace(fid, node, parent) {
      drop(fid)
      fid.node = node
      fid.parent = parent
    },
    roomToOpen: () => openFiles < limits.openFiles,
    open(fid, opened) {
      fid.opened = opened
      if (opened.kind === 'file') openFiles += 1
    },
    names(fid, afresh) {
      if (fid.opened?.kind !== 'directory') return fail('EBADF')
      if (afresh) dropListing(fid)
      if (fid.opened.names !== undefined) return fid.opened.names
      const names = fid.node.list(limits.listedNames)
      if (failed(names)) return names
      for (const other of listings) if (listed + names.length > limits.listedNames) dropListing(other)
      fid.opened.names = names
      listings.add(fid)
      listed += names.length
      return names
    },
    remove(fid) {
      fids.delete(fid.number)
      drop(fid)
    },
    clear() {
      for (const fid of fids.values()) drop(fid)
      fids.clear()
    },
    all: () => fids.values(),
  }
}
