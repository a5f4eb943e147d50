/** What a session is between two requests: the fids and where their files are. */
import { fail, failed, type Answer } from './errno.ts'
import type { Fid } from './fids.ts'
import type { NinePNode, OpenOptions, Qid } from './files.ts'
import type { Session } from './message.ts'

/** Bytes of a path that a snapshot holds; a file that lies deeper is lost. */
const LONGEST_PATH = 4096

interface SavedQid {
  readonly type: number
  readonly version: number
  /** Decimal. */
  readonly path: string
}

/** A fid: `opened` is "no", "directory", or "file" with what it is open for: r, w, a. */
interface SavedFid {
  readonly fid: number
  readonly path: readonly string[]
  readonly qid: SavedQid
  readonly parent: SavedQid
  readonly opened: string
}

/** A session as data that JSON can carry. Files are named by their paths from the root. */
export interface NinePSnapshot {
  readonly msize: number
  readonly fids: readonly SavedFid[]
  /** What the tree saves of itself; null when it saves nothing. */
  readonly files: object | null
}

/** A snapshot that is none. */
export class NinePSnapshotError extends Error {
  readonly field: string

  constructor(field: string, expected: string) {
    super(`9p: snapshot field '${field}': expected ${expected}`)
    this.name = 'NinePSnapshotError'
    this.field = field
  }
}

const saveQid = ({ type, version, path }: Qid): SavedQid => ({ type, version, path: path.toString() })

const letters = ({ read, write, append }: OpenOptions): string =>
  `${read ? 'r' : ''}${write ? 'w' : ''}${append ? 'a' : ''}`

const saveFid = ({ number, node, parent, opened }: Fid): SavedFid => ({
  fid: number,
  path: node.path(),
  qid: saveQid(node.qid),
  parent: saveQid(parent),
  opened: opened === undefined ? 'no' : opened.kind === 'file' ? `file ${letters(opened.options)}` : 'directory',
})

/** The session as data. */
export const saveFids = ({ msize, fids, files }: Session): NinePSnapshot => ({
  msize,
  files: files.snapshot?.() ?? null,
  fids: [...fids.all()].sort((a, b) => a.number - b.number).map(saveFid),
})

type Loose = Readonly<Record<string, unknown>>

const isRecord = (value: unknown): value is Loose => typeof value === 'object' && value !== null
const isInteger = (value: unknown, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most

function checkQid(value: unknown, field: string): Qid {
  if (!isRecord(value)) throw new NinePSnapshotError(field, 'a record')
  const { type, version, path } = value
  if (!isInteger(type, 255)) throw new NinePSnapshotError(`${field}.type`, '0 to 255')
  if (!isInteger(version, 2 ** 32 - 1)) throw new NinePSnapshotError(`${field}.version`, '32 bits')
  if (typeof path !== 'string' || !/^\d{1,20}$/.test(path)) throw new NinePSnapshotError(`${field}.path`, 'a number')
  return { type, version, path: BigInt(path) }
}

const isName = (name: unknown): name is string =>
  typeof name === 'string' && !['', '.', '..'].includes(name) && !/[/\0]/.test(name)

interface CheckedFid {
  readonly number: number
  readonly path: readonly string[]
  readonly qid: Qid
  readonly parent: Qid
  readonly opened: string
}

function checkFid(value: unknown, at: string): CheckedFid {
  if (!isRecord(value)) throw new NinePSnapshotError(at, 'a record')
  const { fid, path, opened } = value
  if (!isInteger(fid, 2 ** 32 - 2)) throw new NinePSnapshotError(`${at}.fid`, 'a 32-bit number')
  if (!Array.isArray(path) || !path.every(isName)) throw new NinePSnapshotError(`${at}.path`, 'a list of names')
  if (typeof opened !== 'string' || !/^(no|directory|file r?w?a?)$/.test(opened)) {
    throw new NinePSnapshotError(`${at}.opened`, "'no', 'directory' or 'file' with r, w, a")
  }
  const [qid, parent] = [checkQid(value.qid, `${at}.qid`), checkQid(value.parent, `${at}.parent`)]
  return { number: fid, path, opened, qid, parent }
}

interface Checked {
  readonly msize: number
  readonly fids: readonly CheckedFid[]
  readonly files: unknown
}

function check(saved: unknown, largest: number): Checked {
  if (!isRecord(saved)) throw new NinePSnapshotError('', 'a record')
  if (!isInteger(saved.msize, largest)) throw new NinePSnapshotError('msize', `0 to ${largest}`)
  if (!Array.isArray(saved.fids)) throw new NinePSnapshotError('fids', 'a list')
  const fids = saved.fids.map((fid: unknown, i) => checkFid(fid, `fids[${i}]`))
  if (new Set(fids.map(({ number }) => number)).size < fids.length) {
    throw new NinePSnapshotError('fids', 'every number once')
  }
  return { msize: saved.msize, fids, files: saved.files }
}

/** What stands in for a file that is there no more. */
function lostNode(qid: Qid): NinePNode {
  const stale = (): Answer<never> => fail('ESTALE')
  const staleDone = () => fail('ESTALE')
  const node: NinePNode = {
    qid,
    attributes: stale, child: stale, lookAt: stale, list: stale, readLink: stale, open: stale, create: stale,
    makeDirectory: stale, makeSymlink: stale, set: staleDone, rename: staleDone, remove: staleDone, place: stale,
    path: () => [],
    share: () => node,
    release: () => undefined,
  }
  return node
}

/** The file at a path; ENOENT too when another file has taken its place. */
function find({ files }: Session, { path, qid }: CheckedFid): Answer<NinePNode> {
  if (path.reduce((sum, name) => sum + name.length + 1, 0) > LONGEST_PATH) return fail('ENAMETOOLONG')
  let node = files.root()
  for (const name of path) {
    if (failed(node)) return node
    const next = node.child(name)
    node.release()
    node = next
  }
  if (failed(node) || (node.qid.path === qid.path && node.qid.type === qid.type)) return node
  node.release()
  return fail('ENOENT')
}

/** Opens a fid as it was open. */
function reopen(session: Session, fid: Fid, opened: string): boolean {
  if (opened === 'directory') session.fids.open(fid, { kind: 'directory' })
  if (!opened.startsWith('file')) return true
  const has = (letter: string): boolean => opened.slice('file '.length).includes(letter)
  const options = { read: has('r'), write: has('w'), append: has('a'), truncate: false }
  if (options.write && !session.files.writable) return false
  const file = session.fids.roomToOpen() ? fid.node.open(options) : fail('EMFILE')
  if (failed(file)) return false
  session.fids.open(fid, { kind: 'file', file, options })
  return true
}

/** Brings a session back; answers the paths of files that are lost. */
export function restoreFids(session: Session, saved: unknown): string[] {
  const { msize, fids, files } = check(saved, session.largest)
  session.fids.clear()
  session.files.restore?.(files)
  session.msize = msize
  const lost: string[] = []
  for (const one of fids) {
    const node = find(session, one)
    const fid = session.fids.add(one.number, failed(node) ? lostNode(one.qid) : node, one.parent)
    if (failed(fid)) throw new NinePSnapshotError('fids', 'no more fids than this server has room for')
    const isBack = !failed(node) && reopen(session, fid, one.opened)
    if (isBack) continue
    if (!failed(node)) session.fids.replace(fid, lostNode(one.qid), one.parent)
    lost.push(`/${one.path.join('/')}`)
  }
  return lost
}
