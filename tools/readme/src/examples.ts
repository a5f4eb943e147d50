/** The examples of a package: files that a reader copies, so they run as they stand. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { filesBelow, type WorkspacePackage } from '@cofferdam/tool-workspace'
import { markers, shows } from './readme.ts'

/** Paths from the package's folder. */
export function examplesOf({ folder }: WorkspacePackage): string[] {
  return filesBelow(join(folder, 'examples'), '.ts').map((file) => `examples/${file}`)
}

/** The README of a package; undefined where it has none. */
export function readmeOf({ folder }: WorkspacePackage): string | undefined {
  const file = join(folder, 'README.md')
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

/** What is wrong with the README of a package, as sentences. Outputs are compared by `runExample`, not here. */
export function checkReadme(one: WorkspacePackage): string[] {
  const readme = readmeOf(one)
  if (readme === undefined) return [`${one.path} has no README.md`]
  const examples = examplesOf(one)
  const marked = markers(readme)
  const lost = marked.filter(({ file }) => !existsSync(join(one.folder, file)))
    .map(({ kind, file }) => `names '${file}' (${kind}), which does not exist`)
  const hidden = examples.filter((file) => !marked.some((marker) => marker.kind === 'example' && marker.file === file)
    && !shows(readme, readFileSync(join(one.folder, file), 'utf8')))
    .map((file) => `does not show ${file}; put <!-- example: ${file} --> where it belongs and run 'pnpm readme'`)
  const stale = marked.filter(({ kind, file, content }) => kind === 'example' && existsSync(join(one.folder, file))
    && content !== readFileSync(join(one.folder, file), 'utf8'))
    .map(({ file }) => `shows another text than ${file} has; run 'pnpm readme'`)
  const none = examples.length === 0 && one.kind === 'packages' ? ['has no example: examples/*.ts is empty'] : []
  return [...none, ...lost, ...hidden, ...stale].map((what) => `${one.path}/README.md ${what}`)
}

/** The output that the README gives for an example, if any. */
export function expectedOutput(one: WorkspacePackage, file: string): string | undefined {
  return markers(readmeOf(one) ?? '').find((marker) => marker.kind === 'output' && marker.file === file)?.content
}

export interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs an example on the packages' sources. `timeout` in milliseconds. */
export function runExample(one: WorkspacePackage, file: string, timeout = 120_000): Promise<Run> {
  return new Promise((resolve) => {
    const args = ['--conditions=@cofferdam/source', file]
    execFile(process.execPath, args, { cwd: one.folder, timeout, encoding: 'utf8' }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
      resolve({ code, stdout, stderr: error?.killed === true ? `${stderr}\nstopped after ${timeout} ms` : stderr })
    })
  })
}
