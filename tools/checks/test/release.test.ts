import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readJson, root, workspacePackages, type WorkspacePackage } from '@cofferdam/tool-workspace'
import { ensureBuilt, must, run } from '../src/index.ts'

const published = (folder: string): WorkspacePackage[] => workspacePackages(folder)
  .filter(({ kind, manifest }) => kind !== 'tools' && manifest.private !== true)
const changesets = readdirSync(join(root, '.changeset')).filter((name) => name.endsWith('.md') && name !== 'README.md')

describe('a release', () => {
  const copy = mkdtempSync(join(tmpdir(), 'release-'))

  // Manifests and changesets are all that versions depend on; a copy leaves the checkout as it is.
  beforeAll(async () => {
    for (const file of ['package.json', 'pnpm-workspace.yaml', '.changeset']) {
      cpSync(join(root, file), join(copy, file), { recursive: true })
    }
    for (const { path, folder } of workspacePackages()) {
      mkdirSync(join(copy, path), { recursive: true })
      for (const file of ['package.json', 'CHANGELOG.md']) {
        if (existsSync(join(folder, file))) cpSync(join(folder, file), join(copy, path, file))
      }
    }
    await must('git', ['init', '--quiet', '--initial-branch=main'], { cwd: copy })
  })
  afterAll(() => rmSync(copy, { recursive: true, force: true }))

  it.runIf(changesets.length > 0)('raises versions and writes the changelogs by the changesets', async () => {
    const before = new Map(published(copy).map(({ id, manifest }) => [id, manifest.version]))
    const { code, stdout, stderr } = await run('changeset', ['version'], { cwd: copy })
    expect(code, stdout + stderr).toBe(0)
    const raised = published(copy).filter(({ id, manifest }) => manifest.version !== before.get(id))
    expect(raised.length).toBeGreaterThan(0)
    for (const { folder, manifest: { version } } of raised) {
      expect(version).toMatch(/^\d+\.\d+\.\d+$/)
      expect(existsSync(join(folder, 'CHANGELOG.md')), `${folder} has a changelog`).toBe(true)
    }
    // The command line bundles the packages: no version of theirs reaches its users without one of its own.
    const names = raised.map(({ manifest: { name } }) => name)
    for (const { kind, manifest: { name, devDependencies } } of published(copy)) {
      if (kind !== 'apps' || !names.some((other) => other in (devDependencies ?? {}))) continue
      expect(names, `a changeset that names '${name}' as well`).toContain(name)
    }
    expect(readdirSync(join(copy, '.changeset')).filter((name) => changesets.includes(name))).toEqual([])
  })

  it('would publish every package, publicly', { timeout: 120_000 }, async () => {
    await ensureBuilt()
    const args = ['--recursive', 'publish', '--dry-run', '--no-git-checks', '--force', '--registry=http://127.0.0.1:9/']
    const { code, stdout, stderr } = await run('pnpm', args)
    expect(code, stdout + stderr).toBe(0)
    const names = published(root).map(({ manifest: { name, version } }) => `${name}@${version}`)
    for (const name of names) expect(stdout + stderr).toContain(name)
    expect((readJson(join(root, '.changeset/config.json')) as { access: string }).access).toBe('public')
  })

  it('publishes nothing that has the private name of a tool', () => {
    for (const { manifest } of workspacePackages().filter(({ kind }) => kind === 'tools')) {
      expect(manifest, manifest.name).toMatchObject({ private: true })
    }
  })
})
