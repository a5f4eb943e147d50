/** Builds page tables: boot code, nested tables of a host, tests. Not for hot loops: entries are bigints. */
import { EptEntry, PageEntry } from '@cofferdam/spec'

/** Where tables are built. */
export interface TableMemory {
  /** Physical address of a fresh 4 KiB page of zeroes. */
  allocate(): number
  load64(pa: number): bigint
  store64(pa: number, value: bigint): void
}

/** One range of addresses. */
export interface Mapping {
  /** First linear (or guest physical) address. A multiple of 4096. */
  readonly from: number | bigint
  /** Physical address it maps to; `from` when left out. A multiple of 4096. */
  readonly to?: number | bigint
  /** Bytes. A multiple of 4096. */
  readonly length: number | bigint
  /** Default true. */
  readonly writable?: boolean
  /** Default false; EPT has no such bit. */
  readonly user?: boolean
  /** Default true. */
  readonly executable?: boolean
  readonly global?: boolean
  /** Accessed and dirty flags set beforehand. */
  readonly dirty?: boolean
  /** log2 of the largest page to use. Default 30; smaller ones fill what alignment leaves. */
  readonly largest?: 12 | 21 | 30
  /** Further bits of the page's entry: C-bit, KeyID, protection key, memory type. */
  readonly bits?: bigint
}

/** Which tables are built, and where their pages come from. */
export interface TableOptions {
  /** Levels of the format: 3 (PAE and its PDPTEs), 4 or 5. */
  readonly levels: 3 | 4 | 5
  /** Extended page tables. Default false. */
  readonly ept?: boolean
  /** Further bits of entries that name tables, for example the C-bit. */
  readonly tableBits?: bigint
  readonly memory: TableMemory
}

/** Tables that are being built. */
export interface PageTables {
  /** Physical address of the topmost table: CR3's address field. */
  readonly root: number
  /** Pages used for tables so far. */
  readonly pages: () => number
  /**
   * Maps a range with the largest pages that alignment allows. What a range maps already is replaced.
   * @throws RangeError when an address or length is no multiple of 4096, or a smaller page would split a larger one
   */
  map(mapping: Mapping): void
}

/** Everything that the entries above a page must allow, so that the page's own entry decides. */
const TABLE_FLAGS = PageEntry.pack({ P: 1n, RW: 1n, US: 1n })
/** A PDPTE of PAE paging has no permissions: bits 2:1 are reserved. */
const PAE_PDPTE_FLAGS = PageEntry.mask.P
const EPT_TABLE_FLAGS = EptEntry.pack({ R: 1n, W: 1n, X: 1n, XU: 1n })
/** Memory type write-back of EPT leaves. */
const EPT_WB = 6n

function pageFlags(ept: boolean, m: Mapping, level: number): bigint {
  const on = (set: boolean, mask: bigint): bigint => (set ? mask : 0n)
  const writable = m.writable ?? true
  const executable = m.executable ?? true
  const dirty = m.dirty ?? false
  if (ept) {
    return EptEntry.mask.R | on(writable, EptEntry.mask.W) | on(executable, EptEntry.mask.X | EptEntry.mask.XU)
      | on(level > 1, EptEntry.mask.PS) | on(dirty, EptEntry.mask.A | EptEntry.mask.D)
      | EptEntry.set(0n, 'memoryType', EPT_WB)
  }
  return PageEntry.mask.P | on(writable, PageEntry.mask.RW) | on(m.user ?? false, PageEntry.mask.US)
    | on(!executable, PageEntry.mask.NX) | on(m.global ?? false, PageEntry.mask.G) | on(level > 1, PageEntry.mask.PS)
    | on(dirty, PageEntry.mask.A | PageEntry.mask.D)
}

/** Creates empty tables. */
export function createPageTables(options: TableOptions): PageTables {
  const { memory, levels } = options
  const ept = options.ept ?? false
  const tableBits = options.tableBits ?? 0n
  let pages = 1
  const root = memory.allocate()

  const tableFlags = (level: number): bigint =>
    ept ? EPT_TABLE_FLAGS : levels === 3 && level === 3 ? PAE_PDPTE_FLAGS : TABLE_FLAGS

  /** The table below entry `at`, made when it is not there. */
  const below = (at: number, level: number): number => {
    const entry = memory.load64(at)
    if ((entry & 1n) === 0n) {
      const table = memory.allocate()
      pages++
      memory.store64(at, BigInt(table) | tableFlags(level) | tableBits)
      return table
    }
    if (level < 4 && (entry & PageEntry.mask.PS) !== 0n) {
      throw new RangeError('page tables: a larger page is in the way')
    }
    return Number(entry & PageEntry.mask.address & ~tableBits)
  }

  const put = (va: bigint, pa: bigint, leafLevel: number, m: Mapping): void => {
    let table = root
    for (let level: number = levels; ; level--) {
      const at = table + 8 * Number((va >> BigInt(12 + 9 * (level - 1))) & 0x1ffn)
      if (level === leafLevel) {
        memory.store64(at, pa | pageFlags(ept, m, level) | (m.bits ?? 0n))
        return
      }
      table = below(at, level)
    }
  }

  return {
    root,
    pages: () => pages,
    map(m) {
      let va = BigInt(m.from)
      let pa = BigInt(m.to ?? m.from)
      let left = BigInt(m.length)
      if (((va | pa | left) & 0xfffn) !== 0n) throw new RangeError('page tables: addresses and length in whole pages')
      // A 1 GiB page does not exist in PAE paging.
      const top = Math.min(m.largest ?? 30, levels === 3 ? 21 : 30)
      while (left > 0n) {
        let shift = 12
        for (const s of [21, 30]) {
          const size = 1n << BigInt(s)
          if (s <= top && left >= size && ((va | pa) & (size - 1n)) === 0n) shift = s
        }
        const size = 1n << BigInt(shift)
        put(va, pa, (shift - 12) / 9 + 1, m)
        va += size
        pa += size
        left -= size
      }
    },
  }
}
