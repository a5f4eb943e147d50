import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkBoundaries } from '@cofferdam/tool-boundaries'
import { root, workspacePackages } from '@cofferdam/tool-workspace'
import { filesOf } from '../src/index.ts'

describe('a new package', () => {
  const folder = mkdtempSync(join(tmpdir(), 'new-package-'))
  const files = filesOf({ id: 'kexec', description: 'Loads the next kernel', imports: [] })

  beforeAll(() => {
    for (const [file, text] of files) {
      mkdirSync(dirname(join(folder, file)), { recursive: true })
      writeFileSync(join(folder, file), text)
    }
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it('breaks no boundary', () => {
    expect(checkBoundaries(workspacePackages(folder))).toEqual([])
  })

  it('has a changeset, and a README that shows its example', () => {
    expect(files.get('.changeset/kexec-first.md')).toContain("'@cofferdam/kexec': minor")
    expect(files.get('packages/kexec/README.md')).toContain(files.get('packages/kexec/examples/greet.ts'))
  })

  it('is set up as the existing ones are', () => {
    type Shape = Record<string, unknown>
    const made = JSON.parse(files.get('packages/kexec/package.json') ?? '') as Shape
    for (const { folder: other } of workspacePackages(root).filter(({ kind }) => kind === 'packages')) {
      const manifest = JSON.parse(readFileSync(join(other, 'package.json'), 'utf8')) as Shape
      for (const key of ['license', 'type', 'sideEffects', 'engines', 'exports', 'publishConfig', 'files']) {
        expect(manifest[key], `${other}: ${key}`).toEqual(made[key])
      }
      expect(manifest.scripts, `${other}: scripts`).toMatchObject(made.scripts as Shape)
    }
  })
})
