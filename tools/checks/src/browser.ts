/** Bundles for the browser, where there are no Node built-ins. */
import { builtinModules } from 'node:module'
import { dirname, join } from 'node:path'
import { createContext, runInContext } from 'node:vm'
import { build, formatMessages, type BuildFailure, type BuildOptions } from 'esbuild'
import type { WorkspacePackage } from '@cofferdam/tool-workspace'

export interface Bundle {
  /** What kept it from bundling, as esbuild tells it; empty where nothing did. */
  readonly problems: readonly string[]
  readonly code: string
}

/** What `bundleForBrowser` and `bundleScript` have in common. */
async function bundle(folder: string, entry: string, format: BuildOptions): Promise<Bundle> {
  try {
    const { outputFiles, metafile, warnings } = await build({
      ...format,
      absWorkingDir: folder,
      entryPoints: [entry],
      bundle: true,
      write: false,
      metafile: true,
      platform: 'browser',
      conditions: ['@cofferdam/source'],
      target: 'es2023',
      logLevel: 'silent',
    })
    const builtins = Object.values(metafile.inputs).flatMap(({ imports }) => imports.map(({ path }) => path))
      .filter((path) => path.startsWith('node:') || builtinModules.includes(path))
    const said = await formatMessages(warnings, { kind: 'warning' })
    return { problems: [...said, ...builtins.map((path) => `imports ${path}`)], code: outputFiles[0]?.text ?? '' }
  } catch (error) {
    const { errors } = error as BuildFailure
    return { problems: await formatMessages(errors, { kind: 'error' }), code: '' }
  }
}

/** A package's source and all that it imports, as one script. */
export const bundleForBrowser = ({ folder }: WorkspacePackage): Promise<Bundle> =>
  bundle(folder, join(folder, 'src/index.ts'), { format: 'iife', globalName: 'bundled' })

/** A script of a page or of a worker, and all that it imports, as one module. */
export const bundleScript = (path: string): Promise<Bundle> => bundle(dirname(path), path, { format: 'esm' })

/** The names that a bundle exports when it is loaded where a browser's globals are, and Node's are not. */
export function loadWithoutNode(code: string): string[] {
  const globals = { TextEncoder, TextDecoder, URL, AbortController, structuredClone, queueMicrotask }
  const names: unknown = runInContext(`${code}\nObject.keys(bundled)`, createContext(globals), { timeout: 60_000 })
  return [...names as string[]]
}
