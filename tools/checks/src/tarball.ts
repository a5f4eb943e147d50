/** What `pnpm pack` makes of a package, and what other projects would find wrong with it. */
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import type { WorkspacePackage } from '@cofferdam/tool-workspace'
import { must } from './run.ts'

/** Packs a package into `folder`; the tarball's path. */
export async function pack({ folder: cwd }: WorkspacePackage, folder: string): Promise<string> {
  const said = await must('pnpm', ['pack', '--json', '--pack-destination', folder], { cwd })
  return (JSON.parse(said) as { filename: string }).filename
}

/** Paths in a tarball, from the package's root, sorted. */
export async function filesIn(tarball: string): Promise<string[]> {
  const packed = createPackageFromTarballData(new Uint8Array(await readFile(tarball)))
  const prefix = `/node_modules/${packed.packageName}/`
  return packed.listFiles().map((file) => file.slice(prefix.length)).sort()
}

/** What publint says about the tarball of a package, in its words. */
export async function lintTarball(tarball: string): Promise<string[]> {
  const stream = Readable.toWeb(createReadStream(tarball)) as ReadableStream<Uint8Array>
  const { messages, pkg } = await publint({ pack: { tarball: stream }, strict: true })
  return messages.map((message) => `${message.type}: ${formatMessage(message, pkg) ?? message.code}`)
}

/** How TypeScript would misread the tarball under each way of resolving modules (“are the types wrong”). */
export async function typeProblems(tarball: string): Promise<string[]> {
  const result = await checkPackage(createPackageFromTarballData(new Uint8Array(await readFile(tarball))))
  if (result.types === false) return ['it has no types']
  // `node10` knows no exports map; it is not supported by Node ≥ 20 either.
  return result.problems
    .filter((problem) => !('resolutionKind' in problem && problem.resolutionKind === 'node10'))
    .map((problem) => `${problem.kind}: ${JSON.stringify(problem)}`)
}
