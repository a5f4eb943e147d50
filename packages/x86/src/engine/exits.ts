/** Why generated code came back, and where it goes on: meanings in TypeScript, blocks to find or compile, faults. */
import { VECTOR, guestFault, raise } from '../cpu.ts'
import { createInsn } from '../decode/decode.ts'
import { MODE64, XMM_REG } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { OP } from '../ops.ts'
import {
  BUDGET, EVENT, EXIT_REASON, EXIT_UOP, GPR, MODE, RIP, SHADOW, SYSFLAGS, TEMP_REG,
} from '../state.ts'
import type { HostSite } from './code-cache.ts'
import { RF, TF } from './core.ts'
import type { Core } from './core.ts'
import type { Events } from './events.ts'
import type { Fetching } from './fetching.ts'
import { decodeMode } from './mode.ts'
import { placeRip } from './rip.ts'
import { isStackAccess } from './stack-access.ts'
import { EXIT, HANDLER, HEADER, HEADER_SIZE, UOP, UOP_SIZE } from './uop.ts'

export interface Exits {
  /** Runs generated code from a micro-op until it comes back. */
  execute(uop: number, budget: number): void
  /** Serves one exit; answers the micro-op to go on at, or 0: look at events and at RIP. */
  serve(): number
  /** Finds the block at RIP and remembers the way, in a link word or (0) the jump cache. 0 after a fault. */
  follow(patch: number): number
  /** Makes RIP that of where a header leads; links that have not been followed have one too. */
  placeHeader(header: number): void
}

