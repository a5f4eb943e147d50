/** From RIP to decoded code: which code page is mapped where execution goes on, and the block there. */
import { VECTOR, guestFault } from '../cpu.ts'
import { MODE64 } from '../insn.ts'
import { CS, MODE, MODE_SALT, RIP, SEG, SEG_BASE, SEG_SIZE, SYSFLAGS } from '../state.ts'
import { PERM_GLOBAL } from '@cofferdam/paging'
import { linearPage } from './breakpoints.ts'
import type { Block, CodePage } from './code-cache.ts'
import { PAGE, RF, TF } from './core.ts'
import type { Core } from './core.ts'
import { decodeMode } from './mode.ts'
import { placeRip } from './rip.ts'
import { TRANSLATE } from './translate.ts'

/** How many code pages `recent` has room for. */
const RECENT = 1024

export interface Fetching {
  /** Linear address of RIP as two halves, since `locate`. */
  readonly low: number
  readonly high: number
  locate(): void
  /**
   * The code page at the address that was located, and the one behind it, for a single instruction; null and
   * `guestFault` when they fault.
   */
  here(): CodePage | null
  behind(): CodePage | null
  /**
   * The block at RIP, decoded if need be; null and `guestFault` when it can't be fetched or decoded, and null when
   * `stepsHere` says so from now on, because the instruction is not in RAM.
   */
  lookUp(): Block | null
  /** Sets `guestFault` after a translation that failed. */
  failed(): null
  /** Puts the block of `header` into the jump cache, for RIP. */
  remember(header: number): void
  /** Makes RIP that of a micro-op's instruction. */
  placeAt(uop: number): void
  /** The flags, a breakpoint's page, or code outside of RAM want the instruction at RIP run by itself. */
  stepsHere(): boolean
}

/** Sets `guestFault`. */
export function raiseHere(vector: number, code: number): null {
  guestFault.vector = vector
  guestFault.errorCode = code
  return null
}

/** Base of the code segment, 0 in 64-bit mode. */
export function codeBase(i32: Int32Array): number {
  return decodeMode(i32[MODE >>> 2]) === MODE64 ? 0 : i32[(SEG + CS * SEG_SIZE + SEG_BASE) >>> 2] >>> 0
}

const codeLimit = (i32: Int32Array): number =>
  (decodeMode(i32[MODE >>> 2]) === MODE64 ? 0xffff_ffff : i32[(SEG + CS * SEG_SIZE + 4) >>> 2] >>> 0)

