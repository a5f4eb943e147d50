#!/usr/bin/env node
/**
 * The root scripts. Runs on any Node ≥ 20 without dependencies: installs them when they are missing or out of date, and
 * then runs the command with the workspace's own Node (the npm package `node`) first in PATH.
 *
 *   node tools/bootstrap/run.mjs COMMAND [ARGUMENTS]
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { ensureInstalled } from './install.mjs'
import { runQuietly } from './quiet.mjs'
import { fail, say } from './say.mjs'
import { runTests } from './test.mjs'
import { bin, environment, isStamped, root, sourceFingerprint, stamp } from './workspace.mjs'

const turbo = ['run', '--output-logs=errors-only', '--log-order=grouped', '--concurrency=2']

const commands = {
  /** Everything, then `cofferdam boot`. */
  // What the project is for, first. Options given here win: `npm start -- --cc none`.
  start: async (args) => cofferdam(['boot', '--cc', 'snp', ...args]),
  cofferdam,
  build: async () => build(),
  test: async (args) => runTests(args, { run, say, turbo }),
  /** Tests that take minutes (`*.slow.test.ts`); arguments go to vitest. */
  'test:slow': async (args) => {
    process.env.COFFERDAM_SLOW = '1'
    return run('vitest', ['run', ...args])
  },
  types: async () => run('turbo', [...turbo, 'types', '--continue']),
  lint: async (args) => run('turbo', [...turbo, 'lint', '--continue', '--', ...args]),
  // `bench page-alloc` measures the page allocator; without a name, whole boots against QEMU.
  bench: async ([first, ...rest]) => await build() || node(first === 'page-alloc'
    ? ['packages/page-alloc/bench/bench.ts', ...rest]
    : ['tools/bench/src/main.ts', ...(first === undefined ? [] : [first, ...rest])]),
  /** Publishes what the versions say; `--dry-run` only lists it. */
  release: async (args) => await build() || (args.includes('--dry-run')
    ? run('pnpm', ['--recursive', 'publish', '--no-git-checks', ...args])
    : run('changeset', ['publish', ...args])),
  /** `exec COMMAND …`: any tool of the workspace. */
  exec: async ([command, ...args]) => run(command, args),
  /** `node FILE …`: a TypeScript file on the sources of the packages. */
  node,
}

function node([file = '', ...args]) {
  if (!existsSync(join(root, file))) fail(`there is no ${file} in this checkout`, 2)
  return run('node', ['--conditions=@cofferdam/source', file, ...args])
}

/** Runs a program to its end with this process's terminal, and gives its exit code. */
function run(command, args, { cwd = root } = {}) {
  return new Promise((resolve) => {
    const local = join(bin, command)
    const child = spawn(existsSync(local) ? local : command, args, {
      cwd,
      env: environment(),
      stdio: 'inherit',
    })
    // The terminal sends Ctrl-C to the whole group: the program decides what it means, and this process waits for it.
    const ignore = () => {}
    for (const signal of ['SIGINT', 'SIGQUIT']) process.on(signal, ignore)
    const pass = (signal) => child.kill(signal)
    for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, pass)
    child.on('error', (error) => fail(`${command} could not be started: ${error.message}`, 127))
    child.on('close', (code, signal) => {
      for (const name of ['SIGINT', 'SIGQUIT']) process.off(name, ignore)
      for (const name of ['SIGTERM', 'SIGHUP']) process.off(name, pass)
      resolve(code ?? 128 + (constants.signals[signal] ?? 0))
    })
  })
}

/** Builds all packages unless no source changed since the last time. turbo's cache decides what is really built. */
async function build() {
  if (isStamped('build', sourceFingerprint())) return 0
  const code = await runQuietly('building the packages', join(bin, 'turbo'), [...turbo, 'build'])
  if (code === 0) stamp('build', sourceFingerprint())
  return code
}

async function cofferdam(args) {
  const manifest = join(root, 'apps/cofferdam/package.json')
  if (!existsSync(manifest)) fail('there is no apps/cofferdam in this checkout', 2)
  const code = await build()
  if (code !== 0) fail('the build failed; see above', 2)
  const { bin: entry } = JSON.parse(readFileSync(manifest, 'utf8'))
  const file = join(root, 'apps/cofferdam', typeof entry === 'string' ? entry : entry.cofferdam)
  return run('node', [file, ...args], { cwd: process.env.INIT_CWD ?? root })
}

const [name = '', ...args] = process.argv.slice(2)
if (!Object.hasOwn(commands, name)) {
  fail(`unknown command '${name}'; one of ${Object.keys(commands).join(', ')}`, 2)
}
await ensureInstalled()
process.exitCode = await commands[name](args)
