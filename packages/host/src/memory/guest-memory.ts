/**
 * A guest's memory as its host keeps it: which guest pages there are, which are private, and what backs them. Memory is
 * taken from the host's page allocator when it is first needed, 2 MiB at a time; a 2 MiB region that is private
 * throughout has one RMP entry and one nested mapping, others have one for each page.
 *
 * All RAM is private until the guest says otherwise (GHCB page state changes); pages that a guest has not touched are
 * nobody's yet.
 */
import { restorePlain, SnapshotError } from '@cofferdam/devices'
import type { DmaMemory } from '@cofferdam/devices'
import { RmpStatus } from '@cofferdam/spec'
import { HostError, hex } from '../errors.ts'
import type { Npt } from './npt.ts'
import type { HostMemory } from './words.ts'

/** RMPUPDATE and PSMASH as the host executes them; both answer a code of `RmpStatus`. Page numbers, not addresses. */
export interface RmpInstructions {
  rmpupdate(page: number, state: {
    readonly assigned: boolean
    readonly guestPage: number
    readonly large: boolean
    readonly asid: number
    readonly immutable: boolean
  }): number
  psmash(page: number): number
}

/** What a guest's memory is made of: the host's pages, the RMP, the nested tables. Page numbers count 4 KiB. */
export interface GuestMemoryOptions {
  readonly memory: HostMemory
  readonly rmp: RmpInstructions
  readonly npt: Npt
  readonly asid: number
  /** The guest's RAM by guest physical address: start and length in bytes, multiples of 4096. */
  readonly ram: readonly { readonly start: number, readonly length: number }[]
  /** 512 system pages in a row, aligned to 2 MiB: the first page's number, −1 when there are none. */
  readonly allocateRegion: () => number
  readonly freeRegion: (page: number) => void
  /** Whether a system page is RAM; asked of pages that come from a snapshot. */
  readonly isHostRam: (page: number) => boolean
  /** Translations that processors hold of the guest's pages are stale. */
  readonly flush: () => void
  /** An RMP instruction, a page that changed: what they cost in virtual time. */
  readonly charge: (operation: MemoryOperation) => void
}

/** What takes time, for the cost table. */
export type MemoryOperation = 'rmpupdate' | 'psmash' | 'map' | 'clear'

/** What became of a fault or a request. */
export type MemoryOutcome =
  | 'done'
  /** The page is not RAM. */
  | 'not-ram'
  /** The host has no memory left. */
  | 'no-memory'
  /** The processor refused: the page is in use (a VMSA), or its RMP entry is not what the host takes it for. */
  | 'refused'

/** Counters of a guest's memory. */
export interface GuestMemoryCounts {
  /** Bytes that the host gave to the guest. */
  backed: number
  /** RMPUPDATE, by the size of the page. */
  assigned2M: number
  assigned4K: number
  /** Pages made shared. */
  shared: number
  psmash: number
  /** Private pages that a shared access, or shared pages that a private access, changed without being asked. */
  implicit: number
}

/** Memory of one guest, page by page: who backs it, and who may see it. */
export interface GuestMemory extends DmaMemory {
  readonly counts: GuestMemoryCounts
  isRam(guestPage: number): boolean
  isShared(guestPage: number): boolean
  /** System page of a guest page, −1 when nothing backs it. */
  systemPage(guestPage: number): number
  /** Makes a page private and gives it to the guest; a page that is so already stays as it is. */
  makePrivate(guestPage: number): MemoryOutcome
  /** The same for 2 MiB, with one RMP entry where that is possible. `guestPage` is a multiple of 512. */
  makePrivateLarge(guestPage: number): MemoryOutcome
  makeShared(guestPage: number): MemoryOutcome
  makeSharedLarge(guestPage: number): MemoryOutcome
  /** An access that the nested tables do not map yet, as the guest made it. */
  resolve(guestPage: number, isPrivate: boolean): MemoryOutcome
  /** PSMASH of the 2 MiB page that holds a guest page; nothing happens when there is none. */
  smash(guestPage: number): MemoryOutcome
  /** Backs a page with host memory that is still the host's, for a launch; its system page, −1 without memory. */
  prepare(guestPage: number): number
  /** A prepared page has become the guest's (RMPUPDATE by `prepareImmutable`, then the firmware). */
  launched(guestPage: number): void
  /** RMPUPDATE of a prepared page as the firmware wants it: assigned and immutable. */
  assignImmutable(guestPage: number): MemoryOutcome
  /**
   * Takes all pages back from the guest and frees them; nothing of it runs any more. @throws HostError when one is
   * refused
   */
  destroy(): void
  snapshot(): GuestMemoryState
  /** Takes the state of a guest with the same RAM; memory is there. @throws SnapshotError */
  restore(saved: GuestMemoryState): void
}

