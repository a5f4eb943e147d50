import { statSync } from 'node:fs'
import { inputError, plainReason, usageError } from '../errors.ts'
import type { DeviceOption } from '../machine-port.ts'
import { openHostFiles, type HostFiles } from './host-files.ts'
import type { ShareArgument } from './parse-share.ts'

const open = ({ folder, writable }: ShareArgument): HostFiles => {
  try {
    return openHostFiles(folder, writable)
  } catch (error) {
    throw inputError(`share ${folder}`, plainReason(error), 'a folder that can be read')
  }
}

/**
 * Opens what `--share` names. A machine that starts again gets the folder anew; the descriptors of the one before it
 * are closed.
 * @param warn - hears of files that a snapshot had open and that are gone
 * @throws a usage error that names the folder and what is wrong with it
 */
export const openShare = (share: ShareArgument, warn: (text: string) => void): DeviceOption => {
  if (process.platform !== 'linux' || !statSync('/proc/self/fd', { throwIfNoEntry: false })?.isDirectory()) {
    throw usageError('--share: needs /proc/self/fd of Linux, by which there is no way out of the folder')
  }
  let files: HostFiles | undefined = open(share)
  let unused = true
  return {
    kind: 'virtio-9p',
    tag: share.tag,
    files: () => {
      if (!unused || files === undefined) {
        files?.close()
        files = open(share)
      }
      unused = false
      return files
    },
    onLost: (paths) => {
      warn(`share ${share.tag}: ${paths.length} files are gone since the snapshot: ${paths[0] ?? ''} …`)
    },
  }
}
