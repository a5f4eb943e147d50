import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'tsup'

/** The text of each bundled package's licence, which goes where its code goes. */
const collectLicences = (inputs: readonly string[]): string => {
  const roots = new Set(inputs.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? []))
  return [...roots].sort().flatMap((root) => {
    const { name, version } = JSON.parse(
      readFileSync(join(root, 'package.json'), 'utf8')
    ) as { name: string, version: string }
    if (name.startsWith('@cofferdam/')) return []
    const file = readdirSync(root).find((entry) => /^licen[cs]e/i.test(entry))
    if (file === undefined) throw new Error(`${name}: expected a file with its licence`)
    return [`${name} ${version}\n\n${readFileSync(join(root, file), 'utf8').trim()}\n`]
  }).join(`\n${'-'.repeat(80)}\n\n`)
}

/**
 * One program, run by Node, and the worker that it starts for a TPM: ESM only, no declarations. All packages are
 * bundled into it: to find and read a hundred files takes longer than to load one.
 */
export default defineConfig({
  entry: ['src/main.ts', 'src/start.ts', 'src/tpm/swtpm-worker.ts'],
  format: ['esm'],
  sourcemap: true,
  clean: true,
  target: 'es2023',
  platform: 'node',
  noExternal: [/./],
  metafile: true,
  // Packages in CommonJS ask for Node's own modules.
  banner: {
    js: 'import { createRequire as createRequireOfBundle } from \'node:module\'; '
      + 'const require = createRequireOfBundle(import.meta.url);',
  },
  onSuccess: () => {
    const { inputs } = JSON.parse(readFileSync('dist/metafile-esm.json', 'utf8')) as { inputs: Record<string, unknown> }
    rmSync('dist/metafile-esm.json')
    writeFileSync('dist/LICENCES.txt', collectLicences(Object.keys(inputs)))
    return Promise.resolve()
  },
})
