/** Translating one byte's address: the walk, the key, the guards, and what is raised where one of them says no. */
import type { GuardRequest, PhysicalMemory } from '@cofferdam/memory'
import {
  ACCESS_FETCH, ACCESS_USER, ACCESS_WRITE, WALK_OK, WALK_PAGE_FAULT, createWalkContext, createWalkResult, createWalker,
} from '@cofferdam/paging'
import type { WalkContext, WalkResult } from '@cofferdam/paging'
import { VECTOR, guestFault } from '../cpu.ts'
import type { Mmu } from './mmu-types.ts'
import { createTablePort } from './table-port.ts'

const PAGE = 4096

export interface PageWalk {
  readonly context: WalkContext
  /** The last walk. */
  readonly result: WalkResult
  /** Physical page of a byte, or −1 and `guestFault`. */
  page(low: number, high: number, access: number): number
  /** See `Mmu.probe`. */
  probe(low: number, high: number, access: number): boolean
  isCanonical(high: number): boolean
  /** Whether what guards were asked about last was a write: their leave to read is none to write. */
  mayWrite(): boolean
  loadPdptes(): boolean
}

/** `mmu` has what changes: `la57`, `canonical`, `guardContext`, `faults` and `policy`. */
export function createPageWalk(memory: PhysicalMemory, physicalBits: number, mmu: () => Mmu): PageWalk {
  const context = createWalkContext({ physicalBits })
  const result = createWalkResult()
  const walker = createWalker(createTablePort(memory, () => mmu().policy))
  const request: GuardRequest = {
    page: 0, key: 0, access: 0, shift: 12, guestPage: -1, nestedShift: 0, context: 0, user: false, walk: false,
  }

  const isCanonical = (high: number): boolean => {
    const top = mmu().la57 ? high >> 24 : high >> 15
    return !mmu().canonical || top === 0 || top === -1
  }

  const setAddress = (low: number, high: number): void => {
    guestFault.address = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
  }

  /** #GP, or #SS if it is the stack's; `address` says which access it was. */
  const notCanonical = (low: number, high: number): number => {
    guestFault.vector = VECTOR.GP
    guestFault.errorCode = 0
    setAddress(low, high)
    return -1
  }

  const refuse = (low: number, high: number, access: number): number => {
    const { faults } = mmu()
    if (result.status === WALK_PAGE_FAULT || faults === null) {
      guestFault.vector = VECTOR.PF
      guestFault.errorCode = result.errorCode
      setAddress(low, high)
    } else {
      faults.walk(result, low, high, access)
    }
    return -1
  }

  /** Asks the guards; false when one refuses. */
  const guarded = (page: number, key: number, low: number, high: number, access: number): boolean => {
    request.page = page
    request.key = key
    request.access = (access & ACCESS_FETCH) !== 0 ? 4 : (access & ACCESS_WRITE) !== 0 ? 3 : 1
    request.shift = result.shift
    request.guestPage = context.nested === null ? -1 : Math.floor(result.gpa / PAGE)
    request.nestedShift = context.nested === null ? 0 : result.nestedShift
    request.user = (access & ACCESS_USER) !== 0
    request.context = mmu().guardContext
    for (const guard of memory.guards) {
      const verdict = guard.check(request)
      if (verdict !== 0) {
        mmu().faults?.guard(verdict, request, low, high)
        return false
      }
    }
    return true
  }

  return {
    context, result, isCanonical,
    page(low, high, access) {
      if (!isCanonical(high)) return notCanonical(low, high)
      walker.walk(context, low, high, access, result)
      if (result.status !== WALK_OK) return refuse(low, high, access)
      const page = result.page / PAGE
      const { policy } = mmu()
      const key = policy === null ? result.key : policy.pageKey(result, access)
      const seen = policy === null ? key : policy.guardKey
      if (memory.guards.length > 0 && !guarded(page, seen, low, high, access)) return -1
      if (policy !== null) memory.keys.enter(page, key)
      return page
    },
    probe(low, high, access) {
      if (!isCanonical(high)) return notCanonical(low, high) >= 0
      walker.walk(context, low, high, access, result)
      return result.status === WALK_OK || refuse(low, high, access) >= 0
    },
    mayWrite: () => memory.guards.length === 0 || (request.access & 2) !== 0,
    loadPdptes: () => walker.loadPdptes(context),
  }
}
