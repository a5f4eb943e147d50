import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { usageError } from '../errors.ts'
import { aptMissing, machineMirror, openApt, unpackDeb, type Apt, type FetchProgress, type PackageInfo } from './apt.ts'
import { catalog, findEntry, type CatalogEntry, type Suite } from './catalog.ts'
import { elfNeeds } from './elf.ts'
import { cacheFolder } from '../cache-folder.ts'
import {
  isWhole, sha256, type ImageFile, type ImageRecord, type ImageStore, type StoredImage,
} from './store.ts'

/** What fetching reports as it goes. */
export type OnFetch = (image: string, progress: FetchProgress) => void

/** Options of {@link fetchImages}. */
export interface FetchOptions {
  readonly store: ImageStore
  /** Fetch again what is already there, if Debian has a newer version. */
  readonly refresh: boolean
  readonly onProgress: OnFetch
  /** Folder of the private apt; default: beside the images. */
  readonly aptRoot?: string
}

/** Follows a metapackage's dependencies to the package that holds the file. */
export const resolvePackage = async (apt: Pick<Apt, 'show'>, entry: CatalogEntry): Promise<PackageInfo> => {
  const start = await apt.show(entry.package)
  if (!start) throw usageError(`image ${entry.name}: Debian ${entry.suite} has no package ${entry.package}`)
  let found = start
  for (const pattern of entry.follow) {
    const next = found.depends.find((name) => pattern.test(name))
    const info = next === undefined ? undefined : await apt.show(next)
    if (info) found = info
  }
  return found
}

/** Paths of all files below a folder, sorted. */
export const listFiles = async (root: string, under = ''): Promise<string[]> => {
  const entries = await readdir(join(root, under), { withFileTypes: true })
  const nested = entries.map((entry) => {
    const path = under === '' ? entry.name : `${under}/${entry.name}`
    if (entry.isDirectory()) return listFiles(root, path)
    return Promise.resolve(entry.isFile() || entry.isSymbolicLink() ? [path] : [])
  })
  return (await Promise.all(nested)).flat().sort()
}

interface Draft {
  readonly unpacked: string
  readonly draft: string
}

const keep = async ({ unpacked, draft }: Draft, path: string, name: string, guestPath?: string): Promise<ImageFile> => {
  await copyFile(join(unpacked, path), join(draft, name))
  const bytes = await readFile(join(draft, name))
  return { name, ...(guestPath === undefined ? {} : { guestPath }), size: bytes.length, sha256: sha256(bytes) }
}

const unpackAll = async (debs: readonly string[], unpacked: string): Promise<void> => {
  for (const deb of debs) await unpackDeb(deb, unpacked)
}

/** Every package below `start` whose name begins with `lib`: where a program's shared libraries can be. */
const libraryPackages = async (apt: Apt, start: PackageInfo): Promise<string[]> => {
  const seen = new Set<string>()
  const queue = [...start.depends]
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    if (seen.has(name) || !/^(lib|zlib)/.test(name)) continue
    const info = await apt.show(name)
    if (!info) continue
    seen.add(name)
    queue.push(...info.depends)
  }
  return [...seen].sort()
}

/** The shared libraries that a program needs, directly and through each other, out of unpacked packages. */
const keepLibraries = async (draft: Draft, program: string): Promise<ImageFile[]> => {
  const paths = await listFiles(draft.unpacked)
  const kept = new Map<string, ImageFile>()
  const queue = [program]
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    const { libraries, interpreter } = elfNeeds(path, await readFile(join(draft.unpacked, path)))
    const wanted = interpreter === undefined ? libraries : [...libraries, basename(interpreter)]
    for (const name of wanted) {
      if (kept.has(name)) continue
      const found = paths.find((candidate) => /(^|\/)lib/.test(candidate) && basename(candidate) === name)
      if (found === undefined) throw usageError(`image ${basename(program)}: no package holds the library ${name}`)
      const guestPath = name === basename(interpreter ?? '') ? interpreter : `/lib/x86_64-linux-gnu/${name}`
      kept.set(name, await keep(draft, found, name, guestPath))
      queue.push(found)
    }
  }
  return [...kept.values()]
}

