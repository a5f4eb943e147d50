/**
 * One processor's way to memory: walks, the TLBs that generated code probes, and the accesses the TLBs cannot serve
 * (device registers, accesses that cross a page, pages whose writes somebody watches).
 */
import type { GuardRequest, IoHandlers, PhysicalMemory } from '@cofferdam/memory'
import { FRAME_NONE, FRAME_ROM, FRAME_WATCHED } from '@cofferdam/memory'
import {
  ACCESS_FETCH, ACCESS_IMPLICIT, ACCESS_USER, ACCESS_WRITE, PERM_DIRTY, PERM_GLOBAL, PERM_NESTED_WRITE, WALK_OK,
  WALK_PAGE_FAULT, createWalkContext, createWalkResult, createWalker, rightsError,
} from '@cofferdam/paging'
import type { PageTablePort, WalkContext, WalkResult } from '@cofferdam/paging'
import { VECTOR, guestFault } from '../cpu.ts'
import { CPL, SCRATCH, TLB_BASE } from '../state.ts'
import type { Breakpoints } from './breakpoints.ts'
import { createBulk } from './bulk.ts'
import type { Bulk } from './bulk.ts'
import type { CodePage } from './code-cache.ts'
import { checkTranslations, entriesOf, FETCH_LIMIT, fetchesOf, placeEntries, placeFetches } from './translations.ts'
import type { FetchPlaces, Translations } from './translations.ts'
import { TLB_ENTRIES, TLB_MODES, TLB_MODE_SIZE, TLB_WATCHED, TLB_WRITE } from './uop.ts'

const PAGE = 4096
/** Pages whose writes somebody must see. */
const HEARD = FRAME_WATCHED | FRAME_ROM
const TWO_32 = 0x1_0000_0000
const LOG_SIZE = 16384

/** An extension's say when a walk ends in something that is no plain page fault, or a guard refuses. */
export interface TranslationFaults {
  /** Sets `guestFault`, or arranges for an exit, after a walk with a status other than OK and PAGE_FAULT. */
  walk(result: WalkResult, low: number, high: number, access: number): void
  /** The same after a guard refused the page. */
  guard(verdict: number, request: GuardRequest, low: number, high: number): void
}

/** An extension's say in encryption: the keys of accesses, and who may walk which tables. */
export interface AccessPolicy {
  /** Slot of `memory.keys` for the page that a walk found; sets `guardKey`. */
  pageKey(result: WalkResult, access: number): number
  /** What guards see as the key of the access that `pageKey` was last asked about. */
  readonly guardKey: number
  /** Slot for an entry of a table, by the key bits that led to it, or by what `guestTable` answered. */
  tableKey(key: number): number
  /** Before an entry is read or changed in one dimension: 0, or the reason why not, which ends the walk. */
  table(page: number): number
  /** Before an entry of a guest's own table is read or changed: see `PageTablePort`. */
  readonly guestTable: NonNullable<PageTablePort['guestTable']>
  /** Why `guestTable` last answered −1. */
  readonly refused: number
}

export interface MmuOptions {
  readonly memory: PhysicalMemory
  readonly physicalBits: number
  readonly faults: TranslationFaults | null
  /** Pages with data breakpoints get no TLB entries, and accesses are reported here. */
  readonly breakpoints: Breakpoints
  /** Called around an access to a device that generated code makes, so that virtual time is exact inside. */
  readonly beforeIo: () => void
  readonly afterIo: () => void
}

