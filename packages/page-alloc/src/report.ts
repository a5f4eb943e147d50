/** What the allocator has, for people and for tests: counters, buddy lists, tables. */
import { type Core, listOf, Mark, MTS, ORDERS, ZONE_TYPES, ZONES, type ZoneType } from './core.ts'
import { blockIn, BlockState, storeBytes } from './pages.ts'
import { BLOCK_PAGES, PAGE_SIZE } from './units.ts'

/** Pages of one zone. `present = managed + reserved`; `managed` is the sum of the six after it and `used`. */
export interface ZoneCounters {
  readonly present: number
  readonly managed: number
  /** Memory that never reached the allocator. */
  readonly reserved: number
  /** On buddy lists, for anybody. */
  readonly free: number
  /** On processors' lists. */
  readonly pcp: number
  /** Free, but isolated. */
  readonly isolated: number
  /** In blocks that wait to be accepted. */
  readonly unaccepted: number
  /** In blocks that somebody is accepting. */
  readonly accepting: number
  /** Out of use: acceptance failed. */
  readonly bad: number
  readonly used: number
}

/** One zone. */
export interface ZoneInfo extends ZoneCounters {
  readonly zone: number
  readonly node: number
  readonly name: ZoneType
  /** Page frames `[start, end)` from its first to its last page. */
  readonly start: number
  readonly end: number
  readonly watermarks: { readonly min: number; readonly low: number; readonly high: number; readonly promo: number }
  /** Runs on buddy lists by order, all migrate types. */
  readonly runs: readonly number[]
  readonly pcpBatch: number
  readonly pcpHigh: number
}

/** Memory in KiB as /proc/meminfo shows it. */
export interface Meminfo {
  readonly MemTotal: number
  readonly MemFree: number
  readonly Unaccepted: number
}

function countersOf(c: Core, zone: number): ZoneCounters {
  const free = c.free[zone]
  const pcp = c.pcp[zone]
  const isolated = c.isolated[zone]
  const unaccepted = c.unaccepted[zone]
  const accepting = c.accepting[zone]
  const bad = c.bad[zone]
  const managed = c.managed[zone]
  const used = managed - free - pcp - isolated - unaccepted - accepting - bad
  const present = c.present[zone]
  return { present, managed, reserved: present - managed, free, pcp, isolated, unaccepted, accepting, bad, used }
}

/** Zones that have memory, by number. */
export function zoneInfos(c: Core): ZoneInfo[] {
  const out: ZoneInfo[] = []
  for (let zone = 0; zone < c.present.length; zone++) {
    if (c.present[zone] === 0) continue
    const spans = c.spans.filter((s) => s.zone === zone)
    const runs = Array.from({ length: ORDERS }, (_, order) => {
      let n = 0
      for (let mt = 0; mt < MTS; mt++) n += c.count[listOf(zone, mt, order)]
      return n
    })
    const mark = (m: number): number => c.marks[zone * 4 + m]
    out.push({
      zone, node: Math.floor(zone / ZONES), name: ZONE_TYPES[zone % ZONES],
      start: Math.min(...spans.map((s) => s.start)), end: Math.max(...spans.map((s) => s.end)),
      ...countersOf(c, zone),
      watermarks: { min: mark(Mark.min), low: mark(Mark.low), high: mark(Mark.high), promo: mark(Mark.promo) },
      runs, pcpBatch: c.pcpBatch[zone], pcpHigh: c.pcpHigh[zone],
    })
  }
  return out
}

/** The three lines of /proc/meminfo that this package can answer for. */
export function meminfo(c: Core): Meminfo {
  const sum = (a: Float64Array): number => a.reduce((x, y) => x + y, 0)
  const kib = (pages: number): number => pages * (PAGE_SIZE / 1024)
  const unaccepted = sum(c.unaccepted) + sum(c.accepting)
  return {
    MemTotal: kib(sum(c.managed) - sum(c.bad)),
    // As Linux counts: unaccepted memory is free memory.
    MemFree: kib(sum(c.free) + sum(c.pcp) + unaccepted),
    Unaccepted: kib(unaccepted),
  }
}

/** What the pages of a stretch of memory are: `mixed` where blocks are partly in use, partly free. */
export type StretchState = 'reserved' | 'mixed' | 'free' | 'used' | 'unaccepted' | 'accepting'

/** Memory of one zone in one state: bytes `[start, end)`. */
export interface Stretch {
  readonly start: number
  readonly end: number
  readonly zone: number
  readonly state: StretchState
}

const STATES: Readonly<Record<number, StretchState>> = {
  [BlockState.reserved]: 'reserved', [BlockState.split]: 'mixed', [BlockState.free]: 'free', [BlockState.used]: 'used',
  [BlockState.unaccepted]: 'unaccepted', [BlockState.accepting]: 'accepting',
}

/** All memory by address, block by block, neighbours in one state joined: for maps of memory. */
export function stretches(c: Core): Stretch[] {
  const out: Stretch[] = []
  for (const span of [...c.spans].sort((a, b) => a.start - b.start)) {
    for (let pfn = span.start; pfn < span.end;) {
      const next = Math.min(span.end, pfn - (pfn % BLOCK_PAGES) + BLOCK_PAGES)
      const block = blockIn(c.store, pfn, span.zone)
      const stretch = {
        start: pfn * PAGE_SIZE, end: next * PAGE_SIZE, zone: span.zone, state: STATES[c.store.blockState[block]],
      }
      const last = out.at(-1)
      if (last?.end === stretch.start && last.zone === stretch.zone && last.state === stretch.state) {
        out[out.length - 1] = { ...last, end: stretch.end }
      } else out.push(stretch)
      pfn = next
    }
  }
  return out
}

/** Bytes that the allocator's arrays take. */
export function metadataBytes(c: Core): number {
  let bytes = storeBytes(c.store)
  for (const value of Object.values(c)) if (ArrayBuffer.isView(value)) bytes += value.byteLength
  return bytes
}

const mib = (pages: number): string => {
  const n = (pages * PAGE_SIZE) / 2 ** 20
  return n >= 1024 * 10 ? `${(n / 1024).toFixed(1)} GiB` : `${n.toFixed(n < 10 && n % 1 !== 0 ? 1 : 0)} MiB`
}

/** A table of zones for people. */
export function formatZones(zones: readonly ZoneInfo[]): string {
  const head = ['node', 'zone', 'present', 'reserved', 'free', 'used', 'unaccepted', 'bad', 'min/low/high pages']
  const rows = zones.map((z) => [
    `${z.node}`, z.name, mib(z.present), mib(z.reserved), mib(z.free + z.pcp + z.isolated), mib(z.used),
    mib(z.unaccepted + z.accepting), mib(z.bad), `${z.watermarks.min}/${z.watermarks.low}/${z.watermarks.high}`,
  ])
  const width = head.map((h, i) => Math.max(h.length, ...rows.map((r) => r[i].length)))
  return [head, ...rows].map((r) => r.map((x, i) => (i === 1 ? x.padEnd(width[i]) : x.padStart(width[i]))).join('  '))
    .join('\n')
}
