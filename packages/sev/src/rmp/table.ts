/**
 * The RMP in physical memory. Every change of an entry goes through here, because the entry of a 2 MiB region's first
 * page counts the others that are assigned, and because the entries of a 2 MiB page all say that they are assigned
 * (Linux reads a page's own entry for that, and the first page's only for the size).
 */
import { FRAME_NONE, FRAME_WATCHED } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import type { RmpFields } from './entry.ts'
import { rmpEntryAddress, rmpGeometry } from './geometry.ts'
import type { RmpGeometry, RmpMsrs, RmpProblem, SegmentLimits } from './geometry.ts'

const PAGE = 4096
/** 4 KiB pages in a 2 MiB page. */
export const LARGE_PAGES = 512
const TWO_20 = 2 ** 20
/** `RmpEntryHigh.inUse` in the highest word of an entry. */
const IN_USE = 0x400

/** What `find` found; filled again by every call. */
export interface FoundEntry extends RmpFields {
  /** Pages 1 … 511 of a region that are assigned as 4 KiB pages; counted in the entry of its first page. */
  subpages: number
}

/** What a snapshot keeps of the table beside memory: the MSRs in hexadecimal. */
export interface RmpTableState {
  readonly enabled: boolean
  readonly base: string
  readonly end: string
  readonly cfg: string
}

/** The RMP in memory: where it lies, and its entries as software and processors change them. */
export interface RmpTable {
  /** Where the table lies, or null before `load`. */
  readonly geometry: RmpGeometry | null
  /** SYSCFG.SecureNestedPagingEn: checks are made and instructions work. */
  enabled: boolean
  /** Takes new values of the MSRs (the processor refuses them once SNP is on). */
  load(msrs: RmpMsrs, limits?: SegmentLimits): RmpProblem | null
  /** Whether a page has an entry. */
  covers(page: number): boolean
  /** Physical address of a page's own entry, or −1. */
  entryAddress(page: number): number
  /** The last entry that `find` or `findOwn` looked up. */
  readonly found: FoundEntry
  /** Finds the entry that decides about a page: that of the 2 MiB page it lies in, else its own. False: none. */
  find(page: number): boolean
  /** Finds a page's own entry, whatever size its region has. */
  findOwn(page: number): boolean
  /** A copy of the entry that decides about a page, or null where the table does not reach. */
  read(page: number): RmpFields | null
  /** Whether a page, or some page of its 2 MiB region, is assigned. Pages without entries are not. */
  assigned(page: number): boolean
  regionAssigned(page: number): boolean
  /**
   * Writes the entry of a 4 KiB page, or, when `large` is set, those of a 2 MiB page.
   * @throws RangeError for a page without an entry, and for a 4 KiB entry inside a 2 MiB page
   */
  write(page: number, fields: Readonly<RmpFields>): void
  /** Writes all entries of a 2 MiB region as 4 KiB pages, with guest pages from `fields.guestPage` on. */
  writeSmall(firstPage: number, fields: Readonly<RmpFields>): void
  /** Marks the 4 KiB page that a processor runs from, or takes the mark away. VMRUN and #VMEXIT do, often. */
  setInUse(page: number, on: boolean): void
  /** The MSRs' values and whether SNP is on, as JSON carries them; the entries are in memory. */
  snapshot(): RmpTableState
  /** Takes them back; memory has to be back before, for the segment table. */
  restore(saved: RmpTableState): void
  /** Changes the flags of the deciding entry in place: validated, VMSA, permissions, in use, immutable. */
  change(page: number, fields: Partial<RmpFields>): void
}