export interface Mmu {
  readonly context: WalkContext
  /** Base of this processor's TLBs. */
  readonly tlb: number
  /** A TLB that is never filled: the present one where alignment is checked. */
  readonly unfilled: number
  /** The last walk. */
  readonly result: WalkResult
  /** Context word for guards. */
  guardContext: number
  /** Linear addresses are checked for 57 rather than 48 bits. */
  la57: boolean
  /** Long mode: addresses outside the canonical range fault. */
  canonical: boolean
  /** Registers that only this processor sees at a physical page (the local APIC), or null. */
  local: { page: number; handlers: IoHandlers } | null
  /** TLB misses so far, for statistics. */
  misses: number
  /** Who turns what is no plain page fault into something that a processor can take. */
  faults: TranslationFaults | null
  /** Encryption, where an extension brings it. */
  policy: AccessPolicy | null
  /** Serves a TLB miss of generated code: 1 when the entry is there now, 0 when the slow path must serve the access. */
  miss(low: number, high: number, info: number): number
  /** Serves an access for generated code: its host address, SCRATCH with the bytes in it, or 0 and `guestFault`. */
  slow(low: number, high: number, info: number): number
  /** Carries out a part of a repeated MOVS or STOS that the TLBs cannot serve: see `createBulk`. */
  readonly bulk: Bulk
  /** Carries out the store for which `slow` gave SCRATCH. */
  commit(size: number): void
  /** Physical address of a byte, or −1 and `guestFault`. `access` as in the paging package. */
  translate(low: number, high: number, access: number): number
  /**
   * Walks alone: whether a byte's address translates and the access is allowed, with `result` telling where it leads, or
   * false and `guestFault`. No guard is asked and no key is entered.
   */
  probe(low: number, high: number, access: number): boolean
  /** Physical page for fetching at a linear page, or −1 and `guestFault`; `result` then tells about it. */
  fetch(low: number, high: number): number
  /** Whether an access may lie where it does; false and `guestFault` where alignment is checked, and it may not. */
  isAligned(low: number, high: number, size: number): boolean
  /** Copies between linear memory and `bytes`; false and `guestFault` when any of it faults (then nothing was done). */
  copyIn(low: number, high: number, bytes: Uint8Array, access: number): boolean
  copyOut(low: number, high: number, bytes: Uint8Array, access: number): boolean
  /** Translations for fetching: code pages by linear page, where a validity word tells that this processor may enter. */
  readonly code: { local: Map<number, CodePage>; global: Map<number, CodePage> }
  flush(all: boolean): void
  invalidate(low: number, high: number): void
  /** Loads the PDPTEs of PAE paging from CR3; false when one has reserved bits set. */
  loadPdptes(): boolean
  /** Somebody watches a physical page now: no write may reach it directly. The translations stay. */
  dropWrites(page: number): void
  /** Forgets all translations that lead to a physical page. */
  dropPage(page: number): void
  /** Forgets translations for fetching when there are too many. */
  makeRoom(): void
  /** The translations for fetching, and taking them over again after all code pages were forgotten. */
  fetches(): Float64Array
  setFetches(saved: Float64Array, codePage: FetchPlaces['codePage']): void
  /** What this processor remembers of translations: what it does next depends on it. */
  snapshot(): Translations
  /** Takes over what `snapshot` gave; memory and control registers are in place. @throws StateError */
  restore(saved: Translations, codePage: FetchPlaces['codePage']): void
}

interface Part {
  /** Physical address. */
  address: number
  length: number
}

