import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { workspacePackages } from '@cofferdam/tool-workspace'
import { run } from '../src/index.ts'

it('the API pages build without a warning, with a module for each package', { timeout: 300_000 }, async () => {
  const out = mkdtempSync(join(tmpdir(), 'docs-'))
  const { code, stdout, stderr } = await run('typedoc', ['--out', out, '--logLevel', 'Warn'])
  expect(stdout + stderr).toBe('')
  expect(code).toBe(0)
  for (const { manifest: { name } } of workspacePackages().filter(({ kind }) => kind === 'packages')) {
    expect(existsSync(join(out, 'modules', `${name.replace(/[@/]/g, '_')}.html`)), name).toBe(true)
  }
  rmSync(out, { recursive: true })
})
