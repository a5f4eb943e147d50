import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { workspacePackages } from '@cofferdam/tool-workspace'
import { checkBoundaries, cycles, importsOf, mayImport } from '../src/index.ts'

describe('this repository', () => {
  it('keeps to its layers', () => {
    const problems = checkBoundaries(workspacePackages()).filter(({ note }) => note !== true)
    expect(problems.map(({ where, what }) => `${where}: ${what}`)).toEqual([])
  })
})

describe('the layers', () => {
  it('let a package import what lies below it', () => {
    expect(mayImport('machine')).toEqual(expect.arrayContaining(['host', 'sev', 'x86', 'spec']))
    expect(mayImport('spec')).toEqual([])
  })

  it('let silicon import sideways only from x86 by paging to memory, and from devices to memory', () => {
    expect(mayImport('x86')).toEqual(['paging', 'memory', 'spec'])
    expect(mayImport('devices')).toEqual(['memory', 'spec'])
    expect(mayImport('memory')).toEqual(['spec'])
  })

  it('keep os packages apart, but for host and for kexec → boot', () => {
    expect(mayImport('boot')).not.toContain('page-alloc')
    expect(mayImport('kexec')).toContain('boot')
    expect(mayImport('host')).toEqual(expect.arrayContaining(['page-alloc', 'tdmr', 'kexec', 'boot']))
  })
})

describe('a workspace', () => {
  let folder = ''
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'boundaries-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const write = (file: string, text: string): void => {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    writeFileSync(join(folder, file), text)
  }
  const add = (id: string, dependencies: string[], files: Record<string, string>): void => {
    const name = `@cofferdam/${id}`
    const versions = Object.fromEntries(dependencies.map((other) => [other, '1.0.0']))
    write(`packages/${id}/package.json`, JSON.stringify({ name, exports: { '.': '' }, dependencies: versions }))
    for (const [file, text] of Object.entries(files)) write(`packages/${id}/${file}`, text)
  }
  const problems = (): string[] => checkBoundaries(workspacePackages(folder))
    .map(({ where, what }) => `${where} ${what}`)

  it('may have packages that are still empty', () => {
    add('spec', [], {})
    add('memory', ['@cofferdam/spec'], { 'src/index.ts': '/** To come. */\nexport {}\n' })
    expect(problems()).toEqual([])
  })

  it('is refused an import that goes up, in the source and in the manifest', () => {
    add('x86', [], { 'src/index.ts': 'export const a = 1' })
    add('memory', ['@cofferdam/x86'], { 'src/index.ts': "\nexport { a } from '@cofferdam/x86'" })
    expect(problems()).toEqual([
      "packages/memory/package.json depends on '@cofferdam/x86': 'memory' (layer silicon) may import only spec",
      "packages/memory/src/index.ts:2 imports '@cofferdam/x86': 'memory' (layer silicon) may import only spec",
    ])
  })

  it('is refused an import that package.json does not declare, and a dependency that nothing imports', () => {
    add('spec', ['idle'], { 'src/index.ts': "import { b } from 'other'\nexport const a = b" })
    expect(problems()).toEqual([
      "packages/spec/src/index.ts:1 imports 'other', which package.json does not list in dependencies",
      "packages/spec/package.json depends on 'idle', which no file of src imports",
    ])
  })

  it('is refused an app that makes others install what is bundled into it', () => {
    add('spec', [], { 'src/index.ts': 'export const a = 1' })
    const uses = { dependencies: { '@cofferdam/spec': '1.0.0' }, devDependencies: { idle: '1.0.0' } }
    write('apps/cofferdam/package.json', JSON.stringify({ name: 'cofferdam', ...uses }))
    write('apps/cofferdam/src/main.ts', "import { a } from '@cofferdam/spec'\nexport const b = a")
    expect(problems()).toEqual([
      "apps/cofferdam/src/main.ts:1 imports '@cofferdam/spec', which package.json does not list in devDependencies",
      "apps/cofferdam/package.json lists '@cofferdam/spec' in dependencies: it is bundled, which makes it one of "
      + 'devDependencies',
      "apps/cofferdam/package.json depends on 'idle', which no file of src imports",
    ])
  })

  it('is refused a relative import that leaves the package, names no file, or has no ending', () => {
    add('spec', [], { 'src/index.ts': "import '../../x86/src/a.ts'\nimport './gone.ts'\nimport './b'", 'src/b.ts': '' })
    expect(problems()).toEqual([
      "packages/spec/src/index.ts:1 imports '../../x86/src/a.ts', which lies outside the package",
      "packages/spec/src/index.ts:2 imports './gone.ts', which is not a file (is '.ts' missing?)",
      "packages/spec/src/index.ts:3 imports './b', which is not a file (is '.ts' missing?)",
    ])
  })

  it("is refused Node's built-ins in the source of a package, and not in its tests", () => {
    const text = "import { readFileSync } from 'node:fs'\nexport const a = readFileSync"
    add('spec', [], { 'src/index.ts': text, 'test/a.test.ts': text })
    expect(problems()).toEqual([
      "packages/spec/src/index.ts:1 imports 'node:fs': packages run in browsers, without Node's built-ins",
    ])
  })

  it('is refused the inside of another package', () => {
    add('spec', [], { 'src/index.ts': 'export const a = 1' })
    add('memory', ['@cofferdam/spec'], { 'src/index.ts': "export * from '@cofferdam/spec/src/index.ts'" })
    expect(problems()[0]).toContain("imports '@cofferdam/spec/src/index.ts', which '@cofferdam/spec' does not export")
  })

  it('is refused a cycle between files, unless types alone make it', () => {
    add('spec', [], {
      'src/index.ts': "export * from './a.ts'",
      'src/a.ts': "import { b } from './b.ts'\nexport const a = () => b",
      'src/b.ts': "import { a } from './a.ts'\nimport type { C } from './c.ts'\nexport const b = (): C => a()",
      'src/c.ts': "import { b } from './b.ts'\nexport type C = typeof b",
    })
    expect(problems())
      .toEqual([expect.stringMatching(/src\/[ab].ts a cycle: (a.ts → b.ts → a.ts|b.ts → a.ts → b.ts)$/)])
  })

  it('is refused a package that no layer names', () => {
    add('common', [], { 'src/index.ts': 'export const a = 1' })
    expect(problems()[0]).toContain("no layer names 'common'")
  })
})

describe('cycles', () => {
  it('finds none in a tree, and the one of a node that leads to itself', () => {
    expect(cycles(new Map([['a', ['b', 'c']], ['b', ['c']], ['c', []]]))).toEqual([])
    expect(cycles(new Map([['a', ['a']]]))).toEqual([['a', 'a']])
  })
})

describe('imports of a file', () => {
  it('are found in every form, with their line, types marked', () => {
    const text = [
      "import type { A } from 'a'",
      "export * from 'b'",
      "const c = await import('c')",
      "type D = import('d').D",
      "import 'e'",
    ].join('\n')
    expect(importsOf('x.ts', text).map(({ specifier, line, typeOnly }) => `${specifier} ${line} ${typeOnly}`))
      .toEqual(['a 1 true', 'b 2 false', 'c 3 false', 'd 4 true', 'e 5 false'])
  })
})