export function createMmu(options: MmuOptions, validityOffset: number): Mmu {
  const { memory, breakpoints } = options
  const { u8, i32 } = memory.views
  const tlb = memory.reserve(TLB_MODES * TLB_MODE_SIZE)
  const unfilled = memory.reserve(TLB_MODE_SIZE)
  i32.fill(-1, unfilled >>> 2, (unfilled + TLB_MODE_SIZE) >>> 2)
  const context = createWalkContext({ physicalBits: options.physicalBits })
  const result = createWalkResult()
  const port = createPort(memory, () => mmu.policy)
  const walker = createWalker(port)
  const localLog = new Int32Array(LOG_SIZE)
  const globalLog = new Int32Array(LOG_SIZE)
  let localCount = 0
  let globalCount = 0
  /** 2 MiB regions of linear memory that larger pages than 4 KiB have put entries in. */
  const large = new Set<number>()
  const code = { local: new Map<number, CodePage>(), global: new Map<number, CodePage>() }
  const request: GuardRequest = {
    page: 0, key: 0, access: 0, shift: 12, guestPage: -1, nestedShift: 0, context: 0, user: false, walk: false,
  }
  const pending: Part[] = []
  /** Entries through which unbacked RAM is read as zeros. */
  const zeroEntries: number[] = []
  const forgetZeros = (): void => {
    for (const entry of zeroEntries) i32[entry >>> 2] = -1
    zeroEntries.length = 0
  }
  memory.onBacked(forgetZeros)

  const clearAll = (): void => {
    i32.fill(-1, tlb >>> 2, (tlb + TLB_MODES * TLB_MODE_SIZE) >>> 2)
    localCount = 0
    globalCount = 0
    large.clear()
  }

  const isCanonical = (high: number): boolean => {
    const top = mmu.la57 ? high >> 24 : high >> 15
    return !mmu.canonical || top === 0 || top === -1
  }

  /** #GP, or #SS if it is the stack's; `address` says which access it was. */
  const notCanonical = (low: number, high: number): number => {
    guestFault.vector = VECTOR.GP
    guestFault.errorCode = 0
    guestFault.address = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
    return -1
  }

  const refuse = (low: number, high: number, access: number): number => {
    if (result.status === WALK_PAGE_FAULT || mmu.faults === null) {
      guestFault.vector = VECTOR.PF
      guestFault.errorCode = result.errorCode
      guestFault.address = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
    } else {
      mmu.faults.walk(result, low, high, access)
    }
    return -1
  }

  /** Asks the guards; −1 when one refuses. */
  const guarded = (page: number, key: number, low: number, high: number, access: number): boolean => {
    request.page = page
    request.key = key
    request.access = (access & ACCESS_FETCH) !== 0 ? 4 : (access & ACCESS_WRITE) !== 0 ? 3 : 1
    request.shift = result.shift
    request.guestPage = context.nested === null ? -1 : Math.floor(result.gpa / PAGE)
    request.nestedShift = context.nested === null ? 0 : result.nestedShift
    request.user = (access & ACCESS_USER) !== 0
    request.context = mmu.guardContext
    for (const guard of memory.guards) {
      const verdict = guard.check(request)
      if (verdict !== 0) {
        mmu.faults?.guard(verdict, request, low, high)
        return false
      }
    }
    return true
  }

  /** Walks for one byte; physical page number, or −1. */
  const walkPage = (low: number, high: number, access: number): number => {
    if (!isCanonical(high)) return notCanonical(low, high)
    walker.walk(context, low, high, access, result)
    if (result.status !== WALK_OK) return refuse(low, high, access)
    const page = result.page / PAGE
    const { policy } = mmu
    const key = policy === null ? result.key : policy.pageKey(result, access)
    const seen = policy === null ? key : policy.guardKey
    if (memory.guards.length > 0 && !guarded(page, seen, low, high, access)) return -1
    if (policy !== null) memory.keys.enter(page, key)
    return page
  }

  /** A watched page's entry has a tag that no access matches: generated code comes here, and finds the page. */
  const setEntry = (entry: number, low: number, high: number, frame: number, page: number, watched: boolean): void => {
    const at = entry >>> 2
    i32[at] = (low & ~0xfff) | (watched ? TLB_WATCHED : 0)
    i32[at + 1] = high
    i32[at + 2] = (frame - (low & ~0xfff)) | 0
    i32[at + 3] = page
    if ((result.perms & PERM_GLOBAL) !== 0) {
      if (globalCount < LOG_SIZE) globalLog[globalCount] = entry
      globalCount++
    } else {
      if (localCount < LOG_SIZE) localLog[localCount] = entry
      localCount++
    }
  }

  /** Whether an entry is free, or this page's already. */
  const isFree = (entry: number, low: number, high: number): boolean =>
    i32[entry >>> 2] === -1 || ((i32[entry >>> 2] & ~0xfff) === (low & ~0xfff) && i32[(entry >>> 2) + 1] === high)

  /**
   * The physical page of a watched page's write entry, −1 without one. Who watches pages must not change what software
   * sees: a write finds its page by the entry, and walks (which sets accessed and dirty flags) only where others would.
   */
  const watchedEntry = (base: number, low: number, high: number): number => {
    const at = (base + (((low >>> 12) & (TLB_ENTRIES - 1)) << 4) + TLB_WRITE) >>> 2
    if (i32[at] !== ((low & ~0xfff) | TLB_WATCHED) || i32[at + 1] !== high) return -1
    return i32[at + 3] >>> 0
  }

  /** The physical page of a read entry of the present mode, −1 without one. */
  const readableEntry = (low: number, high: number): number => {
    const at = (i32[TLB_BASE >>> 2] + (((low >>> 12) & (TLB_ENTRIES - 1)) << 4)) >>> 2
    return i32[at] === (low & ~0xfff) && i32[at + 1] === high ? i32[at + 3] >>> 0 : -1
  }

  /** The TLB that an access looks in: rings 0 to 2 and implicit supervisor accesses don't use user mode's. */
  const baseFor = (access: number): number =>
    (access & ACCESS_IMPLICIT) !== 0 && i32[CPL >>> 2] === 3 ? tlb : i32[TLB_BASE >>> 2]

  /**
   * Puts what the last walk found into the TLBs of the present mode. The side that was not asked for gets its entry only
   * where that displaces no other page: an instruction that reads one page and writes another of the same index would
   * displace one with the other for ever. Unbacked RAM is read through the frame of zeros. Answers whether the side that
   * was asked for has its entry now: else nobody may go by it.
   */
  const fill = (low: number, high: number, page: number, user: number, write: boolean): boolean => {
    let filled = false
    const { perms, pkey } = result
    const base = i32[TLB_BASE >>> 2] + (((low >>> 12) & (TLB_ENTRIES - 1)) << 4)
    const word = memory.frameWord(page)
    const frame = word < PAGE ? memory.zeroFrame : word - (word % PAGE)
    if (rightsError(context.mode, perms, pkey, context.pkru, user) === 0) {
      if (!write || isFree(base, low, high)) {
        setEntry(base, low, high, frame, page, false)
        filled = !write
      }
    }
    const writable = (perms & (PERM_DIRTY | PERM_NESTED_WRITE)) === (PERM_DIRTY | PERM_NESTED_WRITE)
    if (writable && word >= PAGE && rightsError(context.mode, perms, pkey, context.pkru, user | ACCESS_WRITE) === 0) {
      // A guard's leave to read is none to write.
      const allowed = memory.guards.length === 0 || (request.access & 2) !== 0
      if (allowed && (write || isFree(base + TLB_WRITE, low, high))) {
        setEntry(base + TLB_WRITE, low, high, frame, page, (word & HEARD) !== 0)
        if (write) filled = true
      }
    }
    if (result.shift > 12) large.add(high * 2048 + (low >>> 21))
    return filled
  }

  /** Lets an unbacked page be read as the zeros it holds. */
  const readZeros = (page: number, low: number, high: number, user: number): 0 | 1 => {
    if (mmu.local?.page === page || (breakpoints.data !== 0 && breakpoints.holdsData(low, high))) return 0
    memory.readAsZero(page)
    if (zeroEntries.length === LOG_SIZE) forgetZeros()
    if (!fill(low, high, page, user, false)) return 0
    zeroEntries.push(i32[TLB_BASE >>> 2] + (((low >>> 12) & (TLB_ENTRIES - 1)) << 4))
    return 1
  }

  /** The write entry for an address is that of a page that nobody watches any more. */
  const unwatch = (low: number): void => {
    i32[(i32[TLB_BASE >>> 2] + (((low >>> 12) & (TLB_ENTRIES - 1)) << 4) + TLB_WRITE) >>> 2] = low & ~0xfff
  }

  const userAccess = (): number => (i32[CPL >>> 2] === 3 ? ACCESS_USER : 0)

  /** Finds the physical parts of an access in `pending`; false and `guestFault` when it faults. */
  const split = (low: number, high: number, size: number, access: number): boolean => {
    pending.length = 0
    const first = Math.min(size, PAGE - (low & 0xfff))
    const known = first === size && (access & ACCESS_WRITE) !== 0 ? watchedEntry(baseFor(access), low, high) : -1
    const page = known >= 0 ? known : walkPage(low, high, access)
    if (page < 0) return false
    pending.push({ address: page * PAGE + (low & 0xfff), length: first })
    if (first === size) return true
    const nextLow = (low & ~0xfff) + PAGE
    const wraps = nextLow >= TWO_32 || (nextLow | 0) === 0
    const second = walkPage(nextLow | 0, wraps ? (high + 1) | 0 : high, access)
    if (second < 0) return false
    pending.push({ address: second * PAGE, length: size - first })
    return true
  }

  const isAligned = (low: number, high: number, size: number): boolean => {
    if (i32[TLB_BASE >>> 2] !== unfilled || (low & (alignmentOf(size) - 1)) === 0 || !isCanonical(high)) return true
    guestFault.vector = VECTOR.AC
    guestFault.errorCode = 0
    return false
  }

  const isLocal = (address: number): boolean => mmu.local !== null && Math.floor(address / PAGE) === mmu.local.page

  const readPart = ({ address, length }: Part, to: number): void => {
    const word = memory.frameWord(Math.floor(address / PAGE))
    if (word !== FRAME_NONE && !isLocal(address)) {
      // Untouched RAM that was cleared at power-on reads as zero and stays without a frame.
      if (word < PAGE && !memory.filled) u8.fill(0, to, to + length)
      else u8.copyWithin(to, memory.backPage(Math.floor(address / PAGE)) + (address % PAGE), memory.backPage(Math.floor(address / PAGE)) + (address % PAGE) + length)
      return
    }
    options.beforeIo()
    for (let at = 0; at < length;) {
      const n = accessSize(address + at, length - at)
      const value = isLocal(address) && mmu.local !== null
        ? mmu.local.handlers.read((address + at) % PAGE, n) : memory.mmio.read(address + at, n)
      for (let i = 0; i < n; i++) u8[to + at + i] = value >>> (8 * i)
      at += n
    }
    options.afterIo()
  }

  const writePart = ({ address, length }: Part, from: number): void => {
    const page = Math.floor(address / PAGE)
    const word = memory.frameWord(page)
    if (word !== FRAME_NONE && (word & FRAME_ROM) === 0 && !isLocal(address)) {
      const to = memory.backPage(page) + (address % PAGE)
      for (let i = 0; i < length; i++) u8[to + i] = u8[from + i]
      if ((word & FRAME_WATCHED) !== 0) memory.notifyWrite(address, length)
      return
    }
    options.beforeIo()
    for (let at = 0; at < length;) {
      const n = accessSize(address + at, length - at)
      let value = 0
      for (let i = 0; i < n; i++) value |= u8[from + at + i] << (8 * i)
      if (isLocal(address) && mmu.local !== null) mmu.local.handlers.write((address + at) % PAGE, n, value >>> 0)
      else memory.mmio.write(address + at, n, value >>> 0)
      at += n
    }
    options.afterIo()
  }

  const dropEntry = (entry: number): void => {
    i32[entry >>> 2] = -1
  }

  /** Calls `visit` with the index of each of `count` entries that lead to a physical page. */
  const eachTo = (page: number, first: number, count: number, visit: (at: number) => void): void => {
    for (let at = first >>> 2, end = at + count * 4; at < end; at += 4) {
      if (i32[at + 3] === (page | 0) && i32[at] !== -1) visit(at)
    }
  }

  const dropCode = (pages: Map<number, CodePage>): void => {
    for (const page of pages.values()) i32[(page.words + validityOffset) >>> 2] = 0
    pages.clear()
  }

  const copy = (low: number, high: number, bytes: Uint8Array, access: number, out: boolean): boolean => {
    // Accesses of the processor itself may lie anywhere.
    if ((access & ACCESS_IMPLICIT) === 0 && !isAligned(low, high, bytes.length)) return false
    const parts: Part[] = []
    for (let at = 0; at < bytes.length;) {
      const l = (low + at) | 0
      const h = (low >>> 0) + at >= TWO_32 ? (high + 1) | 0 : high
      const n = Math.min(bytes.length - at, PAGE - (l & 0xfff))
      const known = out && n === bytes.length ? watchedEntry(baseFor(access), l, h) : -1
      const page = known >= 0 ? known : walkPage(l, h, access)
      if (page < 0) return false
      parts.push({ address: page * PAGE + (l & 0xfff), length: n })
      at += n
    }
    if (breakpoints.data !== 0) breakpoints.accessed(low, high, bytes.length, out)
    let at = 0
    for (const part of parts) {
      for (let done = 0; done < part.length; done += 64) {
        const piece = { address: part.address + done, length: Math.min(64, part.length - done) }
        if (out) {
          u8.set(bytes.subarray(at, at + piece.length), SCRATCH)
          writePart(piece, SCRATCH)
        } else {
          readPart(piece, SCRATCH)
          bytes.set(u8.subarray(SCRATCH, SCRATCH + piece.length), at)
        }
        at += piece.length
      }
    }
    return true
  }

  const mmu: Mmu = {
    context, tlb, unfilled, result, code, isAligned,
    bulk: createBulk({
      memory,
      // What is watched or must be aligned, and local registers, are served an element at a time.
      page: (low, high, bytes, write) => {
        if (i32[TLB_BASE >>> 2] === unfilled || (breakpoints.data !== 0 && breakpoints.watchesData(low, high, bytes))) return -1
        const known = write ? watchedEntry(i32[TLB_BASE >>> 2], low, high) : readableEntry(low, high)
        const page = known >= 0 ? known : walkPage(low, high, userAccess() | (write ? ACCESS_WRITE : 0))
        return mmu.local?.page === page ? -1 : page
      },
    }),
    guardContext: 0, la57: false, canonical: false, local: null, misses: 0, faults: options.faults, policy: null,
    miss(low, high, info) {
      if (i32[TLB_BASE >>> 2] === unfilled) return 0
      // Accesses over a page's end are the slow path's.
      if ((low & 0xfff) + (info & 0xff) > PAGE) return 0
      const user = userAccess()
      const write = (info & 0x200) !== 0
      const known = write ? watchedEntry(i32[TLB_BASE >>> 2], low, high) : -1
      // Software can't tell a watched page from another: there it would have hit.
      if (known < 0) mmu.misses++
      const page = known >= 0 ? known : walkPage(low, high, user | (write ? ACCESS_WRITE : 0))
      if (page < 0) return 0
      const word = memory.frameWord(page)
      const heard = (word & HEARD) !== 0
      if (known >= 0 && heard) return 0
      if (word < PAGE) {
        // Not RAM; or RAM that nobody has written: backed by the first write only.
        if (word === FRAME_NONE) return 0
        if (!write && !memory.filled) return readZeros(page, low, high, user)
        memory.backPage(page)
      }
      if (mmu.local?.page === page || (breakpoints.data !== 0 && breakpoints.holdsData(low, high))) return 0
      if (known >= 0) unwatch(low)
      else if (!fill(low, high, page, user, write)) return 0
      return write && heard ? 0 : 1
    },
    slow(low, high, info) {
      if (mmu.miss(low, high, info) === 1) {
        const entry = i32[TLB_BASE >>> 2] + (((low >>> 12) & (TLB_ENTRIES - 1)) << 4) + ((info & 0x200) !== 0 ? TLB_WRITE : 0)
        return (low + i32[(entry + 8) >>> 2]) >>> 0
      }
      const size = info & 0xff
      const want = info >>> 8
      const access = userAccess() | ((want & 2) !== 0 ? ACCESS_WRITE : 0)
      if (!isAligned(low, high, size) || !split(low, high, size, access)) return 0
      if (breakpoints.data !== 0) breakpoints.accessed(low, high, size, (want & 2) !== 0)
      if (pending.length === 1) {
        const word = memory.frameWord(Math.floor(pending[0].address / PAGE))
        const direct = word >= PAGE && ((word & HEARD) === 0 || want === 1) && !isLocal(pending[0].address)
        if (direct) return word - (word % PAGE) + (pending[0].address % PAGE)
      }
      if ((want & 1) !== 0) {
        let to = SCRATCH
        for (const part of pending) {
          readPart(part, to)
          to += part.length
        }
      }
      return SCRATCH
    },
    commit() {
      let from = SCRATCH
      const parts = pending.splice(0)
      for (const part of parts) {
        writePart(part, from)
        from += part.length
      }
    },
    translate(low, high, access) {
      const page = walkPage(low, high, access)
      return page < 0 ? -1 : page * PAGE + (low & 0xfff)
    },
    probe(low, high, access) {
      if (!isCanonical(high)) return notCanonical(low, high) >= 0
      walker.walk(context, low, high, access, result)
      return result.status === WALK_OK || refuse(low, high, access) >= 0
    },
    fetch: (low, high) => walkPage(low, high, ACCESS_FETCH | userAccess()),
    copyIn: (low, high, bytes, access) => copy(low, high, bytes, access, false),
    copyOut: (low, high, bytes, access) => copy(low, high, bytes, access | ACCESS_WRITE, true),
    flush(all) {
      if (all) {
        clearAll()
        dropCode(code.global)
      } else if (localCount > LOG_SIZE) {
        clearAll()
      } else {
        for (let i = 0; i < localCount; i++) dropEntry(localLog[i])
        localCount = 0
      }
      dropCode(code.local)
    },
    invalidate(low, high) {
      if (large.has(high * 2048 + (low >>> 21))) {
        mmu.flush(true)
        return
      }
      const index = ((low >>> 12) & (TLB_ENTRIES - 1)) << 4
      for (let mode = 0; mode < TLB_MODES; mode++) {
        const entry = tlb + mode * TLB_MODE_SIZE + index
        dropEntry(entry)
        dropEntry(entry + TLB_WRITE)
      }
      const linear = (high >>> 0) * 0x10_0000 + (low >>> 12)
      for (const pages of [code.local, code.global]) {
        const page = pages.get(linear)
        if (page === undefined) continue
        i32[(page.words + validityOffset) >>> 2] = 0
        pages.delete(linear)
      }
    },
    loadPdptes: () => walker.loadPdptes(context),
    dropWrites(page) {
      for (let mode = 0; mode < TLB_MODES; mode++) {
        eachTo(page, tlb + mode * TLB_MODE_SIZE + TLB_WRITE, TLB_ENTRIES, (at) => { i32[at] |= TLB_WATCHED })
      }
    },
    dropPage(page) {
      if (localCount === 0 && globalCount === 0 && code.local.size === 0 && code.global.size === 0) return
      // What nobody has written is read through the frame of zeros.
      if (memory.frameWord(page) < PAGE) forgetZeros()
      else eachTo(page, tlb, TLB_MODES * TLB_ENTRIES * 2, (at) => { i32[at] = -1 })
      for (const pages of [code.local, code.global]) {
        for (const [linear, { physical, words }] of pages) {
          if (physical.number !== page) continue
          i32[(words + validityOffset) >>> 2] = 0
          pages.delete(linear)
        }
      }
    },
    snapshot: () => ({
      entries: entriesOf(i32, tlb),
      log: Uint16Array.from(localLog.subarray(0, Math.min(localCount, LOG_SIZE)), (entry) => (entry - tlb) >>> 4),
      made: localCount, large: Float64Array.from(large).sort(), pdptes: context.pdptes.slice(),
      zeros: Uint16Array.from(zeroEntries, (entry) => (entry - tlb) >>> 4), fetches: mmu.fetches(), misses: mmu.misses,
    }),
    makeRoom() {
      for (const pages of [code.local, code.global]) if (pages.size >= FETCH_LIMIT) dropCode(pages)
    },
    fetches: () => fetchesOf(code, (page) => i32[(page.words + validityOffset) >>> 2] !== 0),
    setFetches(saved, codePage) {
      code.local.clear()
      code.global.clear()
      placeFetches(saved, {
        ...code, codePage,
        isUsed: (page) => memory.frameWord(page) >= PAGE,
        setValid: (page, valid) => { i32[(page.words + validityOffset) >>> 2] = valid ? 1 : 0 },
      })
    },
    restore(saved, codePage) {
      mmu.flush(true)
      checkTranslations(saved, LOG_SIZE)
      context.pdptes.set(saved.pdptes)
      placeEntries(saved.entries, (slot, low, high, page) => {
        const word = memory.frameWord(page)
        const reads = (slot & TLB_ENTRIES) === 0
        if (word === FRAME_NONE || (word < PAGE && (!reads || memory.filled))) return false
        const frame = word < PAGE ? memory.zeroFrame : word - (word % PAGE)
        setEntry(tlb + slot * 16, low, high, frame, page, !reads && (word & HEARD) !== 0)
        return true
      })
      zeroEntries.push(...Array.from(saved.zeros, (slot) => tlb + slot * 16))
      localLog.set(Array.from(saved.log, (slot) => tlb + slot * 16))
      localCount = saved.made
      for (const region of saved.large) large.add(region)
      mmu.setFetches(saved.fetches, codePage)
      mmu.misses = saved.misses
    },
  }
  clearAll()
  return mmu
}

