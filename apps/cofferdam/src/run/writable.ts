import { accessSync, constants, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { inputError, plainReason, systemCode } from '../errors.ts'

const kindOf = (path: string): 'file' | 'folder' | 'none' => {
  try {
    return statSync(path).isDirectory() ? 'folder' : 'file'
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 'none'
    throw error
  }
}

/**
 * Refuses a file that can't be written, without touching it: what is written when a session ends is asked for here
 * before it starts.
 * @param what - the option's name, without dashes
 * @throws an input error that names the option and the file
 */
export const checkWritable = (what: string, path: string): void => {
  const subject = `${what} ${path}`
  try {
    const kind = kindOf(path)
    if (kind === 'folder') throw new Error('it is a directory')
    if (kind === 'none' && kindOf(dirname(path)) !== 'folder') throw new Error('there is no such folder')
    accessSync(kind === 'none' ? dirname(path) : path, constants.W_OK)
  } catch (error) {
    throw inputError(subject, plainReason(error), 'a file that can be written')
  }
}
