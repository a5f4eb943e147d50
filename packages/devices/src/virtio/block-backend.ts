/** What a block device stores its sectors in. */
import type { Plain } from '../snapshot.ts'

/** Bytes of a sector: what sizes and offsets are counted in (VIRTIO 1.2, section 5.2.4). */
export const SECTOR = 512

/**
 * A store of bytes. Every call is done when it returns, and answers false for an I/O error; offsets and lengths are
 * multiples of {@link SECTOR} inside `size`.
 */
export interface BlockBackend {
  /** Bytes, a multiple of {@link SECTOR}. */
  readonly size: number
  readonly readOnly: boolean
  /** Fills `target`, which may not be used after an error. */
  read(offset: number, target: Uint8Array): boolean
  /** What was written is read back from now on; it is safe from a power failure only after `flush`. */
  write(offset: number, bytes: Uint8Array): boolean
  /** True only when everything that `write` and `writeZeroes` said was done is on stable storage. */
  flush(): boolean
  /** The range reads as zeros from now on; with `unmap` its storage may be given up. */
  writeZeroes(offset: number, length: number, unmap: boolean): boolean
  /** Nobody needs what is in the range: it may be kept, or read as anything that was there, or as zeros. */
  discard(offset: number, length: number): boolean
  /**
   * What a snapshot of the machine must hold to find the same contents again: the contents, or by what `restore` can
   * tell that a file still has them; null where nothing can be told.
   */
  snapshot(): Plain
  /** @throws SnapshotError */
  restore(saved: Plain): void
}

/** A disk that cannot be. */
export class BlockError extends Error {
  /** The disk or its file. */
  readonly file: string
  readonly field: string
  readonly problem: string

  constructor(file: string, field: string, problem: string) {
    super(`${file}: ${field}: ${problem}`)
    this.name = 'BlockError'
    this.file = file
    this.field = field
    this.problem = problem
  }
}

/** @throws BlockError for a size that is no whole number of sectors, or none */
export function checkDiskSize(name: string, size: number): void {
  if (!Number.isSafeInteger(size) || size <= 0 || size % SECTOR !== 0) {
    throw new BlockError(name, 'size', `${size} bytes; expected a multiple of ${SECTOR}, more than 0`)
  }
}

/** Options of {@link createMemoryDisk}. */
export interface MemoryDiskOptions {
  /** Contents, changed in place; not part of snapshots. */
  readonly bytes: Uint8Array
  readonly readOnly?: boolean
  readonly name?: string
}

/** A disk in memory. @throws BlockError for a size that is no whole number of sectors */
export function createMemoryDisk(options: MemoryDiskOptions): BlockBackend {
  const { bytes } = options
  checkDiskSize(options.name ?? 'memory disk', bytes.length)
  return {
    size: bytes.length,
    readOnly: options.readOnly ?? false,
    read(offset, target) {
      target.set(bytes.subarray(offset, offset + target.length))
      return true
    },
    write(offset, part) {
      bytes.set(part, offset)
      return true
    },
    flush: () => true,
    writeZeroes(offset, length) {
      bytes.fill(0, offset, offset + length)
      return true
    },
    discard: () => true,
    snapshot: () => null,
    restore: () => undefined,
  }
}
