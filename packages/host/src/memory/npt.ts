/**
 * Nested page tables of a guest, in host memory (APM vol. 2, §15.25). 4 KiB and 2 MiB pages; a page that the guest's
 * accesses must reach as emulated registers gets an entry with reserved bits, which SEV-ES turns into #VC instead of an
 * exit (APM vol. 2, §15.35.5).
 */
import { PageEntry } from '@cofferdam/spec'
import { HostError, hex } from '../errors.ts'
import { createWords, type HostMemory } from './words.ts'

/** Where a guest's nested page tables are kept. */
export interface NptOptions {
  readonly memory: HostMemory
  /** A page of the host's for a table: its system page number. */
  readonly allocatePage: () => number
  readonly freePage: (page: number) => void
  /** Whether a system page is RAM: tables are nowhere else. */
  readonly isRam: (page: number) => boolean
  /** Width of physical addresses: the bits above are reserved in entries. */
  readonly physicalBits: number
  /** Tables that are in memory already, as a snapshot has them. */
  readonly from?: NptState
}

/** Where tables are that lie in memory. */
export interface NptState {
  /** As `Npt.root`. */
  readonly root: number
  readonly tables: number
}

/**
 * Nested page tables of one guest: guest physical to system physical pages. All of them throw HostError when tables
 * were changed by somebody else, who has then taken the host's own memory.
 */
export interface Npt {
  /** System physical address of the topmost table, for VMCB.nCR3. */
  readonly root: number
  /** Maps a guest page to a system page, both numbers of 4 KiB pages; what was mapped there is replaced. */
  map(guestPage: number, systemPage: number): void
  /** Maps 2 MiB; both numbers are multiples of 512. Tables below are freed. */
  mapLarge(guestPage: number, systemPage: number): void
  /** Makes accesses to a guest page emulated. */
  mapMmio(guestPage: number): void
  /** Takes the mapping of a guest page, or of the 2 MiB page that holds it, away. Answers whether there was one. */
  unmap(guestPage: number): boolean
  /** Takes all mappings away. */
  clear(): void
  /** Makes 512 mappings out of a 2 MiB one, if there is one. */
  split(guestPage: number): void
  /** Tables in use. */
  tables(): number
  /** Frees all tables; nothing may run on them. */
  destroy(): void
}

const PAGE = 4096
const ENTRIES = 512
/** Everything but large: nested accesses are user accesses (APM vol. 2, §15.25.5), and A and D cost no walk later. */
const TABLE = PageEntry.pack({ P: 1n, RW: 1n, US: 1n })
const LEAF = PageEntry.pack({ P: 1n, RW: 1n, US: 1n, A: 1n, D: 1n })
const { P, PS } = PageEntry.mask

/** Creates empty tables of four levels, or goes on with those of a snapshot. */
export function createNpt({ memory, allocatePage, freePage, isRam, physicalBits, from }: NptOptions): Npt {
  const words = createWords(memory)
  /** Reserved address bits of an entry (APM vol. 2, §5.3.3), for MMIO. */
  const reserved = ((1n << 51n) - 1n) & ~((1n << BigInt(physicalBits)) - 1n)
  let tables = from?.tables ?? 0
  const newTable = (): number => {
    const address = allocatePage() * PAGE
    memory.fill(address, PAGE, 0)
    tables++
    return address
  }
  const freeTable = (address: number): void => {
    // More tables than there are: they lead in a circle.
    if (tables === 0) throw new HostError('nested page tables', hex(address), 'is a table twice')
    tables--
    freePage(address / PAGE)
  }
  const root = from?.root ?? newTable()

  const entryAt = (table: number, guestPage: number, level: number): number =>
    table + 8 * (Math.floor(guestPage / ENTRIES ** (level - 1)) % ENTRIES)
  const addressOf = (entry: bigint): number => {
    const address = Number(entry & PageEntry.mask.address)
    if (!isRam(address / PAGE)) throw new HostError('nested page tables', hex(address), 'is no table: no RAM is there')
    return address
  }

  /** Address of the entry of `guestPage` at `level` (1 page, 2 large page), or −1 without `create` where none is. */
  const find = (guestPage: number, level: number, create: boolean): number => {
    let table = root
    for (let at = 4; at > level; at--) {
      const place = entryAt(table, guestPage, at)
      const entry = words.load(place)
      if ((entry & P) !== 0n && (entry & PS) === 0n) {
        table = addressOf(entry)
        continue
      }
      if (!create) return -1
      if ((entry & PS) !== 0n) splitAt(place, entry)
      else words.store(place, BigInt(newTable()) | TABLE)
      table = addressOf(words.load(place))
    }
    return entryAt(table, guestPage, level)
  }

  /** Puts a table of 512 pages in the place of a large entry. */
  const splitAt = (place: number, entry: bigint): void => {
    const table = newTable()
    const first = entry & PageEntry.mask.address & ~0x1f_ffffn
    for (let i = 0; i < ENTRIES; i++) words.store(table + 8 * i, first + BigInt(i * PAGE) | LEAF)
    words.store(place, BigInt(table) | TABLE)
  }

  const freeBelow = (table: number, level: number): void => {
    if (level > 1) {
      for (let i = 0; i < ENTRIES; i++) {
        const entry = words.load(table + 8 * i)
        if ((entry & P) !== 0n && (entry & PS) === 0n) freeBelow(addressOf(entry), level - 1)
      }
    }
    freeTable(table)
  }

  return {
    root,
    map(guestPage, systemPage) {
      words.store(find(guestPage, 1, true), BigInt(systemPage) * 4096n | LEAF)
    },
    mapLarge(guestPage, systemPage) {
      const place = find(guestPage, 2, true)
      const before = words.load(place)
      words.store(place, BigInt(systemPage) * 4096n | LEAF | PS)
      if ((before & P) !== 0n && (before & PS) === 0n) freeTable(addressOf(before))
    },
    mapMmio(guestPage) {
      words.store(find(guestPage, 1, true), reserved | LEAF)
    },
    unmap(guestPage) {
      const large = find(guestPage, 2, false)
      if (large < 0) return false
      const entry = words.load(large)
      if ((entry & P) === 0n) return false
      const place = (entry & PS) !== 0n ? large : find(guestPage, 1, false)
      const was = words.load(place)
      words.store(place, 0n)
      return (was & P) !== 0n
    },
    split(guestPage) {
      const place = find(guestPage, 2, false)
      if (place < 0) return
      const entry = words.load(place)
      if ((entry & P) !== 0n && (entry & PS) !== 0n) splitAt(place, entry)
    },
    clear() {
      for (let i = 0; i < ENTRIES; i++) {
        const entry = words.load(root + 8 * i)
        if ((entry & P) === 0n) continue
        words.store(root + 8 * i, 0n)
        freeBelow(addressOf(entry), 3)
      }
    },
    tables: () => tables,
    destroy() { freeBelow(root, 4) },
  }
}
