/** Runs a program that is of interest only when it fails: one line that says what is being done, and for how long. */
import { spawn } from 'node:child_process'
import { environment, root } from './workspace.mjs'
import { say, status } from './say.mjs'

/**
 * `progress` picks what to show of the output so far. The result is the exit code; all output is printed where
 * that is not 0.
 */
export function runQuietly(what, command, args, { env = {}, progress = () => '' } = {}) {
  say(`${what} …`)
  const started = Date.now()
  const elapsed = () => `${((Date.now() - started) / 1000).toFixed(1)} s`
  let output = ''
  const timer = setInterval(() => status(`${elapsed()} ${progress(output)}`), 200)
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...environment(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: process.platform === 'win32',
    })
    const end = (code, why) => {
      clearInterval(timer)
      status('')
      if (code !== 0) process.stderr.write(`${output}${why}\n`)
      say(code === 0 ? `done in ${elapsed()}` : `${what}: ${command} ended with ${code}`)
      resolve(code)
    }
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    child.on('error', (error) => end(127, error.message))
    child.on('close', (code) => end(code ?? 1, ''))
  })
}
