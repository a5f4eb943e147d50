/** What to draw, from a page allocator and a plan of TDMRs. */
import { type PageAllocator, ZONE_TYPES } from '@cofferdam/page-alloc'
import type { TdmrPlan } from '@cofferdam/tdmr'
import { bytes, type Item, type Kind, type Picture, type Strip } from './draw.ts'

const ZONE_KINDS: readonly Kind[] = ['dma', 'dma32', 'normal', 'movable']
const STATE_KINDS: Readonly<Record<string, Kind>> = {
  reserved: 'reserved', mixed: 'mixed', free: 'free', used: 'used', unaccepted: 'unaccepted', accepting: 'unaccepted',
}
const hex = (x: number): string => `0x${x.toString(16)}`

/** Stretches of address space with memory, apart where nodes change or a hole is larger than `gap` bytes. */
function stripsOf(pages: PageAllocator, gap: number): Strip[] {
  const out: { start: number; end: number; node: number }[] = []
  for (const s of pages.stretches()) {
    const node = Math.floor(s.zone / ZONE_TYPES.length)
    const last = out.at(-1)
    if (last?.node === node && s.start - last.end <= gap) last.end = s.end
    else out.push({ start: s.start, end: s.end, node })
  }
  return out.map((s) => {
    // Whole GiBs, so that reserved areas at the ends of TDMRs are in the picture.
    const start = s.start - (s.start % 2 ** 30)
    const end = Math.ceil(s.end / 2 ** 30) * 2 ** 30
    return { start, end, title: `node ${s.node}: ${hex(start)} to ${hex(end)}, ${bytes(end - start)}` }
  })
}

function zoneItems(pages: PageAllocator): Item[] {
  const out: Item[] = []
  for (const s of pages.stretches()) {
    const type = s.zone % ZONE_TYPES.length
    const last = out.at(-1)
    if (last?.end === s.start && last.kind === ZONE_KINDS[type]) out[out.length - 1] = { ...last, end: s.end }
    else out.push({ start: s.start, end: s.end, kind: ZONE_KINDS[type], label: ZONE_TYPES[type] })
  }
  return out
}

function pageItems(pages: PageAllocator): Item[] {
  return pages.stretches().map((s) => {
    const size = bytes(s.end - s.start)
    const label = s.state === 'unaccepted' ? `unaccepted ${size}` : s.state === 'free' ? `free ${size}` : size
    return { start: s.start, end: s.end, kind: STATE_KINDS[s.state], label }
  })
}

/** Reserved areas apart by what they are: PAMTs, and everything that is no memory. */
function reservedItems(plan: TdmrPlan): Item[] {
  const pamts = plan.tdmrs.map((t, i): Item => {
    const size = bytes(t.pamt.end - t.pamt.start)
    return {
      start: t.pamt.start, end: t.pamt.end, kind: 'pamt', label: `PAMT ${i}`,
      note: `PAMT of TDMR ${i}: ${size} at ${hex(t.pamt.start)}`,
    }
  })
  const holes = plan.tdmrs.flatMap((t) => t.reserved.flatMap((r) => {
    const cuts = pamts.filter((p) => p.start < r.end && r.start < p.end).sort((a, b) => a.start - b.start)
    const parts: Item[] = []
    let at = r.start
    for (const edge of [...cuts.map((p) => [p.start, p.end]), [r.end, r.end]]) {
      if (edge[0] > at) {
        const size = bytes(edge[0] - at)
        const note = `hole: ${size} at ${hex(at)}`
        parts.push({ start: at, end: edge[0], kind: 'hole', label: `hole ${size}`, note })
      }
      at = Math.max(at, edge[1])
    }
    return parts
  }))
  return [...holes, ...pamts]
}

/** The picture of a machine. */
export function pictureOf(title: string, pages: PageAllocator, plan: TdmrPlan, gap = 2 ** 30): Picture {
  const tdmrs = plan.tdmrs.map((t, i): Item => ({
    start: t.start, end: t.end, kind: 'tdmr',
    label: `TDMR ${i}: ${bytes(t.end - t.start)}, node ${t.node}, ${t.reserved.length} reserved`,
  }))
  return {
    title,
    strips: stripsOf(pages, gap),
    tracks: [
      { name: 'zones', items: zoneItems(pages) },
      { name: 'pages', items: pageItems(pages) },
      { name: 'TDMRs', items: tdmrs },
      { name: 'reserved', items: reservedItems(plan) },
    ],
  }
}
