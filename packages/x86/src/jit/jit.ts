/**
 * Which code is compiled, and when. A block that was entered often becomes the seed of a region, which grows along the
 * ways that execution takes; several regions are compiled together as one module that imports the memory alone.
 */
import type { MemoryViews } from '@cofferdam/memory'
import type { Block, CodeCache } from '../engine/code-cache.ts'
import { decodeMode } from '../engine/mode.ts'
import type { Translator } from '../engine/translate.ts'
import { HANDLER, HEADER, HEADER_SIZE, JIT_UOP } from '../engine/uop.ts'
import { MODE64 } from '../insn.ts'
import { ModuleWriter } from '../wasm/module.ts'
import { createFlow } from './flow.ts'
import { describeBlocks, entriesOf } from './region-blocks.ts'
import { createFlagLibrary, writeRegion } from './region-writer.ts'

/** Largest region, in blocks: as it is first compiled, and after it took in others. */
const REGION_BLOCKS = 64
const MERGED_BLOCKS = 192
/** A block joins a region when it was entered at least this fraction of the threshold. */
const JOIN_FRACTION = 8
/** Regions that are compiled together. */
const BATCH = 12
/** How often a region is grown anew over what other regions have, because it is entered often. */
const REGROWTHS = 3
/** Compiled code is looked at again after so many thresholds' entries from outside. */
const LOOK_AGAIN = 2
const NEVER = 0x7fff_ffff

export interface JitOptions {
  readonly views: MemoryViews
  readonly wasm: WebAssembly.Memory
  readonly cache: CodeCache
  readonly translator: Translator
  readonly table: WebAssembly.Table
  /** Slots of the table for compiled functions: [first, end). */
  readonly firstSlot: number
  readonly endSlot: number
  readonly jumpCache: number
  readonly lookup: number
  readonly memoryPages: number
  /** Entries after which a block is hot. */
  readonly threshold: number
}

export interface JitCounts {
  modules: number
  regions: number
  blocks: number
  instructions: number
  bytes: number
  dropped: number
}

export interface Jit {
  readonly counts: JitCounts
  /** A block reached the threshold. `find` answers the valid code page at a linear page. */
  hot(block: Block): void
  /** Compiles what waits. */
  flush(): void
  /** Forgets everything, with the code cache. */
  reset(): void
}

interface Growth {
  readonly chosen: readonly Block[]
  /** Regions whose blocks are all among them. */
  readonly absorbed: ReadonlySet<Region>
}

interface Region {
  readonly seeds: Set<Block>
  blocks: readonly Block[]
  /** Table slot, or −1 while it is not compiled. */
  slot: number
  dead: boolean
  /** How often it grew over others. */
  regrown: number
}