/** Creates a table over physical memory, not loaded and not enabled. */
export function createRmpTable(memory: PhysicalMemory): RmpTable {
  const { i32, u64 } = memory.views
  let geometry: RmpGeometry | null = null
  let loaded: RmpMsrs = { base: 0n, end: 0n, cfg: 0n }
  const found: FoundEntry = {
    assigned: false, large: false, immutable: false, guestPage: 2 ** 40, asid: 0, vmsa: false, validated: false,
    permissions: 2 ** 31, inUse: false, subpages: 0,
  }
  found.guestPage = 0

  /** Offset of an address in the WebAssembly memory, or −1 where nothing but zeroes is. */
  const offset = (address: number): number => {
    const page = Math.floor(address / PAGE)
    const word = memory.frameWord(page)
    if (word >= PAGE) return word - (word % PAGE) + (address % PAGE)
    return memory.filled && word !== FRAME_NONE ? memory.backPage(page) + (address % PAGE) : -1
  }

  const readQword = (address: number): bigint => {
    const at = offset(address)
    return at < 0 ? 0n : u64[at >>> 3]
  }

  const entryAddress = (page: number): number => {
    if (geometry === null) return -1
    const [first] = geometry.segments
    if (!geometry.segmented) return page < first.pages ? first.address + 16 * page : -1
    return rmpEntryAddress(geometry, page)
  }

  const decode = (address: number): void => {
    const at = offset(address)
    const low = at < 0 ? 0 : i32[at >>> 2]
    const high = at < 0 ? 0 : i32[(at >>> 2) + 1]
    found.assigned = (low & 1) !== 0
    found.large = (low & 2) !== 0
    found.immutable = (low & 4) !== 0
    found.guestPage = (low >>> 12) + (high & 0x7ffff) * TWO_20
    found.asid = (high >>> 19) & 0x3ff
    found.vmsa = (high & 0x2000_0000) !== 0
    found.validated = (high & 0x4000_0000) !== 0
    found.permissions = at < 0 ? 0 : i32[(at >>> 2) + 2] >>> 0
    const top = at < 0 ? 0 : i32[(at >>> 2) + 3]
    found.subpages = top & 0x3ff
    found.inUse = (top & IN_USE) !== 0
  }

  const findOwn = (page: number): boolean => {
    const address = entryAddress(page)
    if (address < 0) return false
    decode(address)
    return true
  }

  const find = (page: number): boolean => {
    const index = page % LARGE_PAGES
    if (index !== 0) {
      const first = entryAddress(page - index)
      if (first >= 0) {
        decode(first)
        if (found.assigned && found.large) {
          found.guestPage += index
          return true
        }
      }
    }
    return findOwn(page)
  }

  /** Writes one entry as it stands in memory: four words, as `encodeRmpEntry` has them. */
  const store = (page: number, fields: Readonly<RmpFields>, guestPage: number, large: boolean, subpages: number) => {
    const address = entryAddress(page)
    if (address < 0) throw new RangeError(`page 0x${page.toString(16)} has no RMP entry`)
    const target = Math.floor(address / PAGE)
    const word = memory.frameWord(target)
    if (word === FRAME_NONE) return
    const low = (fields.assigned ? 1 : 0) | (large ? 2 : 0) | (fields.immutable ? 4 : 0) | (guestPage << 12)
    const high = Math.floor(guestPage / TWO_20) | (fields.asid << 19) | (fields.vmsa ? 0x2000_0000 : 0) |
      (fields.validated ? 0x4000_0000 : 0)
    const top = subpages | (fields.inUse ? 0x400 : 0)
    // An entry that stays zero takes no frame.
    if (word < PAGE && !memory.filled && (low | high | fields.permissions | top) === 0) return
    const at = (memory.backPage(target) + (address % PAGE)) >>> 2
    i32[at] = low
    i32[at + 1] = high
    i32[at + 2] = fields.permissions
    i32[at + 3] = top
    if ((word & FRAME_WATCHED) !== 0) memory.notifyWrite(address, 16)
  }

  /** Adds to the count in the first entry of a region. */
  const count = (first: number, by: number): void => {
    if (by === 0 || !findOwn(first)) return
    store(first, found, found.guestPage, found.large, found.subpages + by)
  }

  const writeOne = (page: number, fields: Readonly<RmpFields>): void => {
    const index = page % LARGE_PAGES
    if (!findOwn(page)) throw new RangeError(`page 0x${page.toString(16)} has no RMP entry`)
    if (index === 0) {
      store(page, fields, fields.guestPage, false, found.subpages)
      return
    }
    const before = found.assigned ? 1 : 0
    store(page, fields, fields.guestPage, false, 0)
    count(page - index, (fields.assigned ? 1 : 0) - before)
  }

  const writeRegion = (firstPage: number, fields: Readonly<RmpFields>, large: boolean): void => {
    const subpages = fields.assigned && !large ? LARGE_PAGES - 1 : 0
    for (let i = 0; i < LARGE_PAGES; i++) {
      const guestPage = fields.assigned ? fields.guestPage + i : 0
      store(firstPage + i, fields, guestPage, large, i === 0 ? subpages : 0)
    }
  }

  const copy = (): RmpFields => {
    const { subpages: _, ...fields } = found
    return fields
  }

  const table: RmpTable = {
    get geometry() {
      return geometry
    },
    enabled: false,
    found, find, findOwn, entryAddress,
    writeSmall: (firstPage, fields) => { writeRegion(firstPage, fields, false) },
    load(msrs, limits) {
      loaded = msrs
      const result = rmpGeometry(msrs, readQword, limits)
      geometry = typeof result === 'string' ? null : result
      return typeof result === 'string' ? result : null
    },
    snapshot: () => ({
      enabled: table.enabled, base: loaded.base.toString(16), end: loaded.end.toString(16),
      cfg: loaded.cfg.toString(16),
    }),
    restore({ enabled, base, end, cfg }) {
      const msr = (text: string): bigint => (/^[\da-f]{1,16}$/.test(text) ? BigInt(`0x${text}`) : 0n)
      table.load({ base: msr(base), end: msr(end), cfg: msr(cfg) })
      table.enabled = enabled
    },
    covers: (page) => entryAddress(page) >= 0,
    read: (page) => (find(page) ? copy() : null),
    assigned: (page) => find(page) && found.assigned,
    regionAssigned: (page) => findOwn(page - (page % LARGE_PAGES)) && (found.assigned || found.subpages > 0),
    write(page, fields) {
      if (fields.large) {
        if (page % LARGE_PAGES !== 0) throw new RangeError(`page 0x${page.toString(16)} begins no 2 MiB page`)
        writeRegion(page, fields, true)
        return
      }
      if (page % LARGE_PAGES !== 0 && findOwn(page - (page % LARGE_PAGES)) && found.assigned && found.large) {
        throw new RangeError(`page 0x${page.toString(16)} lies in a 2 MiB page of the RMP`)
      }
      writeOne(page, fields)
    },
    setInUse(page, on) {
      const address = entryAddress(page)
      const at = address < 0 ? -1 : offset(address)
      // An entry of zeros is nobody's VMSA.
      if (at < 0) return
      if (on) i32[(at >>> 2) + 3] |= IN_USE
      else i32[(at >>> 2) + 3] &= ~IN_USE
    },
    change(page, fields) {
      if (!find(page)) throw new RangeError(`page 0x${page.toString(16)} has no RMP entry`)
      const first = found.large && found.assigned ? page - (page % LARGE_PAGES) : page
      if (first !== page) found.guestPage -= page - first
      // The validated bit, the permissions and the rest of a 2 MiB page stand in its first entry alone.
      Object.assign(found, fields)
      store(first, found, found.guestPage, found.large, found.subpages)
    },
  }
  return table
}

/** The largest guest physical address that an entry holds, as a page. */
export const MAX_GUEST_PAGE = 2 ** 39 - 1
