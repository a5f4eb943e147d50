import { expect, it } from 'vitest'
import { workspacePackages } from '@cofferdam/tool-workspace'
import { run } from '../src/index.ts'

/** Beside these, only what tools want to find at the root: dot files, configuration, the lockfile. */
const wanted = [
  'package.json', 'turbo.json', 'pnpm-workspace.yaml', 'packages', 'apps', 'tools', '.changeset', 'README.md',
  'LICENSE',
]
const configuration = /^\.|^pnpm-lock\.yaml$|\.config\.[jt]s$|^tsconfig\..*json$|^tsup\.shared\.ts$|^typedoc\.json$/

it('the top level holds what it is meant to, and configuration', async (context) => {
  const { code, stdout } = await run('git', ['ls-files'])
  if (code !== 0) return context.skip('this is not a git checkout')
  const top = new Set(stdout.trim().split('\n').map((file) => file.split('/')[0] ?? ''))
  expect([...top].filter((name) => !wanted.includes(name) && !configuration.test(name))).toEqual([])
})

it('every package is built, typed and linted by the same commands', () => {
  for (const { kind, path, manifest } of workspacePackages()) {
    const scripts = manifest.scripts ?? {}
    expect(scripts.lint, `${path}: lint`).toBe('eslint .')
    if (kind !== 'tools') expect(scripts, path).toMatchObject({ build: 'tsup', types: 'tsc -p .' })
  }
})