export function createFetching(core: Core): Fetching {
  const { engine, mmu, breakpoints, counts, slot } = core
  const { memory, cache, translator } = engine
  const { i32 } = memory.views
  let linearLow = 0
  let linearHigh = 0
  let base = 0
  /** Linear page of the code outside of RAM that runs, or −1. */
  let outside = -1

  const locate = (): void => {
    linearLow = i32[RIP >>> 2]
    linearHigh = i32[(RIP >>> 2) + 1]
    base = codeBase(i32)
    if (decodeMode(i32[MODE >>> 2]) !== MODE64) {
      linearLow = (linearLow + base) | 0
      linearHigh = 0
    }
  }

  /** A page that is not RAM, to decode one instruction from; null where decoded code is to be kept. */
  const outsideOfRam = (linear: number, physical: number, offset: number): CodePage | null => {
    if (!core.stepping) {
      outside = linearPage(linearLow, linearHigh)
      return null
    }
    const page = { linear, mode: i32[MODE >>> 2], base, limit: codeLimit(i32) }
    return engine.openBus.fetch(page, physical, offset, cache.always)
  }

  /** Code pages that were wanted a moment ago, by linear page; the maps of translations take long to ask. */
  const recent: (CodePage | undefined)[] = new Array<undefined>(RECENT).fill(undefined)
  let generation = cache.generation

  const recentPage = (low: number, high: number): CodePage | undefined => {
    if (generation !== cache.generation) {
      generation = cache.generation
      recent.fill(undefined)
    }
    const page = recent[(low >>> 12) % RECENT]
    if (page?.low !== (low & ~0xfff) || page.high !== high) return undefined
    // A page that may be entered is the one that is mapped there, in its mode.
    if (i32[(page.words + slot) >>> 2] === 0) return undefined
    return page.mode === i32[MODE >>> 2] && page.base === base && page.limit === codeLimit(i32) ? page : undefined
  }

  /** The code page at a linear page, its word set; `offset` is where an instruction's bytes begin in it. */
  const codePage = (low: number, high: number, offset: number): CodePage | null => {
    const known = recentPage(low, high)
    if (known !== undefined) return known
    const page = mappedPage(low, high, offset)
    // What is outside of RAM is made for one instruction.
    if (page !== null && page.words !== cache.always) recent[(low >>> 12) % RECENT] = page
    return page
  }

  const mappedPage = (low: number, high: number, offset: number): CodePage | null => {
    const linear = linearPage(low, high)
    const mode = i32[MODE >>> 2]
    const known = mmu.code.local.get(linear) ?? mmu.code.global.get(linear)
    const limit = codeLimit(i32)
    if (known?.mode === mode && known.base === base && known.limit === limit) return known
    const physical = mmu.fetch(low, high)
    if (physical < 0) return null
    if (memory.frameWord(physical) === 0) return outsideOfRam(linear, physical, offset)
    memory.backPage(physical)
    const page = cache.codePage(linear, physical, mode, base, limit)
    mmu.makeRoom()
    i32[(page.words + slot) >>> 2] = breakpoints.code !== 0 && breakpoints.holdsCode(linear) ? 0 : 1
    const pages = (mmu.result.perms & PERM_GLOBAL) !== 0 ? mmu.code.global : mmu.code.local
    const other = pages.get(linear)
    // Two modes at one linear page: the earlier one must be looked up again.
    if (other !== undefined && other !== page) i32[(other.words + slot) >>> 2] = 0
    pages.set(linear, page)
    return page
  }

  const here = (): CodePage | null => {
    const page = codePage(linearLow, linearHigh, linearLow & 0xfff)
    // Only its end may be outside; or what was has been mapped anew.
    if (page !== null && page.physical.number >= 0) outside = -1
    return page
  }

  const behind = (): CodePage | null => {
    const low = ((linearLow & ~0xfff) + PAGE) | 0
    return codePage(low, low === 0 ? (linearHigh + 1) | 0 : linearHigh, 0)
  }

  const failed = (): null => {
    const { status } = translator
    if (status === TRANSLATE.INVALID) return raiseHere(VECTOR.UD, -1)
    if (status === TRANSLATE.TOO_LONG || status === TRANSLATE.LIMIT) return raiseHere(VECTOR.GP, 0)
    return null
  }

  const jumpSlot = (): number => {
    const low = i32[RIP >>> 2]
    const high = i32[(RIP >>> 2) + 1]
    // As the generated code has it: (rip ^ rip >> 16) & 0xffff.
    const mixed = low ^ ((low >>> 16) | (high << 16))
    return engine.jumpCache + ((mixed & 0xffff) << 4)
  }

  return {
    get low() { return linearLow },
    get high() { return linearHigh },
    locate, here, behind, failed,
    lookUp() {
      counts.lookups++
      locate()
      const page = here()
      if (page === null) return null
      const offset = linearLow & 0xfff
      const known = page.entries.get(offset)
      if (known !== undefined) return known
      counts.translated++
      return translator.block(page, offset, behind) ?? failed()
    },
    remember(header) {
      const entry = jumpSlot()
      i32[entry >>> 2] = i32[RIP >>> 2] ^ i32[MODE_SALT >>> 2]
      i32[(entry + 4) >>> 2] = i32[(RIP >>> 2) + 1] ^ i32[(MODE_SALT >>> 2) + 1]
      i32[(entry + 8) >>> 2] = header
    },
    placeAt(uop) {
      const { page, offset } = cache.blockAt(uop)
      placeRip(i32, page, offset + cache.offsetAt(uop))
    },
    stepsHere() {
      if ((i32[SYSFLAGS >>> 2] & (TF | RF)) !== 0) return true
      if (breakpoints.code === 0 && outside < 0) return false
      locate()
      const page = linearPage(linearLow, linearHigh)
      if (page !== outside) outside = -1
      return outside >= 0 || breakpoints.holdsCode(page)
    },
  }
}
