import { type BlockBackend, createMemoryOverlay, createOverlay, SECTOR } from '@cofferdam/devices'
import type { DiskOption } from '@cofferdam/machine'
import { existsSync, realpathSync } from 'node:fs'
import { inputError, usageError } from '../errors.ts'
import { openRandomFile, restoreFile, snapshotFile, type RandomFile } from './file-io.ts'
import { openOverlayFile } from './overlay-file.ts'
import type { DiskArgument } from './parse-disk.ts'

const chunkSize = 2 ** 20

/** A raw image in a file. Discarded sectors keep what they hold: no system call for holes is within reach here. */
const fileBackend = (path: string, file: RandomFile, readOnly: boolean): BlockBackend => ({
  size: file.size,
  readOnly,
  read: file.read,
  write: file.write,
  flush: () => readOnly || file.sync(),
  writeZeroes: (offset, length) => {
    for (let at = 0; at < length; at += chunkSize) {
      if (!file.write(offset + at, new Uint8Array(Math.min(chunkSize, length - at)))) return false
    }
    return true
  },
  discard: () => true,
  snapshot: () => snapshotFile(file),
  restore: (saved) => restoreFile(`disk ${path}`, file, saved),
})

const openDisk = ({ file: path, mode, overlay, serial }: DiskArgument): DiskOption => {
  const file = openRandomFile('disk', path, mode === 'rw' ? 'r+' : 'r')
  if (file.size === 0 || file.size % SECTOR !== 0) {
    throw inputError(`disk ${path}`, 'size', `a multiple of ${SECTOR} bytes, more than 0; it has ${file.size}`)
  }
  const image = fileBackend(path, file, mode !== 'rw')
  const backend =
    mode !== 'overlay'
      ? image
      : overlay === undefined
        ? createMemoryOverlay(image)
        : createOverlay({ base: image, store: openOverlayFile(overlay, file) })
  return { name: path, backend, ...(serial !== undefined && { serial }) }
}

const realPath = (path: string): string => (existsSync(path) ? realpathSync(path) : path)

/**
 * Opens what `--disk` names. A file that the guest may write belongs to one disk.
 * @throws a usage error that names the file and what is wrong with it
 */
export const openDisks = (disks: readonly DiskArgument[]): DiskOption[] => {
  const used = disks.flatMap(({ file, mode, overlay }) => [
    { path: file, real: realPath(file), written: mode === 'rw' },
    ...(overlay === undefined ? [] : [{ path: overlay, real: realPath(overlay), written: true }]),
  ])
  for (const one of used) {
    if (!one.written || !used.some((other) => other !== one && other.real === one.real)) continue
    throw usageError(`disk ${one.path}: file: expected one disk only that uses it, since it is written to`)
  }
  return disks.map(openDisk)
}
