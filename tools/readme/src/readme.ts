/**
 * A README shows an example by a marker and the fenced block after it; the tool fills the block from the file:
 *
 *     <!-- example: examples/walk.ts -->
 *     <!-- output: examples/walk.ts -->
 *
 * The first is followed by the file, verbatim; the second by what the file prints when it runs.
 */
export interface Marker {
  readonly kind: 'example' | 'output'
  /** Path from the package's folder. */
  readonly file: string
  /** What the block holds now; undefined where no block follows the marker. */
  readonly content: string | undefined
}

const pattern = /^<!-- (example|output): (\S+) -->(?:\n+(`{3,})\w*\n([^]*?)^\3`*$)?/gm

export function markers(readme: string): Marker[] {
  return [...readme.matchAll(pattern)].map(([, kind, file = '', , content]) => ({
    kind: kind === 'output' ? 'output' : 'example',
    file,
    content,
  }))
}

/** The README with every block as `contentOf` gives it. */
export function fill(readme: string, contentOf: (marker: Omit<Marker, 'content'>) => string): string {
  return readme.replaceAll(pattern, (_all, kind: 'example' | 'output', file: string) => {
    const content = contentOf({ kind, file })
    const fence = content.includes('```') ? '````' : '```'
    return `<!-- ${kind}: ${file} -->\n${fence}${kind === 'example' ? 'ts' : 'text'}\n${content}${fence}`
  })
}

/** Whether a README shows this text: in a block of its own, by marker or without. */
export function shows(readme: string, text: string): boolean {
  return readme.includes(`\n${text}\`\`\``)
}
