/**
 * `npm run recording`: boots as the README says, with `--record`, and draws what the terminal showed as an
 * SVG that plays by itself. Nothing in it depends on the machine that ran it.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from '@cofferdam/tool-workspace'
// The package is CommonJS without named exports that Node can see.
import xterm from '@xterm/headless'

const COLUMNS = 112
const ROWS = 26
const FONT = { size: 13, width: 7.83, line: 17 } as const
const MARGIN = 14
/** Seconds that the last picture stays, and how much slower than the guest's own time it plays. */
const REST = 4
const SLOWER = 4
/** Most pictures: a boot's lines come in bursts. */
const PICTURES = 60

interface Output {
  readonly at: number
  readonly text: string
}

/** A picture of the terminal, from a time on. */
interface Picture {
  readonly at: number
  readonly lines: readonly string[]
}

/** The outputs of an asciicast, of its second version. */
export function parseCast(cast: string): Output[] {
  return cast.trimEnd().split('\n').slice(1).map((line) => {
    const [at, , text] = JSON.parse(line) as [number, string, string]
    return { at, text }
  })
}

const write = (terminal: xterm.Terminal, text: string): Promise<void> =>
  new Promise((resolve) => { terminal.write(text, resolve) })

/** What a terminal shows at the end of each of at most `PICTURES` equal spans of time, where that differs. */
export async function takePictures(outputs: readonly Output[]): Promise<Picture[]> {
  const terminal = new xterm.Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true })
  const end = outputs.at(-1)?.at ?? 0
  const span = Math.max(end / PICTURES, 1e-3)
  const pictures: Picture[] = []
  const look = (at: number): void => {
    const { active } = terminal.buffer
    const lines = Array.from(
      { length: ROWS }, (_, row) => active.getLine(active.viewportY + row)?.translateToString(true) ?? '',
    )
    const before = pictures.at(-1)?.lines ?? lines.map(() => '')
    if (before.join('\n') !== lines.join('\n')) pictures.push({ at, lines })
  }
  let next = 0
  for (let at = span; next < outputs.length; at += span) {
    for (; next < outputs.length && outputs[next].at <= at + 1e-9; next++) await write(terminal, outputs[next].text)
    look(at)
  }
  return pictures
}

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

const drawPicture = ({ lines }: Picture, number: number): string => {
  const rows = lines.flatMap((line, row) => {
    if (line.trim() === '') return []
    const time = /^(\[ *\d+\.\d+\])(.*)$/.exec(line)
    const text = time === null ? escape(line) : `<tspan class="t">${time[1]}</tspan>${escape(time[2])}`
    return [`<text y="${(row + 1) * FONT.line}">${text}</text>`]
  })
  return `<g class="p p${number}">${rows.join('')}</g>`
}

/** Draws pictures one after the other, for ever. */
export function drawSvg(pictures: readonly Picture[], title: string): string {
  const last = (pictures.at(-1)?.at ?? 0) * SLOWER
  const total = last + REST
  const percent = (seconds: number): string => ((seconds / total) * 100).toFixed(3)
  const styles = pictures.map(({ at }, i) => {
    const from = i === 0 ? 0 : at * SLOWER
    const to = i === pictures.length - 1 ? total : pictures[i + 1].at * SLOWER
    return `@keyframes k${i}{0%,${percent(Math.max(0, from - 1e-4))}%{visibility:hidden}`
      + `${percent(from)}%,${percent(Math.max(from, to - 1e-4))}%{visibility:visible}`
      + (i === pictures.length - 1 ? '100%{visibility:visible}}' : `${percent(to)}%,100%{visibility:hidden}}`)
      + `.p${i}{animation-name:k${i}}`
  })
  const [width, height] = [COLUMNS * FONT.width + 2 * MARGIN, ROWS * FONT.line + 3 * MARGIN]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${Math.round(width)} ${height}" role="img" xml:space="preserve"><title>${escape(title)}</title>`,
    '<style>',
    `text{font:${FONT.size}px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d7dce2;white-space:pre}`
    + '.t{fill:#6f8fb3}',
    `.p{visibility:hidden;animation-duration:${total.toFixed(2)}s;`
    + 'animation-timing-function:step-end;animation-iteration-count:infinite}',
    // Whoever wants no motion sees the end.
    `@media (prefers-reduced-motion:reduce){.p{animation:none}.p${pictures.length - 1}{visibility:visible}}`,
    ...styles,
    '</style>',
    `<rect width="100%" height="100%" rx="8" fill="#12161c"/><g transform="translate(${MARGIN} ${MARGIN})">`,
    ...pictures.map(drawPicture),
    '</g></svg>', '',
  ].join('\n')
}

/** Records a boot with these words and draws it into a file. */
export async function record(words: readonly string[], title: string, to: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cofferdam-record-'))
  try {
    const cast = join(folder, 'boot.cast')
    const main = join(root, 'apps/cofferdam/src/main.ts')
    execFileSync(process.execPath, ['--conditions=@cofferdam/source', main, 'boot', ...words, '--record', cast], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    writeFileSync(to, drawSvg(await takePictures(parseCast(readFileSync(cast, 'utf8'))), title))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
