/// <reference types="node" />
/** Files beside the repository: public test vectors, and images that were fetched. Tests skip what is missing. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../../..')

/** A file of `shared/vectors/snp`, or null. */
export function vector(name: string): Uint8Array | null {
  const path = [join(root, '..'), join(root, '../..')].map((dir) => join(dir, 'shared/vectors/snp', name))
    .find((p) => existsSync(p))
  return path === undefined ? null : new Uint8Array(readFileSync(path))
}

/** A file of a fetched image, such as `OVMF.amdsev.fd`, or null. */
export function fetchedImage(prefix: string, file: string): Uint8Array | null {
  const cache = join(homedir(), '.cache/cofferdam/images')
  if (!existsSync(cache)) return null
  const folder = readdirSync(cache).find((name) => name.startsWith(prefix) && existsSync(join(cache, name, file)))
  return folder === undefined ? null : new Uint8Array(readFileSync(join(cache, folder, file)))
}