export function createExits(core: Core, fetching: Fetching, events: Events): Exits {
  const { engine, options, cpu, counts, slot } = core
  const { memory, cache, translator } = engine
  const { i32, u16, i64 } = memory.views
  const { deliverFault, isStopped } = events
  /** A GOTO that enters whatever block it is pointed at. */
  const trampoline = memory.reserve(64)
  u16[trampoline >>> 1] = HANDLER.GOTO
  const fetched = createInsn()

  const is64 = (): boolean => decodeMode(i32[MODE >>> 2]) === MODE64

  /** Instructions left when the micro-op `uop` of a charged block has not run yet. */
  const leftAt = (uop: number): number => i32[BUDGET >>> 2] + cache.blockAt(uop).count - cache.indexAt(uop)

  const enter = (header: number): number => {
    i32[(trampoline + UOP.LINK) >>> 2] = header
    return trampoline
  }

  /** What the host runs at a micro-op; one that generated code gave up on is decoded again, once. */
  const siteAt = (uop: number): HostSite => {
    const known = cache.hostInsns.get(uop)
    if (known !== undefined) return known
    translator.insnAt(uop, fetched)
    fetching.placeAt(uop)
    const rip = i64[RIP >>> 3]
    const block = cache.blockAt(uop)
    const next = rip + BigInt(fetched.len)
    const site: HostSite = {
      insn: { ...fetched }, block, rip, remaining: block.count - cache.indexAt(uop), meaning: undefined,
      next: is64() ? BigInt.asIntN(64, next) : BigInt.asUintN(32, next),
    }
    cache.hostInsns.set(uop, site)
    return site
  }

  /** Carries out a site's meaning; false after a fault, which is delivered. */
  const carryOut = (site: HostSite): boolean => {
    const { insn, rip, remaining } = site
    const meaning = (site.meaning ??= engine.meaningOf(insn))
    try {
      if (meaning === undefined) {
        options.onUnknown?.(insn, rip)
        raise(VECTOR.UD)
      }
      if (core.supervisor?.before(insn) !== true) meaning(cpu, insn)
      core.uncharged = 0
      return true
    } catch (fault) {
      core.uncharged = 0
      if (fault !== guestFault) throw fault
      i32[BUDGET >>> 2] += remaining - 1
      deliverFault()
      return false
    }
  }

  /** Runs the TypeScript meaning of a micro-op; answers the micro-op to go on at, or 0 to look up RIP. */
  const runHost = (uop: number): number => {
    const site = siteAt(uop)
    const { insn, block, rip, next, remaining } = site
    i64[RIP >>> 3] = rip
    core.nextRip = next
    core.uncharged = remaining
    const mode = i32[MODE >>> 2]
    // STI is the host's only where a block happens to end: that is nobody's business.
    if (insn.op !== OP.sti) {
      counts.host++
      options.onHost?.(insn, rip)
    }
    if (!carryOut(site)) return 0
    if (i32[SHADOW >>> 2] !== 0) core.stackShadow = insn.op !== OP.sti
    const stays = core.nextRip === next && i32[MODE >>> 2] === mode && i32[EVENT >>> 2] === 0 && i32[SHADOW >>> 2] === 0
      && (i32[SYSFLAGS >>> 2] & (TF | RF)) === 0 && !core.stepping
      && block.alive && i32[(block.page.words + slot) >>> 2] !== 0
    i64[RIP >>> 3] = core.nextRip
    if (stays) return uop + UOP_SIZE
    core.nextRip = i64[RIP >>> 3]
    i32[BUDGET >>> 2] += remaining - 1
    return 0
  }

  const computeAddress = (uop: number): number => {
    const site = siteAt(uop)
    i64[RIP >>> 3] = site.rip
    core.nextRip = site.next
    try {
      i64[(GPR >>> 3) + TEMP_REG] = cpu.temporaryAddress(site.insn)
      return uop + UOP_SIZE
    } catch (fault) {
      if (fault !== guestFault) throw fault
      // A vector's alignment comes before its segment, and a masked one may not be looked at: its meaning knows.
      if (hasVector(site.insn)) return runHost(uop + UOP_SIZE)
      i32[BUDGET >>> 2] = leftAt(uop) - 1
      deliverFault()
      return 0
    }
  }

  /** A page-crossing instruction: its second page must still be mapped where it was when it was decoded. */
  const checkCrossing = (uop: number): number => {
    const block = cache.blockAt(uop)
    i32[BUDGET >>> 2] = leftAt(uop)
    fetching.placeAt(uop)
    fetching.locate()
    const page = fetching.behind()
    if (page === null && fetching.stepsHere()) return 0
    if (page === null) {
      i32[BUDGET >>> 2]--
      deliverFault()
      return 0
    }
    if (page === block.next) {
      i32[BUDGET >>> 2] -= block.count
      return uop + UOP_SIZE
    }
    // Another page is there now: the old block stays for the old mapping's sake, but not at this address.
    block.page.entries.delete(block.offset)
    return 0
  }

  const follow = (patch: number): number => {
    // What the branch that came here charged was the last of the slice: a fault in fetching belongs to the next.
    if (i32[BUDGET >>> 2] <= 0 || fetching.stepsHere()) return 0
    const block = fetching.lookUp()
    if (block === null && fetching.stepsHere()) return 0
    if (block === null) {
      i32[BUDGET >>> 2]--
      deliverFault()
      return 0
    }
    if (patch !== 0) {
      counts.links++
      if (i32[patch >>> 2] >= 0) i32[patch >>> 2] = block.header
      // A block that died forwards to its successor from now on.
      const uop = patch - UOP.LINK2
      if ((patch & 31) === UOP.LINK2 && u16[uop >>> 1] === HANDLER.LINK) {
        u16[uop >>> 1] = HANDLER.GOTO
        i32[(uop + UOP.LINK) >>> 2] = block.header
      }
    } else if (is64()) {
      fetching.remember(block.header)
    }
    return enter(block.header)
  }

  /** An address that is not canonical is #SS where the stack segment was used (SDM vol. 3 §6.15, interrupt 12). */
  const blameStack = (uop: number): void => {
    translator.insnAt(uop, fetched)
    if (isStackAccess(fetched, guestFault.address, (r) => i64[(GPR >>> 3) + r])) guestFault.vector = VECTOR.SS
  }

  const placeBlock = (header: number): void => {
    const { page, offset } = cache.blocks[i32[(header + HEADER.BLOCK) >>> 2]]
    placeRip(i32, page, offset)
  }

  /** A block was charged but not entered: it is hot, or the budget ends inside it. */
  const serveEntry = (header: number): number => {
    const count = i32[(header + HEADER.COUNT) >>> 2]
    i32[BUDGET >>> 2] += count
    if (i32[(header + HEADER.HOTNESS) >>> 2] < 0) {
      if (engine.jit === null) i32[(header + HEADER.HOTNESS) >>> 2] = 0x7fff_ffff
      else engine.jit.hot(cache.blocks[i32[(header + HEADER.BLOCK) >>> 2]])
    }
    if (i32[BUDGET >>> 2] >= count) return enter(header)
    placeBlock(header)
    return 0
  }

  const placeHeader = (header: number): void => {
    while (i32[(header + HEADER.PAGE) >>> 2] === cache.always) {
      const uop = header + HEADER_SIZE
      if (u16[uop >>> 1] !== HANDLER.GOTO) {
        i64[RIP >>> 3] = i64[(uop + UOP.IMM) >>> 3]
        return
      }
      header = i32[(uop + UOP.LINK) >>> 2]
    }
    placeBlock(header)
  }

  return {
    follow, placeHeader,
    execute(uop, budget) {
      core.generated = true
      engine.run(uop, budget)
      core.generated = false
    },
    serve() {
      const uop = i32[EXIT_UOP >>> 2]
      switch (i32[EXIT_REASON >>> 2]) {
        case EXIT.HOST:
          return runHost(uop)
        case EXIT.ENTER:
          return serveEntry(uop)
        case EXIT.LOOKUP:
          return isStopped() ? 0 : follow(0)
        case EXIT.LINK:
          return isStopped() ? 0 : follow(uop)
        case EXIT.FAULT:
          fetching.placeAt(uop)
          if (guestFault.vector === VECTOR.GP) blameStack(uop)
          i32[BUDGET >>> 2] = leftAt(uop) - 1
          deliverFault()
          return 0
        case EXIT.EVENT:
        case EXIT.REPEAT:
          fetching.placeAt(uop)
          i32[BUDGET >>> 2] = leftAt(uop)
          return 0
        case EXIT.CROSS:
          return checkCrossing(uop)
        case EXIT.PAGE:
          placeHeader(uop)
          return isStopped() ? 0 : follow(0)
        case EXIT.ADDRESS:
          return computeAddress(uop)
        default:
          return 0
      }
    },
  }
}

const hasVector = ({ kind0, kind1, kind2 }: Insn): boolean =>
  kind0 === XMM_REG || kind1 === XMM_REG || kind2 === XMM_REG
