/**
 * Who may import whom (architecture.md, "Layers and packages"), from the top: a package may import every layer below
 * its own, and nothing of its own layer but what is named here.
 */
export interface Layer {
  readonly name: string
  /** Packages by the name of their folder, each with those of the same layer that it may import. */
  readonly packages: Readonly<Record<string, readonly string[]>>
}

const osPackages = ['page-alloc', 'tdmr', 'kexec', 'boot']

export const layers: readonly Layer[] = [
  { name: 'app', packages: { cofferdam: [] } },
  { name: 'board', packages: { machine: [] } },
  {
    name: 'os',
    packages: { 'host': osPackages, 'page-alloc': [], 'tdmr': [], 'kexec': ['boot'], 'boot': [] },
  },
  // What a device talks to at the other end: protocols that know no device, no bus and no host.
  { name: 'services', packages: { ninep: [], usernet: [] } },
  // Confidential modes implement the extension and guard interfaces of silicon, and never lean on each other.
  { name: 'cc', packages: { sev: [], svsm: [], tdx: [] } },
  // What a broken rule is, for those who hold rules: silicon raises faults and knows none.
  { name: 'rules', packages: { findings: [] } },
  {
    name: 'silicon',
    packages: { x86: ['paging', 'memory'], paging: ['memory'], devices: ['memory'], memory: [] },
  },
  { name: 'base', packages: { spec: [] } },
]

/** The scope of everything that is published, the application apart. */
export const scope = '@cofferdam/'

/** What package `id` may import, by folder name; undefined for a package that no layer names. */
export function mayImport(id: string): string[] | undefined {
  const at = layers.findIndex((layer) => Object.hasOwn(layer.packages, id))
  const layer = layers[at]
  if (layer === undefined) return undefined
  const below = layers.slice(at + 1)
  return [...layer.packages[id] ?? [], ...below.flatMap(({ packages }) => Object.keys(packages))]
}

/** The layer of package `id`, in words. */
export function layerOf(id: string): string | undefined {
  return layers.find(({ packages }) => Object.hasOwn(packages, id))?.name
}
