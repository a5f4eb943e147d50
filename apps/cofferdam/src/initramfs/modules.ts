import { readModuleInfo, type ModuleInfo } from '../images/modinfo.ts'
import { writeCpio, type CpioEntry } from './cpio.ts'

/** Drivers by what they are for; each group brings what its modules depend on. */
export const driverGroups = {
  disk: [
    'virtio_pci', 'virtio_blk', 'ext4', 'vfat', 'nls_cp437', 'nls_ascii', 'nls_iso8859_1', 'nls_utf8', 'squashfs',
    'isofs', 'overlay', 'loop',
  ],
  console: ['virtio_pci', 'virtio_console'],
  rng: ['virtio_pci', 'virtio_rng'],
  net: ['virtio_pci', 'virtio_net'],
  '9p': ['virtio_pci', '9pnet_virtio', '9p'],
  psp: ['ccp', 'kvm_amd'],
  coco: ['sev_guest', 'tdx_guest', 'tsm', 'tsm_report'],
} as const satisfies Readonly<Record<string, readonly string[]>>

/**
 * What a module has the kernel ask for by name while it runs, so that nothing says that it depends on it: up to Linux
 * 6.12 sev_guest wants gcm(aes) of the crypto API, and fails with EIO without.
 */
const askedFor: Readonly<Record<string, readonly string[]>> = { sev_guest: ['gcm', 'ghash_generic'] }

/** A group of drivers. */
export type DriverGroup = keyof typeof driverGroups

/** A module's file as the guest gets it. */
export interface ModuleFile {
  /** `/lib/modules/RELEASE/NAME.ko` */
  readonly path: string
  readonly data: Uint8Array
}

interface LoadedModule extends ModuleInfo, ModuleFile {}

/** A module with all that it depends on, each before what it needs: the order of modules.dep. */
const withDependencies = (start: LoadedModule, all: ReadonlyMap<string, LoadedModule>): LoadedModule[] => {
  const order: LoadedModule[] = []
  const seen = new Set<string>()
  const visit = (module: LoadedModule): void => {
    if (seen.has(module.name)) return
    seen.add(module.name)
    for (const name of module.depends) {
      const needed = all.get(name)
      if (needed) visit(needed)
    }
    order.unshift(module)
  }
  visit(start)
  return order
}

const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1)

/**
 * An archive to follow the initramfs, with the modules of some groups and the tables by which `modprobe` finds them
 * (modules.dep(5), `modules.alias`). /init loads what the devices that are there ask for; the kernel itself asks for
 * file systems. Undefined when the kernel has everything built in.
 */
export const buildModules = (files: readonly ModuleFile[], groups: readonly DriverGroup[]): Uint8Array | undefined => {
  const all = new Map(files.map((file) => {
    const info = readModuleInfo(baseName(file.path), file.data)
    return [info.name, { ...info, ...file }]
  }))
  const wanted = new Set<LoadedModule>()
  for (const name of groups.flatMap((group) => driverGroups[group])) {
    if (!all.has(name)) continue
    for (const needed of [name, ...(askedFor[name] ?? [])]) {
      const module = all.get(needed)
      if (module) for (const one of withDependencies(module, all)) wanted.add(one)
    }
  }
  const modules = [...wanted].sort((a, b) => (a.path < b.path ? -1 : 1))
  const [first] = modules
  if (first === undefined) return undefined
  const folder = first.path.slice(1, first.path.lastIndexOf('/'))
  const dep = modules.map((module) => {
    const [own, ...needed] = withDependencies(module, all).map(({ path }) => baseName(path))
    return `${own ?? ''}:${needed.map((name) => ` ${name}`).join('')}\n`
  })
  const alias = modules.flatMap(({ name, aliases }) => aliases.map((pattern) => `alias ${pattern} ${name}\n`))
  const text = (path: string, lines: readonly string[]): CpioEntry =>
    ({ path: `${folder}/${path}`, kind: 'file', data: new TextEncoder().encode(lines.join('')) })
  const parents = folder.split('/').map((_, index, parts) => parts.slice(0, index + 1).join('/'))
  return writeCpio([
    ...parents.map((path): CpioEntry => ({ path, kind: 'directory' })),
    text('modules.dep', dep),
    text('modules.alias', alias),
    ...modules.map(({ path, data }): CpioEntry => ({ path: path.slice(1), kind: 'file', data })),
  ])
}
