import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheFolder } from '../cache-folder.ts'
import { inputError } from '../errors.ts'

/** One file of an image. */
export interface ImageFile {
  /** Name inside the image's folder. */
  readonly name: string
  /** Where a guest expects it, for programs and libraries. */
  readonly guestPath?: string
  /** Bytes. */
  readonly size: number
  readonly sha256: string
}

/** A fetched image: what `image.json` beside its files says. */
export interface ImageRecord {
  readonly name: string
  readonly package: string
  readonly version: string
  readonly suite: string
  /** Names that were looked for in the package, for an image of several files of which some may be missing. */
  readonly wanted?: readonly string[]
  /** The image proper first, then what it needs. */
  readonly files: readonly [ImageFile, ...ImageFile[]]
}

/** A fetched image with the folder that holds it. */
export interface StoredImage extends ImageRecord {
  readonly folder: string
  /** Path of its first file. */
  readonly path: string
}

/** The user's own cache of images. */
export interface ImageStore {
  readonly folder: string
  find(name: string): Promise<StoredImage | undefined>
  /** Puts an image in place, atomically; `fill` writes its files into an empty folder. */
  put(name: string, fill: (folder: string) => Promise<ImageRecord>): Promise<StoredImage>
}

/** SHA-256 of bytes, in hexadecimal. */
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Whether the files of an image are what was fetched. */
export const isWhole = async (image: StoredImage): Promise<boolean> => {
  for (const file of image.files) {
    if (sha256(await readFile(join(image.folder, file.name))) !== file.sha256) return false
  }
  return true
}

/** Whether two images are of one package's version, and the same of it. */
const isSame = (a: ImageRecord, b: ImageRecord): boolean =>
  a.package === b.package && a.version === b.version && a.wanted?.join() === b.wanted?.join()

const isRecord = (value: unknown): value is ImageRecord =>
  typeof value === 'object' &&
  value !== null &&
  'files' in value &&
  Array.isArray(value.files) &&
  value.files.length > 0 &&
  'version' in value &&
  typeof value.version === 'string'

const readPointer = async (path: string): Promise<string | undefined> => {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  return text && /^[\w.+~-]+$/.test(text.trim()) ? text.trim() : undefined
}

/**
 * Opens the cache of images. Each image is a folder `NAME_VERSION-RANDOM` that never changes, and a file
 * `NAME.current` that names it and is replaced by one rename: whoever reads sees the old image or the new one.
 */
export const openStore = (folder = join(cacheFolder(), 'images')): ImageStore => {
  const pointer = (name: string): string => join(folder, `${name}.current`)

  const find = async (name: string): Promise<StoredImage | undefined> => {
    const current = await readPointer(pointer(name))
    if (current === undefined) return undefined
    const home = join(folder, current)
    const text = await readFile(join(home, 'image.json'), 'utf8').catch(() => 'null')
    const record: unknown = JSON.parse(text)
    if (!isRecord(record)) return undefined
    for (const file of record.files) {
      const size = await stat(join(home, file.name)).then((s) => s.size, () => -1)
      if (size !== file.size) return undefined
    }
    return { ...record, folder: home, path: join(home, record.files[0].name) }
  }

  const put: ImageStore['put'] = async (name, fill) => {
    await mkdir(folder, { recursive: true })
    const draft = await mkdtemp(join(folder, '.draft-'))
    try {
      const record = await fill(draft)
      await writeFile(join(draft, 'image.json'), `${JSON.stringify(record, null, 2)}\n`)
      // Whoever was quicker with the same version has given its path away by now: that one stays.
      const before = await find(name)
      const same = before !== undefined && isSame(before, record)
      if (same && await isWhole(before)) return before
      const unique = draft.slice(-6)
      const home = `${name}_${record.version.replaceAll(/[^\w.+~-]/g, '-')}-${unique}`
      await rename(draft, join(folder, home))
      const newPointer = join(folder, `.${home}.pointer`)
      await writeFile(newPointer, `${home}\n`)
      await rename(newPointer, pointer(name))
      // only the older version: another process may just be putting its own in place
      if (before) await rm(before.folder, { recursive: true, force: true })
      const stored = await find(name)
      if (!stored) throw inputError(`image ${name}`, 'files', `what was just written to ${folder}`)
      return stored
    } finally {
      await rm(draft, { recursive: true, force: true })
    }
  }

  return { folder, find, put }
}
