/**
 * `npm test`: build, types and lint of every package (turbo, which skips what has not changed), then all tests (vitest;
 * the repository's own checks are tests in tools/checks). The last line sums both: a package's task counts as one test.
 */
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFile, root } from './workspace.mjs'

/** Runs it all, whatever fails on the way; the exit code is 0 only when nothing failed. */
export async function runTests(args, { run, say, turbo }) {
  const started = Date.now()
  rmSync(cacheFile('totals.txt'), { force: true })
  say('build, types and lint of every package …')
  const tasks = await runTasks({ run, turbo })
  say('tests …')
  const tests = await runVitest(args, { run })
  const totals = {
    passed: tasks.passed + tests.passed,
    failed: tasks.failed + tests.failed,
    skipped: tests.skipped,
  }
  say(`build, types and lint: ${summary(tasks)}; tests: ${summary(tests)}; ${clock(Date.now() - started)}`)
  writeFileSync(cacheFile('totals.txt'), `${summary(totals)}\n`)
  process.stdout.write(`${summary(totals)}\n`)
  return totals.failed === 0 ? 0 : 1
}

async function runTasks({ run, turbo }) {
  const folder = join(root, '.turbo/runs')
  rmSync(folder, { recursive: true, force: true })
  const code = await run('turbo', [...turbo, 'build', 'types', 'lint', '--continue', '--summarize'])
  const [file] = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : []
  if (file === undefined) return { passed: 0, failed: 1, skipped: 0 }
  const { tasks: all } = JSON.parse(readFileSync(join(folder, file), 'utf8'))
  const tasks = all.filter(({ command }) => command !== '<NONEXISTENT>')
  // A task that a failed one kept from running has not passed either.
  const passed = tasks.filter(({ execution }) => execution?.exitCode === 0).length
  return atLeastOneFailed(code, { passed, failed: tasks.length - passed, skipped: 0 })
}

async function runVitest(args, { run }) {
  const file = cacheFile('vitest.json')
  rmSync(file, { force: true })
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
  const code = await run('vitest', ['run', ...reporters, ...args])
  if (!existsSync(file)) return { passed: 0, failed: 1, skipped: 0 }
  const result = JSON.parse(readFileSync(file, 'utf8'))
  // A file that cannot even be loaded has no failed test of its own.
  const broken = result.testResults.filter(({ status, assertionResults }) => status === 'failed'
    && !assertionResults.some((assertion) => assertion.status === 'failed')).length
  return atLeastOneFailed(code, {
    passed: result.numPassedTests,
    failed: result.numFailedTests + broken,
    skipped: result.numPendingTests + result.numTodoTests,
  })
}

/** A runner that ended with an error has failed, even where it counts no failed test (an unhandled rejection, say). */
const atLeastOneFailed = (code, totals) => (code !== 0 && totals.failed === 0 ? { ...totals, failed: 1 } : totals)

const summary = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`

const clock = (ms) => `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`
