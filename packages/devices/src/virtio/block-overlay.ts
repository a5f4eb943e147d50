/**
 * Copy on write: what a guest writes goes to a store that remembers each sector, and the image below is only read. No
 * sector is ever copied from the image, so that a write that is lost with the host's power takes no neighbour along.
 */
import { type Plain, SnapshotError } from '../snapshot.ts'
import { BlockError, type BlockBackend, checkDiskSize, SECTOR } from './block-backend.ts'

/** Sectors that were written. Offsets and lengths are as `BlockBackend` has them; false is an I/O error or no room. */
export interface SectorStore {
  /** The bytes from `offset` on that are all held, or all not: their length, `length` at most, and which. */
  extent(offset: number, length: number): { readonly held: boolean, readonly length: number }
  /** Reads sectors that are held. */
  read(offset: number, target: Uint8Array): boolean
  write(offset: number, bytes: Uint8Array): boolean
  zero(offset: number, length: number): boolean
  /** True only when everything above is on stable storage. */
  flush(): boolean
  snapshot(): Plain
  /** @throws SnapshotError */
  restore(saved: Plain): void
}

/** Options of {@link createOverlay}. */
export interface OverlayOptions {
  readonly base: BlockBackend
  readonly store: SectorStore
}

/** A disk that reads like `base` and writes to `store`. */
export function createOverlay(options: OverlayOptions): BlockBackend {
  const { base, store } = options
  return {
    size: base.size,
    readOnly: false,
    read(offset, target) {
      for (let at = 0; at < target.length;) {
        const { held, length } = store.extent(offset + at, target.length - at)
        const from = held ? store : base
        if (!from.read(offset + at, target.subarray(at, at + length))) return false
        at += length
      }
      return true
    },
    write: (offset, bytes) => store.write(offset, bytes),
    flush: () => store.flush(),
    writeZeroes: (offset, length) => store.zero(offset, length),
    discard: () => true,
    snapshot: () => ({ base: base.snapshot(), written: store.snapshot() }),
    restore(saved) {
      if (typeof saved !== 'object' || saved === null || !('base' in saved) || !('written' in saved)) {
        throw new SnapshotError('disk overlay', '', 'the state of an image and what was written')
      }
      base.restore(saved.base)
      store.restore(saved.written)
    },
  }
}

/** Options of {@link createMemoryStore}. */
export interface MemoryStoreOptions {
  /** Bytes of the disk that it is for. */
  readonly size: number
  /** Most bytes that it may take; writes beyond fail as on a full disk. Default 1 GiB. */
  readonly limit?: number
}

const CLUSTER = 4096
const SECTORS = CLUSTER / SECTOR
const WHOLE = 2 ** SECTORS - 1
/** What a cluster costs beside its bytes, about. */
const ENTRY_COST = 128
/** JavaScript's maps end at 2^24 entries. */
const MOST_ENTRIES = 2 ** 23
/** Bytes that a snapshot holds at most: it becomes one text, and V8's texts end at half a gigabyte. */
const SNAPSHOT_LIMIT = 2 ** 28

/** Eight sectors: which of them are held, and their bytes; without bytes they are zeros. */
interface Cluster {
  held: number
  bytes: Uint8Array | undefined
}

const costOf = (cluster: Cluster): number => ENTRY_COST + (cluster.bytes?.length ?? 0)
/** Bits of the sectors of a cluster from `from` on for `length` bytes. */
const sectorBits = (from: number, length: number): number => (2 ** (length / SECTOR) - 1) * 2 ** (from / SECTOR)

