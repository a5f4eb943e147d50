/** A processor's way to memory: what it is given, and what it can be asked. */
import type { GuardRequest, IoHandlers, PhysicalMemory } from '@cofferdam/memory'
import type { PageTablePort, WalkContext, WalkResult } from '@cofferdam/paging'
import type { Breakpoints } from './breakpoints.ts'
import type { Bulk } from './bulk.ts'
import type { CodePage } from './code-cache.ts'
import type { FetchPlaces, Translations } from './translations.ts'

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
  /**
   * Before a flag is set in an entry, by the key that it is read with; of a guest's own table in the one that
   * `guestTable` was last asked about. 0, or the reason why not, which ends the walk.
   */
  setsFlag(key: number): number
  /** Why `guestTable` last answered −1. */
  readonly refused: number
}

/** Somebody who must see the accesses to some pages one by one. Such pages get no TLB entries. */
export interface AccessObserver {
  /** Whether a physical page (address / 4096) is among them now. */
  sees(page: number): boolean
  /** An access to such a page is about to be made: physical address, and bytes within one page. */
  accessed(address: number, length: number): void
}

export interface MmuOptions {
  readonly memory: PhysicalMemory
  readonly physicalBits: number
  readonly faults: TranslationFaults | null
  /** Pages with data breakpoints get no TLB entries, and accesses are reported here. */
  readonly breakpoints: Breakpoints
  /** Called before an observer hears of an access, so that RIP is that of the instruction. */
  readonly beforeSeen: () => void
  /** Called around an access to a device that generated code makes, so that virtual time is exact inside. */
  readonly beforeIo: () => void
  readonly afterIo: () => void
}

/** A processor's translations: its TLBs, and walks that fill them. */
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
  /** Null where nobody looks. Pages must have no translations (`dropPage`) when they come to be seen. */
  observer: AccessObserver | null
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
   * Walks alone: whether a byte's address translates and the access is allowed, with `result` telling where it leads,
   * or false and `guestFault`. No guard is asked and no key is entered.
   */
  probe(low: number, high: number, access: number): boolean
  /** Physical page for fetching at a linear page, or −1 and `guestFault`; `result` then tells about it. */
  fetch(low: number, high: number): number
  /**
   * While a page is looked up for an access that began on the page before: how many of its bytes lie there. Else 0.
   */
  bytesBefore(): number
  /** Whether an access may lie where it does; false and `guestFault` where alignment is checked, and it may not. */
  isAligned(low: number, high: number, size: number): boolean
  /** Copies between linear memory and `bytes`; false and `guestFault` when any of it faults (then nothing was done). */
  copyIn(low: number, high: number, bytes: Uint8Array, access: number): boolean
  copyOut(low: number, high: number, bytes: Uint8Array, access: number): boolean
  /**
   * Translations for fetching: code pages by linear page, where a validity word tells that this processor may enter.
   */
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