/**
 * Alignment that #AC asks of an access of `size` bytes (SDM vol. 3, table 6-7). Vectors of 16 and 32 bytes may lie anywhere
 * where their instructions don't say otherwise by #GP; page faults come after #AC (both observed on Intel processors).
 */
const alignmentOf = (size: number): number => (size === 10 ? 8 : size === 2 || size === 4 || size === 8 ? size : 1)

const accessSize = (address: number, left: number): 1 | 2 | 4 =>
  left >= 4 && address % 4 === 0 ? 4 : left >= 2 && address % 2 === 0 ? 2 : 1

/** Page tables in physical memory, under whatever keys `policy` says. */
function createPort(memory: PhysicalMemory, policy: () => AccessPolicy | null): PageTablePort {
  const { u32 } = memory.views
  const low = memory.lowFrames
  /** Index of the word at `pa`, −1 where no frame is. */
  const word = (pa: number, key: number): number => {
    const present = policy()
    if (present !== null && !enter(present, Math.floor(pa / PAGE), key)) return -1
    const frame = pa < 0x1_0000_0000 ? low[pa >>> 12] : memory.frameWord(Math.floor(pa / PAGE))
    return frame < PAGE ? -1 : ((frame & ~0xfff) >>> 2) + ((pa >>> 2) & 0x3ff)
  }
  /** Makes a table's page what its key sees; false when it may not be looked at. */
  const enter = (present: AccessPolicy, page: number, key: number): boolean => {
    const refusal = present.table(page)
    if (refusal !== 0) {
      port.refused = refusal
      return false
    }
    memory.keys.enter(page, present.tableKey(key))
    return true
  }
  const port: PageTablePort = {
    high: 0,
    refused: 0,
    load64(pa, key) {
      const at = word(pa, key)
      if (at < 0) {
        port.high = 0
        return 0
      }
      port.high = u32[at + 1] | 0
      return u32[at] | 0
    },
    load32(pa, key) {
      const at = word(pa, key)
      return at < 0 ? 0 : u32[at] | 0
    },
    setBits(pa, key, bits) {
      const at = word(pa, key)
      if (port.refused !== 0) return false
      if (at >= 0) {
        u32[at] |= bits
        const page = Math.floor(pa / PAGE)
        if ((memory.frameWord(page) & FRAME_WATCHED) !== 0) memory.notifyWrite(pa, 4)
      }
      return true
    },
    guestTable(page, gpa, shift, key, nestedKey) {
      const present = policy()
      if (present === null) return key !== 0 ? key : nestedKey
      const answer = present.guestTable(page, gpa, shift, key, nestedKey)
      if (answer < 0) port.refused = present.refused
      return answer
    },
  }
  return port
}