/** Sectors in memory, gone with the machine. Snapshots hold them, up to 256 MiB: a SnapshotError says so beyond. */
export function createMemoryStore(options: MemoryStoreOptions): SectorStore {
  const limit = options.limit ?? 2 ** 30
  const held = new Map<number, Cluster>()
  let taken = 0

  /** The cluster with `more` bytes of cost taken; undefined when there is no room. */
  const claim = (number: number, needsBytes: boolean): Cluster | undefined => {
    const before = held.get(number)
    const more = (before === undefined ? ENTRY_COST : 0)
      + (needsBytes && before?.bytes === undefined ? CLUSTER : 0)
    if (more > 0 && (taken + more > limit || held.size >= MOST_ENTRIES)) return undefined
    taken += more
    const cluster = before ?? { held: 0, bytes: undefined }
    if (needsBytes) cluster.bytes ??= new Uint8Array(CLUSTER)
    held.set(number, cluster)
    return cluster
  }
  /** Visits the clusters of a range until one fails. */
  const eachCluster = (
    offset: number, length: number, visit: (number: number, from: number, at: number, n: number) => boolean,
  ): boolean => {
    for (let at = 0; at < length;) {
      const from = (offset + at) % CLUSTER
      const n = Math.min(CLUSTER - from, length - at)
      if (!visit(Math.floor((offset + at) / CLUSTER), from, at, n)) return false
      at += n
    }
    return true
  }
  const isHeld = (offset: number): boolean =>
    ((held.get(Math.floor(offset / CLUSTER))?.held ?? 0) >> offset % CLUSTER / SECTOR & 1) !== 0

  return {
    extent(offset, length) {
      const first = isHeld(offset)
      let end = SECTOR
      while (end < length && isHeld(offset + end) === first) end += SECTOR
      return { held: first, length: end }
    },
    read: (offset, target) => eachCluster(offset, target.length, (number, from, at, n) => {
      const bytes = held.get(number)?.bytes
      if (bytes === undefined) target.fill(0, at, at + n)
      else target.set(bytes.subarray(from, from + n), at)
      return true
    }),
    write: (offset, bytes) => eachCluster(offset, bytes.length, (number, from, at, n) => {
      const cluster = claim(number, true)
      cluster?.bytes?.set(bytes.subarray(at, at + n), from)
      if (cluster !== undefined) cluster.held |= sectorBits(from, n)
      return cluster !== undefined
    }),
    zero: (offset, length) => eachCluster(offset, length, (number, from, _at, n) => {
      const cluster = claim(number, false)
      if (cluster === undefined) return false
      cluster.held |= sectorBits(from, n)
      if (n === CLUSTER) {
        taken -= cluster.bytes?.length ?? 0
        cluster.bytes = undefined
      }
      cluster.bytes?.fill(0, from, from + n)
      return true
    }),
    flush: () => true,
    snapshot() {
      if (taken > SNAPSHOT_LIMIT) {
        throw new SnapshotError('disk overlay', 'size', `at most ${SNAPSHOT_LIMIT} bytes; a file can hold more`)
      }
      return Object.fromEntries([...held].map(([number, { held: sectors, bytes }]) =>
        [number, sectors.toString(16).padStart(2, '0') + btoa(String.fromCharCode(...bytes ?? []))]))
    },
    restore(saved) {
      const loaded = readClusters(saved, Math.ceil(options.size / CLUSTER))
      held.clear()
      taken = 0
      for (const [number, cluster] of loaded) {
        held.set(number, cluster)
        taken += costOf(cluster)
      }
    },
  }
}

/** Which sectors are held, in hexadecimal, and the cluster's bytes in base64, which ends so for 4096 of them. */
const PATTERN = /^[0-9a-f]{2}([A-Za-z0-9+/]{5462}==)?$/

/** @throws SnapshotError */
function readClusters(saved: unknown, clusters: number): (readonly [number, Cluster])[] {
  if (typeof saved !== 'object' || saved === null) throw new SnapshotError('disk overlay', '', 'a record of clusters')
  return Object.entries(saved).map(([key, digits]: [string, unknown]) => {
    const number = Number(key)
    if (!Number.isInteger(number) || number < 0 || number >= clusters) {
      throw new SnapshotError('disk overlay', key, `a cluster below ${clusters}`)
    }
    if (typeof digits !== 'string' || !PATTERN.test(digits)) {
      throw new SnapshotError('disk overlay', key, `two hexadecimal digits, and nothing or ${CLUSTER} bytes in base64`)
    }
    const bytes = digits.length === 2 ? undefined : Uint8Array.from(atob(digits.slice(2)), (c) => c.charCodeAt(0))
    return [number, { held: parseInt(digits.slice(0, 2), 16) & WHOLE, bytes }]
  })
}

/** An overlay that lives as long as its backend: the image stays as it is. @throws BlockError for a bad limit */
export function createMemoryOverlay(base: BlockBackend, options: { readonly limit?: number } = {}): BlockBackend {
  const { limit } = options
  checkDiskSize('overlay', base.size)
  if (limit !== undefined && !(limit >= CLUSTER)) {
    throw new BlockError('overlay', 'limit', `${limit}; expected at least ${CLUSTER}`)
  }
  return createOverlay({ base, store: createMemoryStore({ size: base.size, limit }) })
}
