/** The packages of this repository, read from their manifests. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The parts of package.json that the tools look at. */
export interface Manifest {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly exports?: unknown
  readonly scripts?: Readonly<Record<string, string>>
  readonly bin?: string | Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

export interface WorkspacePackage {
  /** Name of its folder: `x86`, `cofferdam`, … */
  readonly id: string
  readonly kind: 'packages' | 'apps' | 'tools'
  /** Path from the root, with `/`: `packages/x86`. */
  readonly path: string
  /** Absolute path. */
  readonly folder: string
  readonly manifest: Manifest
}

/** Absolute path of the repository's root. */
export const root: string = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))))

/** All packages below `folder` (the repository), sorted by kind and name. */
export function workspacePackages(folder = root): WorkspacePackage[] {
  return (['packages', 'apps', 'tools'] as const).flatMap((kind) => subfolders(join(folder, kind))
    .filter((id) => existsSync(join(folder, kind, id, 'package.json')))
    .map((id) => ({
      id,
      kind,
      path: `${kind}/${id}`,
      folder: join(folder, kind, id),
      manifest: readJson(join(folder, kind, id, 'package.json')) as Manifest,
    })))
}

/** Files below `folder` whose name ends with `ending`, as paths from it with `/`, sorted. None where it is missing. */
export function filesBelow(folder: string, ending: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith(ending) && !name.split('/').includes('node_modules'))
    .sort()
}

/** Whether a package is still the skeleton that it was created as: it exports nothing. */
export function isSkeleton({ folder, kind }: WorkspacePackage): boolean {
  if (kind === 'apps') return filesBelow(join(folder, 'src'), '.ts').length === 0
  const index = join(folder, 'src/index.ts')
  if (!existsSync(index)) return true
  const code = readFileSync(index, 'utf8').replaceAll(/\/\*[^]*?\*\/|\/\/.*$/gm, '')
  return /^\s*(export \{\s*\}\s*;?\s*)?$/.test(code)
}

export function readJson(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'))
}

const subfolders = (folder: string): string[] => existsSync(folder) ? readdirSync(folder).sort() : []