export function createJit(options: JitOptions): Jit {
  const { views, cache, table } = options
  const { i32, u16 } = views
  const flow = createFlow(views, cache, options.translator)
  const { blockOfHeader, expand, neighbours } = flow
  /** Regions by the blocks they contain; a block may be in several. */
  const regions = new Map<Block, Set<Region>>()
  /** The region that a block's entry leads into. */
  const owner = new Map<Block, Region>()
  const pending = new Set<Region>()
  const freeSlots: number[] = []
  let nextSlot = options.firstSlot
  const counts: JitCounts = { modules: 0, regions: 0, blocks: 0, instructions: 0, bytes: 0, dropped: 0 }

  const entered = (block: Block): number => {
    const left = i32[(block.header + HEADER.HOTNESS) >>> 2]
    if (regions.has(block)) return options.threshold
    return left > options.threshold ? options.threshold * 2 : options.threshold - left
  }

  /** The other region that has a block. */
  const elsewhere = (block: Block, region: Region): Region | undefined => {
    for (const other of regions.get(block) ?? []) if (other !== region) return other
    return undefined
  }

  /**
   * Grows a region from its seeds, most entered first. Code that another region has is left to it, until this one turns
   * out to be entered often: then it takes in those regions that it leads to, whole, so that no block is compiled
   * twice.
   */
  const grow = (region: Region): Growth => {
    const chosen = new Set<Block>()
    const absorbed = new Set<Region>()
    const queue = [...region.seeds].filter((b) => b.alive)
    const surely: Block[] = region.blocks.filter((b) => b.alive)
    const limit = region.regrown === 0 ? REGION_BLOCKS : MERGED_BLOCKS
    const next = (): Block => {
      const certain = surely.pop()
      if (certain !== undefined) return certain
      let best = 0
      for (let i = 1; i < queue.length; i++) if (entered(queue[i]) > entered(queue[best])) best = i
      return queue.splice(best, 1)[0]
    }
    const consider = (b: Block): void => {
      if (chosen.has(b) || blockOfHeader(b.header) === null) return
      const other = elsewhere(b, region)
      if (other === undefined) {
        if (entered(b) >= options.threshold / JOIN_FRACTION) queue.push(b)
      } else if (region.regrown > 0 && !absorbed.has(other)
        && chosen.size + surely.length + other.blocks.length <= limit) {
        absorbed.add(other)
        surely.push(...other.blocks.filter((x) => x.alive))
      }
    }
    while ((queue.length > 0 && chosen.size < limit) || surely.length > 0) {
      const block = next()
      if (chosen.has(block) || expand(block).length === 0) continue
      chosen.add(block)
      neighbours(block).forEach(consider)
    }
    return { chosen: [...chosen], absorbed }
  }

  const again = options.threshold * LOOK_AGAIN

  const takeSlot = (): number => freeSlots.pop() ?? (nextSlot < options.endSlot ? nextSlot++ : -1)

  const leaveRegion = (region: Region, block: Block): void => {
    const all = regions.get(block)
    all?.delete(region)
    if (all?.size === 0) {
      regions.delete(block)
      block.onDeath = null
    }
    if (owner.get(block) !== region) return
    owner.delete(block)
    if (!block.alive) return
    i32[(block.header + HEADER.ENTRY) >>> 2] = block.header + HEADER_SIZE
    i32[(block.header + HEADER.HOTNESS) >>> 2] = options.threshold
  }

  const drop = (region: Region): void => {
    if (region.dead) return
    region.dead = true
    counts.dropped++
    for (const block of region.blocks) leaveRegion(region, block)
    pending.delete(region)
    if (region.slot >= 0) {
      table.set(region.slot, null)
      freeSlots.push(region.slot)
    }
  }

  /** Makes a block's entry lead into compiled code. */
  const install = (block: Block, slot: number, entry: number): void => {
    const uop = cache.allocate(1)
    if (uop === 0) return
    u16[uop >>> 1] = HANDLER.JIT
    i32[(uop + JIT_UOP.ENTRY) >>> 2] = entry
    i32[(uop + JIT_UOP.COUNT) >>> 2] = block.count
    i32[(uop + JIT_UOP.FUNCTION) >>> 2] = slot
    cache.note(uop, block, 0, 0)
    i32[(block.header + HEADER.ENTRY) >>> 2] = uop
    i32[(block.header + HEADER.HOTNESS) >>> 2] = again
  }

  const compile = (batch: readonly Region[]): void => {
    const module = new ModuleWriter()
    module.importMemory(options.memoryPages)
    const library = createFlagLibrary(module)
    const made: { region: Region; entries: Map<number, number>; name: string }[] = []
    for (const region of batch) {
      if (region.dead) continue
      const { chosen, absorbed } = grow(region)
      if (chosen.length === 0) continue
      for (const other of absorbed) {
        for (const seed of other.seeds) region.seeds.add(seed)
        drop(other)
      }
      for (const block of region.blocks) leaveRegion(region, block)
      region.blocks = chosen
      for (const block of chosen) regions.set(block, (regions.get(block) ?? new Set()).add(region))
      const name = `r${made.length}`
      const described = describeBlocks(flow, chosen)
      if (described.every((b) => b.compiled === 0)) continue
      const entries = entriesOf(flow, region.seeds, chosen)
      made.push({ region, name, entries: writeRegion(module, name, described, entries, options, library) })
      counts.blocks += chosen.length
      counts.instructions += described.reduce((sum, b) => sum + b.compiled, 0)
    }
    flow.forget()
    if (made.length === 0) return
    const bytes = module.build()
    counts.modules++
    counts.regions += made.length
    counts.bytes += bytes.length
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory: options.wasm } })
    for (const { region, entries, name } of made) {
      // A later one of the batch has taken it in.
      if (region.dead) continue
      const slot = region.slot >= 0 ? region.slot : takeSlot()
      if (slot < 0) continue
      region.slot = slot
      table.set(slot, exports[name])
      for (const block of region.blocks) {
        const all = regions.get(block) ?? new Set()
        regions.set(block, all.add(region))
        block.onDeath = () => { for (const r of [...(regions.get(block) ?? [])]) drop(r) }
      }
      for (const [index, entry] of entries) {
        owner.set(region.blocks[index], region)
        install(region.blocks[index], slot, entry)
      }
    }
  }

  const flush = (): void => {
    if (pending.size === 0) return
    const batch = [...pending]
    pending.clear()
    compile(batch)
  }

  return {
    counts, flush,
    hot(block) {
      i32[(block.header + HEADER.HOTNESS) >>> 2] = NEVER
      if (!block.alive || decodeMode(block.page.mode) !== MODE64 || block.next !== null) return
      const [known] = regions.get(block) ?? []
      const mine = owner.get(block)
      if (mine !== undefined) {
        if (mine.regrown === REGROWTHS) return
        mine.regrown++
        pending.add(mine)
      } else if (known !== undefined) {
        // Inside a region, but entered from elsewhere: one more entry.
        known.seeds.add(block)
        pending.add(known)
      } else {
        pending.add({ seeds: new Set([block]), blocks: [], slot: -1, dead: false, regrown: 0 })
      }
      if (pending.size >= BATCH) flush()
    },
    reset() {
      for (const all of [...regions.values()]) for (const region of [...all]) drop(region)
      regions.clear()
      owner.clear()
      pending.clear()
    },
  }
}
