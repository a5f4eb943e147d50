/** Where things are, and whether they are up to date: dependencies by the lockfile, builds by the sources. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
export const bin = join(root, 'node_modules', '.bin')
const cache = join(root, 'node_modules', '.cache', 'cofferdam')

/** The environment of everything that is started: the workspace's Node and tools first. */
export function environment() {
  return { TURBO_TELEMETRY_DISABLED: '1', ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` }
}

/** A file of the set-up's own, under node_modules so that a fresh install forgets it. */
export function cacheFile(name) {
  mkdirSync(cache, { recursive: true })
  return join(cache, name)
}

/** Compares `value` with what the stamp of this name held when it was last written. */
export function isStamped(name, value) {
  const file = join(cache, name)
  return existsSync(file) && readFileSync(file, 'utf8') === value
}

export function stamp(name, value) {
  writeFileSync(cacheFile(name), value)
}

/** Changes whenever an install may have something to do: the lockfile, the settings, any package's manifest. */
export function installFingerprint() {
  const hash = createHash('sha256')
  const manifests = packageFolders().map((folder) => join(folder, 'package.json'))
  for (const file of ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests]) {
    hash.update(file).update('\0').update(readFileSync(join(root, file)))
  }
  return hash.digest('hex')
}

/** Changes whenever a build may have something to do. Sizes and times only: it is read before every `cofferdam`. */
export function sourceFingerprint() {
  const hash = createHash('sha256')
  const add = (path) => {
    const stat = statSync(join(root, path))
    if (!stat.isDirectory()) return hash.update(`${path}\0${stat.size}\0${stat.mtimeMs}\0`)
    for (const name of readdirSync(join(root, path)).sort()) add(`${path}/${name}`)
  }
  add('tsup.shared.ts')
  add('tsconfig.base.json')
  for (const folder of packageFolders(['packages', 'apps'])) {
    for (const name of ['package.json', 'tsconfig.json', 'tsup.config.ts', 'src']) {
      if (existsSync(join(root, folder, name))) add(`${folder}/${name}`)
    }
    hash.update(existsSync(join(root, folder, 'dist')) ? 'built\0' : 'not built\0')
  }
  return hash.digest('hex')
}

function packageFolders(parents = ['packages', 'apps', 'tools']) {
  return parents.flatMap((parent) => (existsSync(join(root, parent)) ? readdirSync(join(root, parent)).sort() : [])
    .map((name) => `${parent}/${name}`)
    .filter((folder) => existsSync(join(root, folder, 'package.json'))))
}
