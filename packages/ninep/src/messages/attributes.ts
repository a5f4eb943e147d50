/** Attributes of files and of the file system: Tgetattr, Tsetattr, Tstatfs; there are no extended ones. */
import { fail, failed, type Answer } from '../errno.ts'
import type { AttributeChange } from '../files.ts'
import { message } from '../message.ts'
import { LONGEST_NAME, type Values } from '../wire.ts'

/** Bits of Rgetattr's `valid` for everything that stat(2) has (P9_STATS_BASIC). */
const BASIC = 0x7ffn
const SECOND = 1_000_000_000n

/** Seconds and nanoseconds; the second part is never negative. */
const split = (time: bigint): [bigint, bigint] => {
  const rest = ((time % SECOND) + SECOND) % SECOND
  return [(time - rest) / SECOND, rest]
}

/** Tgetattr: all that stat(2) has, whatever is asked for. Devices of the host are told without their numbers. */
export const tgetattr = message({
  type: 24,
  name: 'Tgetattr',
  request: { fid: 'u32', mask: 'u64' },
  reply: {
    valid: 'u64', qid: 'qid', mode: 'u32', uid: 'u32', gid: 'u32', nlink: 'u64', rdev: 'u64', size: 'u64',
    blksize: 'u64', blocks: 'u64', atimeSec: 'u64', atimeNsec: 'u64', mtimeSec: 'u64', mtimeNsec: 'u64',
    ctimeSec: 'u64', ctimeNsec: 'u64', btimeSec: 'u64', btimeNsec: 'u64', gen: 'u64', dataVersion: 'u64',
  },
  serve({ fids }, { fid: number }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    const found = fid.node.attributes()
    if (failed(found)) return found
    const { qid, mode, uid, gid } = found
    const [atimeSec, atimeNsec] = split(found.accessed)
    const [mtimeSec, mtimeNsec] = split(found.modified)
    const [ctimeSec, ctimeNsec] = split(found.changed)
    return {
      valid: BASIC, qid, mode, uid, gid, nlink: found.links, rdev: 0n, size: found.size, blksize: found.blockSize,
      blocks: found.blocks, atimeSec, atimeNsec, mtimeSec, mtimeNsec, ctimeSec, ctimeNsec, btimeSec: 0n,
      btimeNsec: 0n, gen: 0n, dataVersion: 0n,
    }
  },
})

/** Bits of Tsetattr's `valid` (Linux: P9_ATTR_*). */
const SET = {
  MODE: 1, UID: 2, GID: 4, SIZE: 8, ATIME: 0x10, MTIME: 0x20, CTIME: 0x40, ATIME_SET: 0x80, MTIME_SET: 0x100,
  ALL: 0x1ff,
} as const

const request = {
  fid: 'u32', valid: 'u32', mode: 'u32', uid: 'u32', gid: 'u32', size: 'u64', atimeSec: 'u64', atimeNsec: 'u64',
  mtimeSec: 'u64', mtimeNsec: 'u64',
} as const

const timeOf = (seconds: bigint, nanoseconds: bigint): Answer<bigint> =>
  nanoseconds < SECOND ? BigInt.asIntN(64, seconds) * SECOND + nanoseconds : fail('EINVAL')

/** What a request asks for, as the port has it. */
function changeOf(asked: Values<typeof request>): Answer<AttributeChange> {
  const has = (bit: number): boolean => (asked.valid & bit) !== 0
  if ((asked.valid & ~SET.ALL) !== 0) return fail('EINVAL')
  if (has(SET.SIZE) && asked.size > BigInt(Number.MAX_SAFE_INTEGER)) return fail('EFBIG')
  const accessed = has(SET.ATIME_SET) ? timeOf(asked.atimeSec, asked.atimeNsec) : 'now'
  const modified = has(SET.MTIME_SET) ? timeOf(asked.mtimeSec, asked.mtimeNsec) : 'now'
  if (failed(accessed)) return accessed
  if (failed(modified)) return modified
  return {
    ...(has(SET.MODE) && { mode: asked.mode & 0o7777 }),
    ...(has(SET.UID) && { uid: asked.uid }),
    ...(has(SET.GID) && { gid: asked.gid }),
    ...(has(SET.SIZE) && { size: Number(asked.size) }),
    ...(has(SET.ATIME) && { accessed }),
    ...(has(SET.MTIME) && { modified }),
  }
}

/** Tsetattr: mode, owner, size, times. A change of the status-change time alone happens by itself. */
export const tsetattr = message({
  type: 26,
  name: 'Tsetattr',
  request,
  reply: {},
  changes: true,
  serve({ fids }, asked) {
    const fid = fids.get(asked.fid)
    if (failed(fid)) return fid
    const change = changeOf(asked)
    if (failed(change)) return change
    return fid.node.set(change) ?? {}
  },
})

/** Magic number of 9p in statfs(2) (V9FS_MAGIC). */
const MAGIC = 0x0102_1997

export const tstatfs = message({
  type: 8,
  name: 'Tstatfs',
  request: { fid: 'u32' },
  reply: {
    type: 'u32', bsize: 'u32', blocks: 'u64', bfree: 'u64', bavail: 'u64', files: 'u64', ffree: 'u64', fsid: 'u64',
    namelen: 'u32',
  },
  serve({ fids, files }, { fid: number }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    const state = files.statistics()
    if (failed(state)) return state
    return {
      type: MAGIC, bsize: state.blockSize, blocks: state.blocks, bfree: state.free, bavail: state.available,
      files: state.files, ffree: state.filesFree, fsid: 0n, namelen: LONGEST_NAME,
    }
  },
})

export const txattrwalk = message({
  type: 30,
  name: 'Txattrwalk',
  request: { fid: 'u32', newfid: 'u32', name: 'text' },
  reply: { size: 'u64' },
  serve: () => fail('EOPNOTSUPP'),
})

export const txattrcreate = message({
  type: 32,
  name: 'Txattrcreate',
  request: { fid: 'u32', name: 'text', size: 'u64', flags: 'u32' },
  reply: {},
  changes: true,
  serve: () => fail('EOPNOTSUPP'),
})
