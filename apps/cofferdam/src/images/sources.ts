/** One archive of Debian packages as the machine's own apt names it. */
export interface Mirror {
  /** Base address, as apt writes it (`http://mirror.example/debian`, `mirror+file:/…`). */
  readonly uri: string
  /** Keyring path(s), fingerprint or embedded key, verbatim; `undefined`: apt's default trust. */
  readonly signedBy: string | undefined
}

interface Entry extends Mirror {
  readonly types: readonly string[]
  readonly suites: readonly string[]
  readonly components: readonly string[]
}

const words = (text: string | undefined): string[] => (text ?? '').split(/\s+/).filter(Boolean)

/**
 * Parses deb822 sources (sources.list(5), "deb822-style format"): stanzas of `Field: value` lines, where a line that
 * starts with a space goes on with the field before it and `#` starts a comment line.
 */
export const parseDeb822 = (text: string): Entry[] =>
  text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .split(/\n\s*\n/)
    .flatMap(parseStanza)

const parseStanza = (stanza: string): Entry[] => {
  const fields = new Map<string, string>()
  let last = ''
  for (const line of stanza.split('\n')) {
    if (/^[ \t]/.test(line)) {
      fields.set(last, `${fields.get(last) ?? ''}\n${line}`)
      continue
    }
    const colon = line.indexOf(':')
    if (colon < 0) continue
    last = line.slice(0, colon).toLowerCase()
    fields.set(last, line.slice(colon + 1).trim())
  }
  if (/^(no|false|off|0|without|disable)$/.test(fields.get('enabled') ?? '')) return []
  return words(fields.get('uris')).map((uri) => ({
    uri,
    signedBy: fields.get('signed-by'),
    types: words(fields.get('types')),
    suites: words(fields.get('suites')),
    components: words(fields.get('components')),
  }))
}

/** Parses one-line sources (sources.list(5), "one-line-style format"): `deb [option=value …] uri suite component …`. */
export const parseOneLine = (text: string): Entry[] =>
  text.split('\n').flatMap((line) => {
    const match = /^\s*(deb(?:-src)?)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)/.exec(line)
    if (!match) return []
    const [, type = '', options, uri = '', suite = '', components] = match
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options ?? '')?.[1]?.replaceAll(',', ' ')
    return [{ types: [type], uri, suites: [suite], components: words(components), signedBy }]
  })

const debianSuite =
  /^(sid|unstable|testing|stable|oldstable|bullseye|bookworm|trixie|forky|duke)(-updates|-backports|\/updates)?$/

/**
 * The Debian archive among a machine's sources: binary packages, component `main`, a suite of Debian's. Security
 * archives are left out, because they hold no other suite's packages.
 */
export const findDebianMirror = (entries: readonly Entry[]): Mirror | undefined => {
  const isDebian = (entry: Entry): boolean =>
    entry.types.includes('deb') &&
    entry.components.includes('main') &&
    entry.suites.some((suite) => debianSuite.test(suite)) &&
    !/(security|ports|archive\.ubuntu)/.test(entry.uri)
  const found = entries.find(isDebian)
  return found && { uri: found.uri, signedBy: found.signedBy }
}