/** What a snapshot keeps of a guest's memory beside memory itself. */
export interface GuestMemoryState {
  /** Regions of 2 MiB that are backed: number, first system page, whether it is one page, the states of its pages. */
  readonly regions: readonly (readonly [region: number, base: number, large: boolean, states: Uint8Array])[]
  readonly counts: GuestMemoryCounts
}

const PAGE = 4096
const REGION = 512
/** States of the pages of a region. */
const NONE = 0
const PRIVATE = 1
const SHARED = 2

interface Region {
  /** First system page. */
  readonly base: number
  /** One RMP entry and one mapping for all; `states` says PRIVATE for all then. */
  large: boolean
  readonly states: Uint8Array
}

/** Starts with nothing backed: a page is taken from the host when the guest first needs it. */
export function createGuestMemory(options: GuestMemoryOptions): GuestMemory {
  const { memory, rmp, npt, asid, flush, charge } = options
  const ram = options.ram.map(({ start, length }) => ({ first: start / PAGE, end: (start + length) / PAGE }))
  const regions = new Map<number, Region>()
  const counts: GuestMemoryCounts = { backed: 0, assigned2M: 0, assigned4K: 0, shared: 0, psmash: 0, implicit: 0 }

  const isRam = (page: number): boolean => ram.some(({ first, end }) => page >= first && page < end)
  const isWhole = (first: number): boolean => ram.some((r) => first >= r.first && first + REGION <= r.end)
  const regionOf = (page: number): Region | undefined => regions.get(Math.floor(page / REGION))
  const stateOf = (page: number): number => regionOf(page)?.states[page % REGION] ?? NONE

  const ensure = (page: number): Region | undefined => {
    const known = regionOf(page)
    if (known !== undefined) return known
    const base = options.allocateRegion()
    if (base < 0) return undefined
    const region: Region = { base, large: false, states: new Uint8Array(REGION) }
    regions.set(Math.floor(page / REGION), region)
    counts.backed += REGION * PAGE
    charge('clear')
    return region
  }

  /** @throws SnapshotError for a region that this guest cannot have */
  const checkRegion = (index: number, base: number, large: boolean, states: Uint8Array): void => {
    const need = (ok: boolean, expected: string): void => {
      if (!ok) throw new SnapshotError('guest', 'memory.regions', expected)
    }
    const first = index * REGION
    need(
      ram.some((r) => first < r.end && first + REGION > r.first) && !regions.has(index),
      "regions of the guest's RAM, once each",
    )
    need(
      base % REGION === 0 && options.isHostRam(base) && options.isHostRam(base + REGION - 1),
      "512 pages of the host's RAM",
    )
    need(states.length === REGION && states.every((state) => state <= SHARED), 'states of 512 pages')
    need(
      !large || (isWhole(first) && states.every((state) => state === PRIVATE)),
      'large pages that are private throughout',
    )
  }

  const update = (page: number, guestPage: number, assigned: boolean, large: boolean, immutable = false): boolean => {
    charge('rmpupdate')
    const status = rmp.rmpupdate(page, {
      assigned, guestPage: assigned ? guestPage : 0, large, asid: assigned ? asid : 0, immutable,
    })
    return status === RmpStatus.SUCCESS
  }

  const assignLarge = (first: number, region: Region): MemoryOutcome => {
    if (!update(region.base, first, true, true)) return 'refused'
    region.large = true
    region.states.fill(PRIVATE)
    counts.assigned2M++
    charge('map')
    npt.mapLarge(first, region.base)
    return 'done'
  }

  const assignSmall = (page: number, region: Region): MemoryOutcome => {
    const index = page % REGION
    if (!update(region.base + index, page, true, false)) return 'refused'
    const wasMapped = region.states[index] !== NONE
    region.states[index] = PRIVATE
    counts.assigned4K++
    charge('map')
    npt.map(page, region.base + index)
    if (wasMapped) flush()
    return 'done'
  }

  const split = (page: number, region: Region): MemoryOutcome => {
    if (!region.large) return 'done'
    charge('psmash')
    if (rmp.psmash(region.base) !== RmpStatus.SUCCESS) return 'refused'
    region.large = false
    counts.psmash++
    npt.split(page)
    flush()
    return 'done'
  }

  const release = (page: number, region: Region): MemoryOutcome => {
    const index = page % REGION
    if (region.states[index] === SHARED) return 'done'
    if (region.states[index] === PRIVATE) {
      const whole = split(page, region)
      if (whole !== 'done') return whole
      if (!update(region.base + index, page, false, false)) return 'refused'
      npt.unmap(page)
      flush()
    } else {
      // What the page held for others is none of the guest's business.
      memory.fill((region.base + index) * PAGE, PAGE, 0)
    }
    region.states[index] = SHARED
    counts.shared++
    charge('map')
    npt.map(page, region.base + index)
    return 'done'
  }

  /** Does something to each page of a 2 MiB region, up to the first that fails. */
  const each = (first: number, act: (page: number) => MemoryOutcome): MemoryOutcome => {
    for (let page = first; page < first + REGION; page++) {
      const outcome = act(page)
      if (outcome !== 'done') return outcome
    }
    return 'done'
  }

  const makePrivate = (page: number): MemoryOutcome => {
    if (!isRam(page)) return 'not-ram'
    const region = ensure(page)
    if (region === undefined) return 'no-memory'
    return region.states[page % REGION] === PRIVATE ? 'done' : assignSmall(page, region)
  }

  const makeShared = (page: number): MemoryOutcome => {
    if (!isRam(page)) return 'not-ram'
    const region = ensure(page)
    return region === undefined ? 'no-memory' : release(page, region)
  }

  const makePrivateLarge = (first: number): MemoryOutcome => {
    if (!isWhole(first)) return each(first, makePrivate)
    const region = ensure(first)
    if (region === undefined) return 'no-memory'
    if (region.large) return 'done'
    if (region.states.includes(PRIVATE)) return each(first, makePrivate)
    if (region.states.includes(SHARED)) {
      each(first, (page) => {
        npt.unmap(page)
        return 'done'
      })
      flush()
    }
    return assignLarge(first, region)
  }

  const makeSharedLarge = (first: number): MemoryOutcome => {
    const region = regionOf(first)
    if (region?.large !== true) return each(first, makeShared)
    if (!update(region.base, first, false, true)) return 'refused'
    npt.unmap(first)
    flush()
    region.large = false
    region.states.fill(NONE)
    return each(first, makeShared)
  }

  /** Maps what the guest has, takes memory for what it has not, and lets an access change a page where it must. */
  const resolve = (page: number, isPrivate: boolean): MemoryOutcome => {
    if (!isRam(page)) return 'not-ram'
    const state = stateOf(page)
    if (isPrivate ? state === SHARED : state !== SHARED) {
      if (state !== NONE || !isPrivate) counts.implicit++
      return isPrivate ? makePrivate(page) : makeShared(page)
    }
    const region = ensure(page)
    if (region === undefined) return 'no-memory'
    if (state === NONE) {
      const first = page - page % REGION
      const untouched = isWhole(first) && region.states.every((s) => s === NONE)
      return untouched ? assignLarge(first, region) : assignSmall(page, region)
    }
    charge('map')
    if (region.large) npt.mapLarge(page - page % REGION, region.base)
    else npt.map(page, region.base + (page % REGION))
    return 'done'
  }

  /** Whether a range is shared throughout, and what each page's part of it is. */
  const sharedParts = (address: number, length: number): { at: number, from: number, length: number }[] | undefined => {
    const parts: { at: number, from: number, length: number }[] = []
    for (let done = 0; done < length;) {
      const page = Math.floor((address + done) / PAGE)
      if (stateOf(page) !== SHARED) return undefined
      const inPage = (address + done) % PAGE
      const n = Math.min(PAGE - inPage, length - done)
      parts.push({ at: systemPage(page) * PAGE + inPage, from: done, length: n })
      done += n
    }
    return parts
  }

  /** System address of a range inside one shared page; −1 for all others. */
  const sharedAt = (address: number, length: number): number => {
    const page = Math.floor(address / PAGE)
    const inPage = address - page * PAGE
    return inPage + length <= PAGE && stateOf(page) === SHARED ? systemPage(page) * PAGE + inPage : -1
  }

  const systemPage = (page: number): number => {
    const region = regionOf(page)
    return region === undefined ? -1 : region.base + page % REGION
  }

  return {
    counts, isRam, systemPage, makePrivate, makeShared, makePrivateLarge, makeSharedLarge, resolve,
    isShared: (page) => stateOf(page) === SHARED,
    smash(page) {
      const region = regionOf(page)
      return region === undefined ? 'done' : split(page, region)
    },
    prepare(page) {
      if (!isRam(page)) return -1
      const region = ensure(page)
      return region?.states[page % REGION] === NONE ? region.base + (page % REGION) : -1
    },
    snapshot: () => ({
      regions: [...regions].map(([index, { base, large, states }]) => [index, base, large, states.slice()]),
      counts: { ...counts },
    }),
    restore(saved) {
      regions.clear()
      for (const [index, base, large, states] of saved.regions) {
        checkRegion(index, base, large, states)
        regions.set(index, { base, large, states: states.slice() })
      }
      restorePlain('guest', counts, saved.counts)
    },
    destroy() {
      for (const [index, region] of regions) {
        const first = index * REGION
        const take = (i: number, large: boolean): void => {
          if (update(region.base + i, first + i, false, large)) return
          throw new HostError('teardown', `guest page ${hex(first + i)}`, 'RMPUPDATE was refused: it is in use')
        }
        if (region.large) take(0, true)
        else region.states.forEach((state, i) => { if (state === PRIVATE) take(i, false) })
        options.freeRegion(region.base)
      }
      regions.clear()
    },
    assignImmutable(page) {
      return update(systemPage(page), page, true, false, true) ? 'done' : 'refused'
    },
    launched(page) {
      const region = regionOf(page)
      if (region === undefined) return
      region.states[page % REGION] = PRIVATE
      counts.assigned4K++
      npt.map(page, region.base + (page % REGION))
    },
    read(address, target) {
      const inside = sharedAt(address, target.length)
      if (inside >= 0) {
        memory.read(inside, target)
        return true
      }
      const parts = sharedParts(address, target.length)
      if (parts === undefined) return false
      for (const { at, from, length } of parts) memory.read(at, target.subarray(from, from + length))
      return true
    },
    write(address, bytes) {
      const inside = sharedAt(address, bytes.length)
      if (inside >= 0) {
        memory.write(inside, bytes)
        return true
      }
      const parts = sharedParts(address, bytes.length)
      if (parts === undefined) return false
      for (const { at, from, length } of parts) memory.write(at, bytes.subarray(from, from + length))
      return true
    },
  }
}
