import { homedir } from 'node:os'
import { join } from 'node:path'

/** `$XDG_CACHE_HOME/cofferdam`, or `~/.cache/cofferdam` (XDG Base Directory Specification 0.8). */
export const cacheFolder = (environment: NodeJS.ProcessEnv = process.env): string => {
  const base = environment.XDG_CACHE_HOME
  return join(base?.startsWith('/') ? base : join(homedir(), '.cache'), 'cofferdam')
}
