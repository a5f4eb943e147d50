/** The rules, applied to the files of a workspace. */
import { existsSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { filesBelow, isSkeleton, type WorkspacePackage } from '@cofferdam/tool-workspace'
import { cycles } from './cycles.ts'
import { importsOf, type Import } from './imports.ts'
import { layerOf, mayImport, scope } from './layers.ts'

/** One broken rule, with the place to look at and what was expected. */
export interface Problem {
  /** Path from the root, with the line where there is one: `packages/x86/src/cpu.ts:7`. */
  readonly where: string
  readonly what: string
  /** Worth knowing, and no broken rule. */
  readonly note?: boolean
}

/** Available in every package without being declared: the workspace's own tools. */
const testTools = ['vitest', 'fast-check']

/** All problems of these packages, in their order. Tools may import anything; nothing but tools may import a tool. */
export function checkBoundaries(packages: readonly WorkspacePackage[]): Problem[] {
  const names = new Map(packages.map((one) => [one.manifest.name, one]))
  return packages.flatMap((one) => [
    ...one.kind === 'tools' ? [] : checkLayer(one, names),
    ...checkFiles(one, names),
    ...checkCycles(one),
  ])
}

/** The manifest: the package has a layer, and asks only for what its layer may have. */
function checkLayer(one: WorkspacePackage, names: ReadonlyMap<string, WorkspacePackage>): Problem[] {
  const where = `${one.path}/package.json`
  if (mayImport(one.id) === undefined) {
    return [{ where, what: `no layer names '${one.id}'; add it to tools/boundaries/src/layers.ts` }]
  }
  const { dependencies, devDependencies, peerDependencies } = one.manifest
  return Object.keys({ ...dependencies, ...devDependencies, ...peerDependencies }).flatMap((name) => {
    const what = mayNot(one, names.get(name))
    return what === undefined ? [] : [{ where, what: `depends on '${name}': ${what}` }]
  })
}

/** Why `one` may not import `other`, if so. */
function mayNot(one: WorkspacePackage, other: WorkspacePackage | undefined): string | undefined {
  if (other === undefined || one.kind === 'tools' || one.id === other.id) return undefined
  const allowed = mayImport(one.id) ?? []
  if (other.kind !== 'tools' && allowed.includes(other.id)) return undefined
  const layer = layerOf(one.id) ?? 'unknown'
  const list = allowed.length === 0 ? 'no other package' : `only ${allowed.join(', ')}`
  return `'${one.id}' (layer ${layer}) may import ${list}`
}

/** Whether what it imports is built into it: whoever installs it has no use for the packages themselves. */
const isBundle = ({ kind }: WorkspacePackage): boolean => kind === 'apps'

function checkFiles(one: WorkspacePackage, names: ReadonlyMap<string, WorkspacePackage>): Problem[] {
  const used = new Set<string>()
  const problems = ['src', 'test', 'examples'].flatMap((part) => filesBelow(join(one.folder, part), '.ts')
    .flatMap((file) => importsOf(join(one.folder, part, file)).flatMap((found) => {
      if (part === 'src' || isBundle(one)) used.add(packageOf(found.specifier))
      const what = checkImport(one, part, file, found, names)
      return what === undefined ? [] : [{ where: `${one.path}/${part}/${file}:${found.line}`, what }]
    })))
  if (one.kind === 'tools' || isSkeleton(one)) return problems
  const { dependencies = {}, devDependencies = {} } = one.manifest
  const where = `${one.path}/package.json`
  const idle = Object.keys(isBundle(one) ? devDependencies : dependencies).filter((name) => !used.has(name))
  return [
    ...problems,
    ...Object.keys(isBundle(one) ? dependencies : {}).map((name) => ({
      where, what: `lists '${name}' in dependencies: it is bundled, which makes it one of devDependencies`,
    })),
    ...idle.map((name) => ({
      where,
      what: `depends on '${name}', which no file of src imports`,
      // A package that is being built lists what its layer will need; what is released lists what it uses.
      note: one.manifest.version === '0.0.0' && names.has(name),
    })),
  ]
}

/** What is wrong with one import, if anything. `file` is its path below `part`, which is src, test or examples. */
function checkImport(
  one: WorkspacePackage, part: string, file: string, { specifier }: Import,
  names: ReadonlyMap<string, WorkspacePackage>,
): string | undefined {
  if (specifier.startsWith('.')) return checkRelative(one, part, file, specifier)
  if (specifier.startsWith('node:') || builtinModules.includes(specifier)) {
    return part === 'src' && one.kind === 'packages'
      ? `imports '${specifier}': packages run in browsers, without Node's built-ins`
      : undefined
  }
  const name = packageOf(specifier)
  const other = names.get(name)
  const layer = mayNot(one, other)
  if (layer !== undefined) return `imports '${specifier}': ${layer}`
  if (other === one) {
    return part === 'src' ? `imports its own package by name ('${specifier}'): use a relative path` : undefined
  }
  if (name.startsWith(scope) && other === undefined) return `imports '${specifier}': there is no such package`
  if (other !== undefined && !exportsOf(other).includes(specifier.slice(name.length))) {
    return `imports '${specifier}', which '${name}' does not export`
  }
  return checkDeclared(one, part, name)
}

function checkDeclared(one: WorkspacePackage, part: string, name: string): string | undefined {
  if (one.kind === 'tools' && !name.startsWith(scope)) return undefined
  const { dependencies = {}, devDependencies = {}, peerDependencies = {} } = one.manifest
  if (isBundle(one)) {
    if (Object.hasOwn(devDependencies, name) || (part !== 'src' && testTools.includes(name))) return undefined
    return `imports '${name}', which package.json does not list in devDependencies`
  }
  if (Object.hasOwn(dependencies, name) || Object.hasOwn(peerDependencies, name)) return undefined
  if (part === 'src') return `imports '${name}', which package.json does not list in dependencies`
  if (Object.hasOwn(devDependencies, name) || testTools.includes(name)) return undefined
  return `imports '${name}', which package.json lists neither in dependencies nor in devDependencies`
}

function checkRelative(one: WorkspacePackage, part: string, file: string, specifier: string): string | undefined {
  const target = posix.join(part, dirname(file), specifier)
  // A tool may look inside a package: it tests and measures what is not exported.
  if (target.startsWith('..') && one.kind !== 'tools') return `imports '${specifier}', which lies outside the package`
  if (part === 'src' && one.kind !== 'tools' && !target.startsWith('src/')) {
    return `imports '${specifier}', which lies outside src`
  }
  if (part === 'examples' && one.kind === 'packages') {
    return `imports '${specifier}': an example uses the package by its name, as its readers will`
  }
  if (!existsSync(join(one.folder, target))) return `imports '${specifier}', which is not a file (is '.ts' missing?)`
  return undefined
}

/** Cycles between the files of src. Types alone may refer to each other: nothing is loaded for them. */
function checkCycles(one: WorkspacePackage): Problem[] {
  const src = join(one.folder, 'src')
  const edges = new Map(filesBelow(src, '.ts').map((file) => [file, importsOf(join(src, file))
    .filter(({ specifier, typeOnly }) => specifier.startsWith('.') && !typeOnly)
    .map(({ specifier }) => posix.join(dirname(file), specifier))]))
  return cycles(edges).map((way) => ({ where: `${one.path}/src/${way[0]}`, what: `a cycle: ${way.join(' → ')}` }))
}

/** Subpaths that a package exports: '' for the package itself, '/sub' for others. */
function exportsOf({ manifest: { exports } }: WorkspacePackage): string[] {
  if (typeof exports !== 'object' || exports === null) return ['']
  return Object.keys(exports).map((key) => key.slice(1))
}

/** The package that a specifier names: '@a/b' of '@a/b/c', 'd' of 'd/e'. */
const packageOf = (specifier: string): string => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
