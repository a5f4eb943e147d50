/** `pnpm new-package ID DESCRIPTION [IMPORT …]`: creates packages/ID, with test, example, README, changeset. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { mayImport } from '@cofferdam/tool-boundaries'
import { root } from '@cofferdam/tool-workspace'
import { filesOf } from './index.ts'

const [id = '', description = '', ...imports] = process.argv.slice(2)

function refusal(): string | undefined {
  if (!/^[a-z][a-z0-9-]*$/.test(id) || description === '') {
    return "usage: pnpm new-package ID 'What it is, in a line' [IMPORT …]"
  }
  if (existsSync(join(root, 'packages', id))) return `packages/${id} is there already`
  const allowed = mayImport(id)
  if (allowed === undefined) return `give '${id}' a layer in tools/boundaries/src/layers.ts first`
  const wrong = imports.filter((other) => !allowed.includes(other))
  if (wrong.length > 0) return `'${id}' may not import ${wrong.join(', ')}; it may import ${allowed.join(', ')}`
  return undefined
}

const why = refusal()
if (why !== undefined) {
  console.error(why)
  process.exitCode = 2
} else {
  for (const [file, text] of filesOf({ id, description: description.replace(/\.$/, ''), imports })) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), text)
    console.log(file)
  }
  console.log("\nNow 'pnpm install', replace greet, and say in the README what the package owns and what it does not.")
}
