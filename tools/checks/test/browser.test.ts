import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { workspacePackages } from '@cofferdam/tool-workspace'
import { bundleForBrowser, loadWithoutNode } from '../src/index.ts'

describe('everything below apps', () => {
  for (const one of workspacePackages().filter(({ kind }) => kind === 'packages')) {
    it(`bundles ${one.manifest.name} for a browser, and loads without Node`, { timeout: 60_000 }, async () => {
      const { problems, code } = await bundleForBrowser(one)
      expect(problems).toEqual([])
      const source = await import(join(one.folder, 'src/index.ts')) as object
      expect(loadWithoutNode(code).sort()).toEqual(Object.keys(source).sort())
    })
  }
})

describe('the check itself', () => {
  it('refuses a built-in of Node, and a global of Node that is used while loading', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'browser-'))
    const manifest = { name: 'a', version: '0.0.0' }
    const one = { id: 'a', kind: 'packages', path: 'packages/a', folder, manifest } as const
    mkdirSync(join(folder, 'src'))
    writeFileSync(join(folder, 'src/index.ts'), "export { readFileSync } from 'node:fs'")
    expect((await bundleForBrowser(one)).problems.join()).toContain('node:fs')
    writeFileSync(join(folder, 'src/index.ts'), 'export const a = Buffer.alloc(4)')
    const { code } = await bundleForBrowser(one)
    expect(() => loadWithoutNode(code)).toThrow('Buffer is not defined')
    rmSync(folder, { recursive: true })
  })
})