interface Wanted {
  readonly apt: Apt
  readonly entry: CatalogEntry
  readonly info: PackageInfo
}

const fill = async (wanted: Wanted, folder: string, onProgress: OnFetch): Promise<ImageRecord> => {
  const { apt, entry, info } = wanted
  const work = await mkdtemp(join(folder, '.work-'))
  const unpacked = join(work, 'files')
  await mkdir(unpacked)
  const report = (progress: FetchProgress): void => onProgress(entry.name, progress)
  const isProgram = entry.kind === 'program'
  const names = [info.name, ...(isProgram ? await libraryPackages(apt, info) : [])]
  const debs = await apt.download(names, work, report)
  report({ what: `unpacking ${info.name}`, fraction: undefined })
  await unpackAll(debs, unpacked)
  const path = (await listFiles(unpacked)).find((candidate) => entry.file.test(candidate))
  if (path === undefined) {
    throw usageError(`image ${entry.name}: package ${info.name} holds no file like ${entry.file.source}`)
  }
  const draft = { unpacked, draft: folder }
  const first = await keep(draft, path, entry.keepAs, isProgram ? `/bin/${entry.keepAs}` : undefined)
  const libraries = isProgram ? await keepLibraries(draft, path) : []
  await rm(work, { recursive: true, force: true })
  const { name, suite } = entry
  return { name, package: info.name, version: info.version, suite, files: [first, ...libraries] }
}

const entriesOf = (names: readonly string[]): CatalogEntry[] =>
  names.map((name) => {
    const entry = findEntry(name)
    if (entry) return entry
    throw usageError(`image ${name}: there is no such image; there are ${catalog.map((e) => e.name).join(', ')}`)
  })

/**
 * Makes images present in the store and returns them in the order asked for. What is there is used as it is, without
 * the network, unless `refresh`.
 */
export const fetchImages = async (names: readonly string[], options: FetchOptions): Promise<StoredImage[]> => {
  const { store, refresh, onProgress } = options
  const suites = new Map<Suite, Promise<Apt>>()
  const openedApt = (suite: Suite): Promise<Apt> => {
    const opened = suites.get(suite) ?? suiteApt(suite, options)
    suites.set(suite, opened)
    return opened
  }
  const images: StoredImage[] = []
  for (const entry of entriesOf(names)) {
    const there = await store.find(entry.name)
    if (there && !refresh) {
      images.push(there)
      continue
    }
    const apt = await openedApt(entry.suite)
    const info = await resolvePackage(apt, entry)
    const current = there?.package === info.name && there.version === info.version
    if (current && await isWhole(there)) images.push(there)
    else images.push(await store.put(entry.name, (folder) => fill({ apt, entry, info }, folder, onProgress)))
  }
  return images
}

// Lists older than this are brought up to date before a package is looked up in them: the mirror drops old packages.
const freshForMs = 3_600_000

/** Debian's packages of a suite, with lists that are not old. */
export const suiteApt = async (suite: Suite, options: FetchOptions): Promise<Apt> => {
  const missing = await aptMissing()
  if (missing !== undefined) {
    throw usageError(
      `images: ${missing}, and the default images are Debian packages that apt fetches and verifies`,
      'Give your own images instead: cofferdam boot --kernel FILE --initrd FILE',
    )
  }
  const root = join(options.aptRoot ?? join(cacheFolder(), 'apt'), suite)
  const apt = await openApt(root, suite, await machineMirror())
  const updated = await stat(join(root, 'state', 'updated')).then((s) => s.mtimeMs, () => 0)
  if (options.refresh || Date.now() - updated > freshForMs) {
    await apt.update((progress) => options.onProgress('lists', progress))
    await copyFile(join(root, 'status'), join(root, 'state', 'updated'))
  }
  return apt
}
