/**
 * How many pages a zone keeps back, and how many a processor may hold on its own lists.
 * Source: Linux mm/page_alloc.c, calculate_min_free_kbytes, __setup_per_zone_wmarks, setup_per_zone_lowmem_reserve,
 * zone_batchsize, zone_highsize.
 */
import { hasRun } from './buddy.ts'
import { type Core, Mark, ZONE_MOVABLE, ZONES } from './core.ts'

/** Part of a zone between two watermarks, in ten-thousandths (vm.watermark_scale_factor). */
const SCALE = 10
/** By zone type: a request that could do without this zone leaves 1 / ratio of the zones above free (0: nothing). */
const RESERVE_RATIO = [256, 256, 32, 0] as const

/** Overrides of what is computed from the amount of memory. */
export interface WatermarkOptions {
  /** Pages to keep free in all (vm.min_free_kbytes / 4). */
  readonly minFree?: number
  /** Pages that move between a per-CPU list and the buddy lists at a time; 0 turns per-CPU lists off. */
  readonly pcpBatch?: number
  /** Pages that a processor may hold, per zone, before a batch goes back. */
  readonly pcpHigh?: number
}

const isMovable = (zone: number): boolean => zone % ZONES === ZONE_MOVABLE

function minFreePages(low: number): number {
  const kib = Math.floor(Math.sqrt(low * 4 * 16))
  return Math.min(262144, Math.max(128, kib)) >> 2
}

function setReserves(c: Core): void {
  for (let node = 0; node < c.nodes; node++) {
    for (let type = 0; type < ZONES; type++) {
      const zone = node * ZONES + type
      let above = 0
      for (let highest = type + 1; highest < ZONES; highest++) {
        above += c.managed[node * ZONES + highest]
        const ratio = RESERVE_RATIO[type]
        c.reserve[zone * ZONES + highest] = ratio === 0 || c.managed[zone] === 0 ? 0 : Math.floor(above / ratio)
      }
    }
  }
}

function setPcp(c: Core, zone: number, options: WatermarkOptions): void {
  let batch = Math.min(Math.floor(c.managed[zone] / 4096), 64)
  if (batch <= 1) batch = 1
  else batch = (1 << (31 - Math.clz32(batch + (batch >> 1)))) - 1
  c.pcpBatch[zone] = options.pcpBatch ?? batch
  const share = Math.floor(c.marks[zone * 4 + Mark.low] / c.cpus)
  c.pcpHigh[zone] = options.pcpHigh ?? Math.max(share, c.pcpBatch[zone] * 4)
}

/** Sets all watermarks, reserves and per-CPU limits from what the zones now manage. */
export function setWatermarks(c: Core, options: WatermarkOptions): void {
  let low = 0
  for (let zone = 0; zone < c.managed.length; zone++) if (!isMovable(zone)) low += c.managed[zone]
  const min = options.minFree ?? minFreePages(low)
  for (let zone = 0; zone < c.managed.length; zone++) {
    const managed = c.managed[zone]
    const share = low === 0 ? 0 : Math.floor((min * managed) / low)
    const gap = Math.max(Math.floor(share / 4), Math.floor((managed * SCALE) / 10000))
    const floor = isMovable(zone) ? Math.min(128, Math.max(32, Math.floor(managed / 1024))) : share
    for (const mark of [Mark.min, Mark.low, Mark.high, Mark.promo]) c.marks[zone * 4 + mark] = floor + mark * gap
    if (managed === 0) c.marks.fill(0, zone * 4, zone * 4 + 4)
    setPcp(c, zone, options)
  }
  setReserves(c)
}

/**
 * Whether `zone` can give 2^order pages and stay above `mark` pages and what it keeps for requests that reach no
 * higher zone than `highest`.
 */
export function watermarkOk(c: Core, zone: number, order: number, mark: number, highest: number): boolean {
  if (c.free[zone] - ((1 << order) - 1) <= mark + c.reserve[zone * ZONES + highest]) return false
  return order === 0 || hasRun(c, zone, order)
}
