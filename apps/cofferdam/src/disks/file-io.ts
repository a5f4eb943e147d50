import { SnapshotError } from '@cofferdam/devices'
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import { plainReason, usageError } from '../errors.ts'

/** A file that is read and written at places. Calls answer false for an error. */
export interface RandomFile {
  /** Bytes when it was opened. */
  readonly size: number
  /** Bytes now, and when it was last changed, in nanoseconds since 1970. */
  readonly mark: () => { readonly size: number; readonly changed: bigint }
  /** Bytes past the end of the file read as zeros. */
  readonly read: (position: number, target: Uint8Array) => boolean
  readonly write: (position: number, bytes: Uint8Array) => boolean
  /**
   * True only when everything that was written is on stable storage. After one failure always false: the system may
   * have thrown away what it could not write, and would say that all is well the next time.
   */
  readonly sync: () => boolean
  readonly close: () => void
}

/**
 * Opens a regular file.
 * @param what - for messages, for example `disk`
 * @throws a usage error that names the file
 */
export const openRandomFile = (what: string, path: string, flags: 'r' | 'r+' | 'wx+'): RandomFile => {
  const fail = (problem: string): Error => usageError(`${what} ${path}: ${problem}`)
  let file: number
  try {
    file = openSync(path, flags)
  } catch (error) {
    throw fail(plainReason(error))
  }
  const stat = fstatSync(file, { bigint: true })
  if (!stat.isFile()) {
    closeSync(file)
    throw fail('type: expected a regular file')
  }
  let failed = false

  const attempt = (work: () => boolean): boolean => {
    try {
      return work()
    } catch {
      return false
    }
  }
  const read = (position: number, target: Uint8Array): boolean => {
    for (let done = 0; done < target.length;) {
      const got = readSync(file, target, done, target.length - done, position + done)
      if (got === 0) target.fill(0, done)
      done += got === 0 ? target.length : got
    }
    return true
  }
  const write = (position: number, bytes: Uint8Array): boolean => {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(file, bytes, done, bytes.length - done, position + done)
    }
    return true
  }
  const sync = (): boolean => {
    failed ||= !attempt(() => {
      fsyncSync(file)
      return true
    })
    return !failed
  }
  return {
    size: Number(stat.size),
    mark: () => {
      const now = fstatSync(file, { bigint: true })
      return { size: Number(now.size), changed: now.mtimeNs }
    },
    read: (position, target) => attempt(() => read(position, target)),
    write: (position, bytes) => attempt(() => write(position, bytes)),
    sync,
    close: () => closeSync(file),
  }
}

/** What a machine's snapshot holds of a file: its contents stay in the file, so that it must be the same file still. */
export const snapshotFile = (file: RandomFile): { size: number; changed: string } => {
  const { size, changed } = file.mark()
  return { size, changed: changed.toString() }
}

/** @throws SnapshotError when the file was changed since the snapshot was taken, or is another one */
export const restoreFile = (name: string, file: RandomFile, saved: unknown): void => {
  const now = snapshotFile(file)
  const then = typeof saved === 'object' && saved !== null ? (saved as Partial<typeof now>) : {}
  if (then.size !== now.size) throw new SnapshotError(name, 'size', `a file of ${now.size} bytes, the size of this one`)
  if (then.changed !== now.changed) {
    throw new SnapshotError(name, 'changed', 'the file as it was when the snapshot was taken; it was changed since')
  }
}
