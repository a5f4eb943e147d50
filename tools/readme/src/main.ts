/** `pnpm readme`: fills the blocks of all READMEs from the examples and their output. `--check` says what differs. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isSkeleton, workspacePackages } from '@cofferdam/tool-workspace'
import { checkReadme, readmeOf, runExample } from './examples.ts'
import { fill, markers } from './readme.ts'

const check = process.argv.includes('--check')
const packages = workspacePackages().filter((one) => one.kind !== 'tools' && !isSkeleton(one))

for (const one of check ? [] : packages) {
  const readme = readmeOf(one)
  if (readme === undefined) continue
  const outputs = new Map<string, string>()
  for (const { kind, file } of markers(readme)) {
    if (kind !== 'output' || outputs.has(file)) continue
    const { code, stdout, stderr } = await runExample(one, file)
    if (code !== 0) throw new Error(`${one.path}/${file} ended with ${code}:\n${stderr}`)
    outputs.set(file, stdout)
  }
  const filled = fill(readme, ({ kind, file }) =>
    kind === 'output' ? outputs.get(file) ?? '' : readFileSync(join(one.folder, file), 'utf8'))
  if (filled === readme) continue
  writeFileSync(join(one.folder, 'README.md'), filled)
  console.log(`${one.path}/README.md written`)
}

const problems = packages.flatMap(checkReadme)
for (const problem of problems) console.log(problem)
if (problems.length === 0) console.log(`${packages.length} READMEs show their examples as they are`)
process.exitCode = problems.length === 0 ? 0 : 1
