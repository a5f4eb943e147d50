import { readFileSync } from 'node:fs'

/** The version in the manifest, which lies above both `src` and `dist`. */
export const ownVersion = (): string => {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return manifest.version
}
