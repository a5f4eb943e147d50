/** Programs of the workspace, run to their end. */
import { execFile } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { root } from '@cofferdam/tool-workspace'

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs `command` with the workspace's tools first in PATH. Nothing is thrown: a failed program is a code. */
export function run(command: string, args: readonly string[], { cwd = root, timeout = 300_000 } = {}): Promise<Ended> {
  const path = `${join(root, 'node_modules/.bin')}${delimiter}${process.env.PATH ?? ''}`
  // npm and pnpm hand their settings to scripts by variables; what runs here is to see only what it is given.
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(npm_config|npm_package|pnpm_config)_/i.test(name)
  )
  const env = { ...Object.fromEntries(inherited), PATH: path, NODE_ENV: undefined, TURBO_TELEMETRY_DISABLED: '1' }
  return new Promise((resolve) => {
    execFile(command, args, { cwd, env, timeout, encoding: 'utf8', maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
      resolve({ code, stdout, stderr: error !== null && stderr === '' && stdout === '' ? error.message : stderr })
    })
  })
}

/** As `run`, for what must not fail: throws with everything that the program said. */
export async function must(command: string, args: readonly string[], options: { cwd?: string } = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options)
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}\n${stdout}${stderr}`)
  return stdout
}
