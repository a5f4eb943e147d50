import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { flatKernel } from '../../../apps/cofferdam/test/flat-kernel.ts'
import { isSkeleton, workspacePackages, type WorkspacePackage } from '@cofferdam/tool-workspace'
import { ensureBuilt, filesIn, lintTarball, must, pack, typeProblems } from '../src/index.ts'

const packages = workspacePackages().filter(({ kind, manifest }) => kind !== 'tools' && manifest.private !== true)
const libraries = packages.filter(({ kind }) => kind === 'packages')
const folder = mkdtempSync(join(tmpdir(), 'pack-'))
const tarballs = new Map<string, string>()

beforeAll(async () => {
  await ensureBuilt()
  for (const one of packages) tarballs.set(one.manifest.name, await pack(one, folder))
}, 600_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** mov dx, 3F8h; mov al, 'h'; out dx, al; mov al, 'i'; out dx, al; mov dx, 604h; mov ax, 2000h (SLP_EN); out dx, ax */
const HI = '66baf803 b068 ee b069 ee 66ba0406 66b80020 66ef f4 ebfd'

const tarballOf = ({ manifest: { name } }: WorkspacePackage): string => tarballs.get(name) ?? `${name} was not packed`

describe('a tarball', () => {
  for (const one of packages) {
    it(`of ${one.manifest.name} holds its build, its licence and its README, and no source`, async () => {
      const files = await filesIn(tarballOf(one))
      const wanted = ['LICENSE', 'package.json', ...isSkeleton(one) ? [] : ['README.md']]
      expect(files).toEqual(expect.arrayContaining(wanted))
      expect(files.filter((file) => !/^(dist\/|README\.md$|CHANGELOG\.md$)/.test(file) && !wanted.includes(file)))
        .toEqual([])
    })
  }
  for (const one of packages) {
    it(`of ${one.manifest.name} has nothing for publint to say`, async () => {
      expect(await lintTarball(tarballOf(one))).toEqual([])
    })
  }
  for (const one of libraries) {
    it(`of ${one.manifest.name} has types that are right for ESM, CJS and bundlers`, { timeout: 60_000 }, async () => {
      expect(await typeProblems(tarballOf(one))).toEqual([])
    })
  }
})

describe('a project that installs the tarballs', () => {
  const consumer = join(folder, 'consumer')
  const names = libraries.map(({ manifest: { name } }) => name)
  const node = (file: string): Promise<string> => must('node', [join(consumer, file)], { cwd: consumer })

  beforeAll(async () => {
    mkdirSync(consumer)
    const files = Object.fromEntries([...tarballs].map(([name, tarball]) => [name, `file:${tarball}`]))
    const write = (file: string, text: string): void => writeFileSync(join(consumer, file), text)
    write('package.json', JSON.stringify({ name: 'consumer', private: true, dependencies: files }))
    // The tarballs ask for each other by version, which no registry has yet.
    write('pnpm-workspace.yaml', `packages: []\noverrides:\n${Object.entries(files)
      .map(([name, file]) => `  '${name}': '${file}'\n`).join('')}`)
    const imports = names.map((name, i) => `import * as p${i} from '${name}'`).join('\n')
    const list = names.map((_, i) => `p${i}`).join(', ')
    const print = `console.log(JSON.stringify([${list}].map((one) => Object.keys(one).sort())))\n`
    write('esm.mjs', `${imports}\n${print}`)
    write('cjs.cjs', `${names.map((name, i) => `const p${i} = require('${name}')`).join('\n')}\n${print}`)
    write('types.mts', `${imports}\nexport const all: object[] = [${list}]\n`)
    write('types.cts', `${names.map((name, i) => `import p${i} = require('${name}')`).join('\n')}\n`
      + `export const all: object[] = [${list}]\n`)
    write('tsconfig.json', JSON.stringify({
      compilerOptions: {
        module: 'nodenext', target: 'es2023', lib: ['es2023', 'webworker'], strict: true, noEmit: true, types: [],
        exactOptionalPropertyTypes: true,
      },
      files: ['types.mts', 'types.cts'],
    }))
    await must('pnpm', ['install', '--prefer-offline', '--ignore-scripts', '--no-frozen-lockfile'], { cwd: consumer })
  }, 300_000)

  it('imports every package as ESM and requires it as CJS, with the same exports', { timeout: 60_000 }, async () => {
    const [esm, cjs] = await Promise.all([node('esm.mjs'), node('cjs.cjs')])
    expect(JSON.parse(cjs)).toEqual(JSON.parse(esm))
    expect(JSON.parse(esm)).toHaveLength(names.length)
  })

  it('type-checks against them from ESM and from CJS', { timeout: 120_000 }, async () => {
    expect(await must('tsc', ['-p', consumer])).toBe('')
  })

})

describe('a project that installs the command line alone', () => {
  const consumer = join(folder, 'user')

  it('gets one package, which boots a kernel', { timeout: 120_000 }, async () => {
    mkdirSync(consumer)
    const dependencies = { cofferdam: `file:${tarballs.get('cofferdam') ?? ''}` }
    writeFileSync(join(consumer, 'package.json'), JSON.stringify({ name: 'user', private: true, dependencies }))
    writeFileSync(join(consumer, 'pnpm-workspace.yaml'), 'packages: []\n')
    await must('pnpm', ['install', '--offline', '--ignore-scripts', '--no-frozen-lockfile'], { cwd: consumer })
    const installed = readdirSync(join(consumer, 'node_modules/.pnpm')).filter((name) => name.includes('@'))
    expect(installed).toEqual([expect.stringMatching(/^cofferdam@/)])
    const kernel = join(consumer, 'kernel')
    writeFileSync(kernel, flatKernel(HI))
    const program = join(consumer, 'node_modules/.bin/cofferdam')
    expect(await must(program, ['boot', '--kernel', kernel], { cwd: consumer })).toBe('hi')
  })
})
