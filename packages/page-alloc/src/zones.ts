/** From memblock to zones: which pages exist, on which node and in which zone, and in what order zones are tried. */
import type { Acceptor } from './acceptor.ts'
import {
  type Core, MigrateType, MTS, ORDERS, type PageEvent, PCP_LISTS, type PoisonPort, ZONE_MOVABLE, ZONES,
} from './core.ts'
import { PageAllocError } from './errors.ts'
import { type Memblock, MEMBLOCK_HOTPLUG } from './memblock.ts'
import { addBlock, blockIn, createPageStore, type PageStore } from './pages.ts'
import { alignDown, alignUp, BLOCK_BYTES, BLOCK_PAGES, PAGE_SIZE } from './units.ts'

/** Options that shape the zones. */
export interface ZoneOptions {
  /** Logical processors that allocate; default 1. */
  readonly cpus?: number
  /** End of ZONE_DMA in bytes; default 16 MiB. */
  readonly dmaLimit?: number
  /** End of ZONE_DMA32 in bytes; default 4 GiB. */
  readonly dma32Limit?: number
  /** By node: the address from which its memory is ZONE_MOVABLE; rounded up to 4 MiB. Default: none. */
  readonly movableStart?: readonly (number | undefined)[]
  /** By node: distance to each node (ACPI SLIT). Default: 10 to itself, 20 to others. */
  readonly distances?: readonly (readonly number[])[]
}

type Span = Core['spans'][number]

/** Present pages by zone: memory cut to pages, at zone limits. */
function spansOf(memblock: Memblock, o: ZoneOptions): Span[] {
  const dma = o.dmaLimit ?? 0x100_0000
  const dma32 = o.dma32Limit ?? 0x1_0000_0000
  if (dma % BLOCK_BYTES !== 0 || dma32 % BLOCK_BYTES !== 0 || dma > dma32) {
    throw new PageAllocError(`zones: limits ${dma} and ${dma32} must ascend in steps of 4 MiB`)
  }
  const spans: Span[] = []
  for (const r of memblock.memory()) {
    const movable = (r.flags & MEMBLOCK_HOTPLUG) !== 0 ? 0 : o.movableStart?.[r.node]
    const cuts = [dma, dma32, movable === undefined ? Infinity : alignUp(movable, BLOCK_BYTES)]
    const end = alignDown(r.end, PAGE_SIZE)
    for (let at = alignUp(r.start, PAGE_SIZE); at < end;) {
      const to = Math.min(end, ...cuts.filter((x) => x > at))
      const type = at >= cuts[2] ? ZONE_MOVABLE : at < dma ? 0 : at < dma32 ? 1 : 2
      const zone = r.node * ZONES + type
      const last = spans.at(-1)
      if (last?.zone === zone && last.end === at / PAGE_SIZE) {
        spans[spans.length - 1] = { ...last, end: to / PAGE_SIZE }
      } else spans.push({ start: at / PAGE_SIZE, end: to / PAGE_SIZE, zone })
      at = to
    }
  }
  return spans
}

/** Metadata for every 4 MiB that a span touches. */
function storeFor(spans: readonly Span[]): PageStore {
  const firstBlock = (s: Span): number => alignDown(s.start, BLOCK_PAGES)
  const total = spans.reduce((n, s) => n + Math.ceil((s.end - firstBlock(s)) / BLOCK_PAGES), 0)
  const store = createPageStore(total)
  for (const s of spans) {
    for (let pfn = firstBlock(s); pfn < s.end; pfn += BLOCK_PAGES) {
      if (blockIn(store, pfn, s.zone) < 0) addBlock(store, pfn, s.zone, MigrateType.movable)
    }
  }
  return store
}

/** Arrays of a machine of `nodes` nodes; all counts zero, all lists empty. */
export function emptyCore(
  nodes: number, cpus: number, store: PageStore, spans: Core['spans'],
  ports: { acceptor?: Acceptor; poison?: PoisonPort; onEvent?: (event: PageEvent) => void },
): Core {
  const zones = nodes * ZONES
  const numbers = (): Float64Array => new Float64Array(zones)
  const ends = (n: number): Int32Array => new Int32Array(n).fill(-1)
  return {
    nodes, cpus, store, spans,
    head: ends(zones * MTS * ORDERS), tail: ends(zones * MTS * ORDERS),
    count: new Int32Array(zones * MTS * ORDERS), orders: new Uint16Array(zones * MTS),
    unacceptedHead: ends(zones), unacceptedTail: ends(zones),
    pcpHead: ends(zones * cpus * PCP_LISTS), pcpTail: ends(zones * cpus * PCP_LISTS),
    pcpCount: new Int32Array(zones * cpus), pcpTurn: new Uint8Array(zones * cpus),
    pcpHigh: new Int32Array(zones), pcpBatch: new Int32Array(zones),
    present: numbers(), managed: numbers(), free: numbers(), pcp: numbers(), isolated: numbers(),
    unaccepted: numbers(), accepting: numbers(), bad: numbers(),
    marks: new Float64Array(zones * 4), reserve: new Float64Array(zones * ZONES),
    zonelists: [], nodelists: [],
    acceptor: ports.acceptor, poison: ports.poison, onEvent: ports.onEvent,
  }
}

/** Nodes by distance from each node, itself first; equal distances by number. */
function nodeOrders(nodes: number, distances: ZoneOptions['distances']): number[][] {
  const all = Array.from({ length: nodes }, (_, n) => n)
  const distance = (a: number, b: number): number => (a === b ? 0 : (distances?.[a]?.[b] ?? 20))
  return all.map((from) => [...all].sort((a, b) => distance(from, a) - distance(from, b) || a - b))
}

/** All zones that memblock's memory makes up, with no page given to the allocator yet. */
export function buildZones(
  memblock: Memblock, options: ZoneOptions,
  ports: { acceptor?: Acceptor; poison?: PoisonPort; onEvent?: (event: PageEvent) => void },
): Core {
  const spans = spansOf(memblock, options)
  const nodes = 1 + Math.max(0, ...memblock.memory().map((r) => r.node))
  const core = emptyCore(nodes, options.cpus ?? 1, storeFor(spans), spans, ports)
  for (const s of spans) core.present[s.zone] += s.end - s.start
  const orders = nodeOrders(nodes, options.distances)
  for (let node = 0; node < nodes; node++) {
    for (let highest = 0; highest < ZONES; highest++) {
      const zonesOf = (n: number): number[] => {
        const out: number[] = []
        for (let t = highest; t >= 0; t--) if (core.present[n * ZONES + t] > 0) out.push(n * ZONES + t)
        return out
      }
      core.zonelists.push(Int32Array.from(orders[node].flatMap(zonesOf)))
      core.nodelists.push(Int32Array.from(zonesOf(node)))
    }
  }
  return core
}
