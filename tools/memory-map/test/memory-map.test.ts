import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { drawMemory, type Picture, textWidth } from '../src/index.ts'

const folder = join(import.meta.dirname, '..')
const GiB = 2 ** 30

interface Box { left: number; right: number; top: number; bottom: number; content: string }

/** Where each text of a document is, by the same measure that it was laid out with. */
function texts(document: string): Box[] {
  const pattern = /<text x="([\d.]+)" y="([\d.]+)" font-size="(\d+)"([^>]*)>([^<]*)<\/text>/g
  return [...document.matchAll(pattern)].map(([, x, y, size, rest, content]) => {
    const width = textWidth(content, Number(size))
    const left = Number(x) - (rest.includes('middle') ? width / 2 : rest.includes('end') ? width : 0)
    return { left, right: left + width, top: Number(y) - Number(size), bottom: Number(y), content }
  })
}

const clashes = (boxes: readonly Box[]): string[] => boxes.flatMap((a, i) => boxes.slice(i + 1)
  .filter((b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
  .map((b) => `'${a.content}' over '${b.content}'`))

describe('the picture of the example', () => {
  const drawn = readFileSync(join(folder, 'examples/two-sockets.svg'), 'utf8')

  it('is what the example draws', () => {
    const args = ['--conditions=@cofferdam/source', 'examples/two-sockets.ts']
    expect(execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8' })).toBe(drawn)
  })

  it('has no text over another, none outside, and none smaller than 12 pixels', () => {
    const boxes = texts(drawn)
    expect(boxes.length).toBeGreaterThan(40)
    expect(clashes(boxes)).toEqual([])
    const [, width, height] = /width="(\d+)" height="(\d+)"/.exec(drawn) ?? []
    for (const b of boxes) {
      expect(b.left).toBeGreaterThanOrEqual(0)
      expect(b.right).toBeLessThanOrEqual(Number(width) + 1)
      expect(b.bottom).toBeLessThanOrEqual(Number(height))
      expect(b.bottom - b.top).toBeGreaterThanOrEqual(12)
    }
  })

  it('names every PAMT and every hole with size and address', () => {
    const all = texts(drawn).map((t) => t.content).join('\n')
    for (const i of [0, 1, 2]) expect(all).toMatch(new RegExp(`PAMT of TDMR ${i}: [\\d.]+ MiB at 0x`))
    expect(all).toContain('hole: 384 MiB at 0x340000000')
  })
})

describe('a memory map', () => {
  const picture = (label: string): Picture => ({
    title: 'a <map> & more', strips: [{ start: 0, end: GiB, title: 'all' }],
    tracks: [{ name: 'pages', items: [
      { start: 0, end: GiB, kind: 'free', label: 'free' },
      { start: 4096, end: 8192, kind: 'pamt', label, note: 'a note' },
    ] }],
  })

  it('draws what is too thin to be seen three pixels wide, on top, without its label', () => {
    const document = drawMemory(picture('tiny'))
    expect(document).toContain('width="3" height="30" fill="#df65b0"')
    expect(document.indexOf('#df65b0', document.indexOf('>all<'))).toBeGreaterThan(document.indexOf('>free<'))
    expect(document).not.toContain('>tiny<')
    expect(document).toContain('>a note<')
  })

  it('escapes what people write', () => {
    expect(drawMemory(picture(''))).toContain('a &lt;map&gt; &amp; more')
  })
})
