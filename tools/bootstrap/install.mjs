/** Dependencies, with pnpm at the version that package.json names, which need not be installed. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { runQuietly } from './quiet.mjs'
import { fail } from './say.mjs'
import { bin, installFingerprint, isStamped, root, stamp } from './workspace.mjs'

/** Installs what the lockfile says, unless that has been done already. */
export async function ensureInstalled() {
  const fingerprint = installFingerprint()
  if (existsSync(join(bin, 'node')) && isStamped('install', fingerprint)) return
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const pinned = packageManager.split('+')[0]
  const args = ['install', '--frozen-lockfile', '--prefer-offline', '--reporter=append-only']
  const options = { env: { CI: '1' }, progress: (output) => /.*Progress: (.*)/s.exec(output)?.[1]?.split('\n')[0] ?? '' }
  const what = `installing the dependencies (${pinned}, as pnpm-lock.yaml says)`
  const local = join(bin, 'pnpm')
  const code = existsSync(local)
    ? await runQuietly(what, local, args, options)
    : await runQuietly(what, 'npx', ['--yes', '--loglevel=error', pinned, ...args], options)
  if (code !== 0) fail('the dependencies could not be installed; see above')
  stamp('install', fingerprint)
}
