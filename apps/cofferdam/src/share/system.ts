/**
 * Calls of Linux that name a file by an open directory and one name in it, as openat(2) and its relatives do. Node has
 * none of those, but procfs has: `/proc/self/fd/N` is the file behind descriptor N itself, wherever it lies by now, so
 * `/proc/self/fd/N/name` is looked up in that directory and nowhere else (proc_pid_fd(5)).
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, type BigIntStats } from 'node:fs'
import { failed, type Answer, type Done } from '@cofferdam/ninep'

/** A descriptor that names a file and cannot read or write it (open(2): O_PATH). Node has no constant for it. */
const O_PATH = 0o10000000

const { O_DIRECTORY, O_NOFOLLOW } = constants

/** Where the file behind a descriptor is to be found, for any call that takes a path. */
export const behind = (descriptor: number): string => `/proc/self/fd/${descriptor}`

/** Where the entry `name` of the directory behind a descriptor is to be found. The server has checked the name. */
export const within = (directory: number, name: string): string => `/proc/self/fd/${directory}/${name}`

/**
 * Runs calls of the system; an error of theirs becomes its number. Anything else is a bug of ours and goes on.
 */
export const attempt = <T>(work: () => T): Answer<T> => {
  try {
    return work()
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error ? error.errno : undefined
    // libuv has the system's numbers, negative
    if (typeof errno === 'number' && errno < 0 && errno > -4096) return { errno: -errno }
    throw error
  }
}

/** Runs a call that has no result. */
export const perform = (work: () => void): Done => {
  const done = attempt(() => {
    work()
    return true
  })
  return failed(done) ? done : undefined
}

/** fstat(2). */
export const statusOf = (descriptor: number): BigIntStats => fstatSync(descriptor, { bigint: true })

/** fstatat(2) with AT_SYMLINK_NOFOLLOW. */
export const statusIn = (directory: number, name: string): BigIntStats =>
  lstatSync(within(directory, name), { bigint: true })

/** A handle on the folder that is shared. Here, and only here, symbolic links on the way are followed. */
export const openFolder = (path: string): number => openSync(path, O_PATH | O_DIRECTORY)

/** An entry of a directory, with a descriptor that names it. */
export interface FoundEntry {
  readonly descriptor: number
  readonly status: BigIntStats
}

/** A handle on the entry of a directory, whatever it is: nothing is opened, nothing is followed. */
export const openEntry = (directory: number, name: string): Answer<FoundEntry> => {
  const descriptor = attempt(() => openSync(within(directory, name), O_PATH | O_NOFOLLOW))
  if (failed(descriptor)) return descriptor
  const status = attempt(() => statusOf(descriptor))
  if (!failed(status)) return { descriptor, status }
  closeSync(descriptor)
  return status
}
