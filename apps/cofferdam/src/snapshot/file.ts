import { decodeSnapshot, encodeSnapshot, type Snapshot, type SnapshotData } from '@cofferdam/machine'
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { inputError, plainReason, usageError } from '../errors.ts'
import { attachmentMisfit, type Attachment } from './attachment.ts'
import { crc32, snapshotCodecs } from './codec.ts'

/** A snapshot that the command line wrote. */
export interface RestoredRun {
  readonly snapshot: Snapshot
  readonly attachment: Attachment
}

// A machine's memory ends at 4 GiB; what does not fit in one buffer is no snapshot.
const largest = 2 ** 32

/**
 * Reads a snapshot's file.
 * @throws a usage error that names the file, the part of it and what was expected
 */
export const readSnapshot = async (path: string): Promise<RestoredRun> => {
  const subject = `restore ${path}`
  let file: Uint8Array
  try {
    if (!statSync(path).isFile()) throw new Error('it is no regular file')
    if (statSync(path).size > largest) throw new Error('it has more than 4 GiB')
    file = readFileSync(path)
  } catch (error) {
    throw inputError(subject, plainReason(error), 'a file that --snapshot wrote')
  }
  const snapshot = await decodeSnapshot(file, { name: path, codecs: snapshotCodecs, crc32 }).catch((error: unknown) => {
    throw usageError(`restore ${plainReason(error)}`)
  })
  const wrong = attachmentMisfit(snapshot.attachment)
  if (wrong !== undefined) throw inputError(subject, `attachment.${wrong}`, 'a snapshot that `cofferdam boot` took')
  return { snapshot, attachment: snapshot.attachment as unknown as Attachment }
}

/** Makes what was written to a file, or the name it got, last. */
const sync = (path: string, flags: 'r' | 'r+'): void => {
  const file = openSync(path, flags)
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

const writeWhole = (path: string, bytes: Uint8Array): void => {
  const file = openSync(path, 'w')
  try {
    for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done)
  } finally {
    closeSync(file)
  }
}

/**
 * Writes a snapshot's file: whoever reads it at any moment, even after this process or the system was killed, finds the
 * one before or this one, and never a part.
 * @throws an input error that names the file
 */
export const writeSnapshot = async (path: string, snapshot: SnapshotData): Promise<void> => {
  const bytes = await encodeSnapshot(snapshot, snapshotCodecs[0])
  const temporary = `${path}.${process.pid}.part`
  try {
    writeWhole(temporary, bytes)
    sync(temporary, 'r+')
    renameSync(temporary, path)
    sync(dirname(path), 'r')
  } catch (error) {
    rmSync(temporary, { force: true })
    throw inputError(`snapshot ${path}`, plainReason(error), 'a file that can be written')
  }
}
