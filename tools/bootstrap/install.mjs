/** Dependencies, with pnpm at the version that package.json names, which need not be installed. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail, say } from './say.mjs'
import { bin, environment, installFingerprint, isStamped, root, stamp } from './workspace.mjs'

/** Installs what the lockfile says, unless that has been done already. */
export function ensureInstalled() {
  const fingerprint = installFingerprint()
  if (existsSync(join(bin, 'node')) && isStamped('install', fingerprint)) return
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const pinned = packageManager.split('+')[0]
  say(`installing the dependencies (${pinned}, as pnpm-lock.yaml says) …`)
  const started = Date.now()
  const args = ['install', '--frozen-lockfile', '--prefer-offline', '--reporter=append-only']
  const local = join(bin, 'pnpm')
  const run = existsSync(local)
    ? spawnSync(local, args, options())
    : spawnSync('npx', ['--yes', '--loglevel=error', pinned, ...args], options())
  if (run.status !== 0) {
    process.stderr.write(`${run.stdout ?? ''}${run.stderr ?? ''}`)
    const why = run.error?.message ?? `pnpm ended with ${run.status}`
    fail(`the dependencies could not be installed (${why}); see above`)
  }
  stamp('install', fingerprint)
  say(`dependencies ready after ${((Date.now() - started) / 1000).toFixed(1)} s`)
}

const options = () => ({
  cwd: root,
  env: { ...environment(), CI: '1' },
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'pipe'],
  shell: process.platform === 'win32',
})
