/** `pnpm boundaries`: says which imports break which rule; exit code 1 where any does. */
import { workspacePackages } from '@cofferdam/tool-workspace'
import { checkBoundaries } from './check.ts'
import { layers } from './layers.ts'

const packages = workspacePackages()
const found = checkBoundaries(packages)
const problems = found.filter(({ note }) => note !== true)
for (const { where, what, note } of found) console.log(`${where}\n  ${note === true ? 'note: ' : ''}${what}`)
if (problems.length === 0) {
  console.log(`${packages.length} packages keep to their layers: ${layers.map(({ name }) => name).join(' → ')}`)
} else {
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`
  console.log(`\n${count}. Who may import whom, from the top:`)
  for (const { name, packages: own } of layers) {
    const members = Object.entries(own).map(([id, to]) => to.length === 0 ? id : `${id} (→ ${to.join(', ')})`)
    console.log(`  ${name.padEnd(8)} ${members.join(' · ')}`)
  }
}
process.exitCode = problems.length === 0 ? 0 : 1
