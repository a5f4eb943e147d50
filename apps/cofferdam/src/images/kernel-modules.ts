import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { usageError } from '../errors.ts'
import { catFile, unpackDeb, type FetchProgress } from './apt.ts'
import type { Suite } from './catalog.ts'
import { listFiles, suiteApt, type FetchOptions } from './fetch.ts'
import { moduleName, readModuleInfo } from './modinfo.ts'
import { sha256, type ImageFile, type StoredImage } from './store.ts'

/**
 * The modules that are kept of a kernel, with what they depend on. Those that a kernel has built in, or lacks, are left
 * out: Debian's cloud kernels from 6.12 on have virtio over PCI and ext4 built in, and no 9p.
 */
export const keptModules: readonly string[] = [
  'virtio_pci', 'virtio_blk', 'virtio_console', 'virtio_rng', 'virtio_net', '9pnet_virtio', '9p',
  'ext4', 'vfat', 'nls_cp437', 'nls_ascii', 'nls_iso8859_1', 'nls_utf8', 'squashfs', 'isofs', 'overlay', 'loop',
  'sev_guest', 'tdx_guest', 'tsm', 'tsm_report', 'gcm', 'ghash_generic', 'ccp', 'kvm_amd',
]

// From 7.x on Debian's modules are in a package of their own beside linux-binary-VERSION.
const modulesPackage = (kernelPackage: string): string => kernelPackage.replace(/^linux-binary-/, 'linux-modules-')

const modulePath = /^(?:usr\/)?lib\/modules\/([^/]+)\/.*\.ko(?:\.xz|\.zst)?$/

interface Unpacked {
  readonly folder: string
  /** Path of each module's file by its name. */
  readonly paths: ReadonlyMap<string, string>
}

/** Wanted modules and what they depend on, uncompressed, by name. */
const readWanted = async ({ folder, paths }: Unpacked): Promise<Map<string, Uint8Array>> => {
  const found = new Map<string, Uint8Array>()
  const queue = [...keptModules]
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    const path = paths.get(name)
    if (path === undefined || found.has(name)) continue
    const full = join(folder, path)
    const bytes = path.endsWith('.ko') ? await readFile(full) : await catFile(full)
    found.set(name, bytes)
    queue.push(...readModuleInfo(path, bytes).depends)
  }
  return found
}

/**
 * The modules of a kernel of the catalog, fetched where they are missing or of another version. Their files' guest
 * paths name the kernel's release.
 */
export const fetchModules = async (kernel: StoredImage, options: FetchOptions): Promise<StoredImage> => {
  const name = `${kernel.name}-modules`
  const packageName = modulesPackage(kernel.package)
  const there = await options.store.find(name)
  const usable = there?.package === packageName && there.version === kernel.version ? there : undefined
  if (usable !== undefined && keptModules.every((module) => usable.wanted?.includes(module))) return usable
  // What an older version of this program kept is better than nothing, when Debian no longer has the package.
  return fetchWanted(kernel, packageName, options).catch((error: unknown) => {
    if (usable !== undefined) return usable
    throw error
  })
}

const fetchWanted = async (kernel: StoredImage, packageName: string, options: FetchOptions): Promise<StoredImage> => {
  const { store, onProgress } = options
  const name = `${kernel.name}-modules`
  const apt = await suiteApt(kernel.suite as Suite, options)
  return store.put(name, async (into) => {
    const work = await mkdtemp(join(into, '.work-'))
    const folder = join(work, 'files')
    await mkdir(folder)
    const pinned = `${packageName}=${kernel.version}`
    const report = (progress: FetchProgress): void => onProgress(name, progress)
    const debs = await apt.download([pinned], work, report).catch((error: unknown) => {
      const hint = `Debian keeps the newest version only: try cofferdam images fetch ${kernel.name} --refresh`
      throw usageError(error instanceof Error ? error.message : String(error), hint)
    })
    report({ what: `unpacking ${packageName}`, fraction: undefined })
    for (const deb of debs) await unpackDeb(deb, folder)
    const all = (await listFiles(folder)).filter((path) => modulePath.test(path))
    const release = modulePath.exec(all[0] ?? '')?.[1]
    if (release === undefined) throw usageError(`image ${name}: package ${packageName} holds no modules`)
    const kept = await readWanted({ folder, paths: new Map(all.map((path) => [moduleName(path), path])) })
    const files = await Promise.all([...kept].map(async ([module, bytes]): Promise<ImageFile> => {
      await writeFile(join(into, `${module}.ko`), bytes)
      const guestPath = `/lib/modules/${release}/${module}.ko`
      return { name: `${module}.ko`, guestPath, size: bytes.length, sha256: sha256(bytes) }
    }))
    await rm(work, { recursive: true, force: true })
    const [first, ...rest] = files
    if (first === undefined) throw usageError(`image ${name}: package ${packageName} holds none of the modules wanted`)
    return {
      name, package: packageName, version: kernel.version, suite: kernel.suite, wanted: keptModules,
      files: [first, ...rest],
    }
  })
}
