/** A memory map as a picture: a strip for each stretch of address space, tracks one above the other. */
import { ground, line, rect, stripes, svg, text, textWidth } from './svg.ts'

/** Something on a track: bytes `[start, end)`. */
export interface Item {
  readonly start: number
  readonly end: number
  readonly kind: Kind
  /** Written into it where there is room; short. */
  readonly label: string
  /** Too small to be seen or labelled: named below the strip as well. */
  readonly note?: string
}

export interface Track {
  readonly name: string
  readonly items: readonly Item[]
}

/** A stretch of address space that gets a strip of its own. */
export interface Strip {
  readonly start: number
  readonly end: number
  readonly title: string
}

export interface Picture {
  readonly title: string
  readonly strips: readonly Strip[]
  readonly tracks: readonly Track[]
}

/** What things look like, and what the legend calls them. */
const KINDS = {
  dma: { fill: '#deebf7', legend: 'zone DMA' },
  dma32: { fill: '#9ecae1', legend: 'zone DMA32' },
  normal: { fill: '#6baed6', legend: 'zone Normal' },
  movable: { fill: '#bcbddc', legend: 'zone Movable' },
  free: { fill: '#c7e9c0', legend: 'free' },
  used: { fill: '#fd8d3c', legend: 'in use' },
  mixed: { fill: 'url(#mixed)', legend: 'partly in use' },
  unaccepted: { fill: 'url(#unaccepted)', legend: 'unaccepted' },
  reserved: { fill: '#969696', legend: 'reserved at boot' },
  tdmr: { fill: '#fee391', legend: 'TDMR' },
  hole: { fill: '#cccccc', legend: 'reserved area: no memory' },
  pamt: { fill: '#df65b0', legend: 'reserved area: PAMT' },
} as const

export type Kind = keyof typeof KINDS

const DEFS = stripes('mixed', '#c7e9c0', '#fd8d3c') + stripes('unaccepted', '#f7f7f7', '#8c8c8c')

const WIDTH = 1280
const LEFT = 110
const RIGHT = 30
const PLOT = WIDTH - LEFT - RIGHT
const TRACK = 30
const GAP = 7
const FONT = 13
/** Nothing is drawn thinner than this, or it would not be seen. */
const THINNEST = 3

const GiB = 2 ** 30
const hex = (x: number): string => `0x${x.toString(16)}`

/** Bytes in the largest unit that keeps them short. */
export function bytes(x: number): string {
  for (const [unit, name] of [[GiB, 'GiB'], [2 ** 20, 'MiB'], [1024, 'KiB']] as const) {
    if (x >= unit) return `${(x / unit).toFixed(x % unit === 0 ? 0 : 1)} ${name}`
  }
  return `${x} B`
}

/** Breaks notes into lines that fit. */
function wrap(notes: readonly string[]): string[] {
  const lines: string[] = []
  for (const note of notes) {
    const last = lines.at(-1)
    const joined = last === undefined ? note : `${last};  ${note}`
    if (last !== undefined && textWidth(joined, 12) <= PLOT) lines[lines.length - 1] = joined
    else lines.push(note)
  }
  return lines
}

function axis(strip: Strip, y: number): string[] {
  const ticks = 8
  const step = (strip.end - strip.start) / ticks
  return Array.from({ length: ticks + 1 }, (_, i) => {
    const x = LEFT + (PLOT * i) / ticks
    const anchor = i === 0 ? 'start' : i === ticks ? 'end' : 'middle'
    const at = (strip.start + i * step) / GiB
    return line(x, y, x, y + 5) + text(x, y + 18, `${at % 1 === 0 ? at : at.toFixed(2)} GiB`, { size: 12, anchor })
  }).concat(line(LEFT, y, LEFT + PLOT, y))
}

/** One item, cut to its strip. */
function drawItem(item: Item, strip: Strip, y: number): string {
  const scale = PLOT / (strip.end - strip.start)
  const start = Math.max(item.start, strip.start)
  const end = Math.min(item.end, strip.end)
  const width = Math.max((end - start) * scale, THINNEST)
  const x = Math.min(LEFT + (start - strip.start) * scale, LEFT + PLOT - width)
  const { fill, legend } = KINDS[item.kind]
  const where = `${legend}: ${hex(item.start)} to ${hex(item.end)}, ${bytes(item.end - item.start)}`
  const box = rect(x, y, width, TRACK, fill, where)
  const fits = textWidth(item.label, FONT) + 8 <= width
  if (!fits || item.label === '') return box
  const label = text(x + width / 2, y + TRACK / 2 + FONT / 2 - 2, item.label, { size: FONT, anchor: 'middle' })
  // Stripes would cut through the letters.
  if (!fill.startsWith('url')) return box + label
  const plate = textWidth(item.label, FONT) + 6
  return box + ground(x + width / 2 - plate / 2, y + 5, plate, TRACK - 10) + label
}

function drawStrip(strip: Strip, tracks: readonly Track[], top: number): { parts: string[]; bottom: number } {
  const inside = (i: Item): boolean => i.start < strip.end && strip.start < i.end
  const parts = [text(LEFT, top + 18, strip.title, { size: 15, weight: 'bold' })]
  let y = top + 28
  for (const track of tracks) {
    parts.push(text(LEFT - 12, y + TRACK / 2 + 5, track.name, { size: FONT, anchor: 'end' }))
    // The widest first: what is too thin to see lies on top.
    const items = track.items.filter(inside).sort((a, b) => (b.end - b.start) - (a.end - a.start))
    parts.push(...items.map((item) => drawItem(item, strip, y)))
    y += TRACK + GAP
  }
  parts.push(...axis(strip, y))
  y += 38
  for (const note of wrap(tracks.flatMap((t) => t.items.filter(inside).flatMap((i) => i.note ?? [])))) {
    parts.push(text(LEFT, y, note, { size: 12, fill: '#444' }))
    y += 17
  }
  return { parts, bottom: y + 12 }
}

function drawLegend(kinds: readonly Kind[], top: number): { parts: string[]; bottom: number } {
  const parts: string[] = []
  let x = LEFT
  let y = top
  for (const kind of kinds) {
    const { fill, legend } = KINDS[kind]
    const width = 30 + textWidth(legend, 12) + 18
    if (x + width > LEFT + PLOT) {
      x = LEFT
      y += 24
    }
    parts.push(rect(x, y, 22, 15, fill), text(x + 28, y + 12, legend, { size: 12 }))
    x += width
  }
  return { parts, bottom: y + 30 }
}

/** The picture as an SVG document. */
export function drawMemory({ title, strips, tracks }: Picture): string {
  const parts = [text(LEFT, 32, title, { size: 19, weight: 'bold' })]
  const seen = new Set(tracks.flatMap((t) => t.items.map((i) => i.kind)))
  const legend = drawLegend((Object.keys(KINDS) as Kind[]).filter((k) => seen.has(k)), 48)
  parts.push(...legend.parts)
  let y = legend.bottom
  for (const strip of strips) {
    const drawn = drawStrip(strip, tracks, y)
    parts.push(...drawn.parts)
    y = drawn.bottom
  }
  return svg(WIDTH, y, DEFS, parts)
}
