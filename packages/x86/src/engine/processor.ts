/**
 * One processor: it runs the generated interpreter until something needs the host (an event, a system instruction, an
 * address without a decoded block), serves that, and goes on. Instructions are counted exactly: an event due after n
 * instructions is taken after n, whatever the blocks look like.
 */
import { FLUSH, VECTOR, guestFault, raise } from '../cpu.ts'
import type { CpuHost } from '../cpu.ts'
import { createInsn } from '../decode/decode.ts'
import { MODE64, XMM_REG } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { OP } from '../ops.ts'
import {
  BUDGET, CPL, CPU_INDEX, CPU_SLOT, CS, DR, EVENT, EXIT_REASON, EXIT_UOP, GPR, HOT, HOT_END, ICOUNT, MODE, MODE_SALT, RIP,
  SEG, SEG_BASE, SEG_SIZE, SHADOW, SLICE, SYSFLAGS, TEMP_REG, TIME_END, YIELDS,
} from '../state.ts'
import { deliverException, deliverInterrupt } from '../system/deliver.ts'
import { DR6_BITS } from '../system/control.ts'
import type { CpuSystem } from '../system/cpu-system.ts'
import { HOST_HIT, createBreakpoints, linearPage } from './breakpoints.ts'
import type { Breakpoints, HostWatch } from './breakpoints.ts'
import { CodeCacheFull, blockRip } from './code-cache.ts'
import type { Block, CodePage, HostSite } from './code-cache.ts'
import { createCpu } from './cpu-services.ts'
import type { EngineCpu } from './cpu-services.ts'
import type { Engine } from './engine.ts'
import { decodeMode } from './mode.ts'
import { createMmu } from './mmu.ts'
import type { Mmu, TranslationFaults } from './mmu.ts'
import { PERM_GLOBAL } from '@cofferdam/paging'
import { HOLD } from './supervisor.ts'
import type { Supervisor } from './supervisor.ts'
import { TRANSLATE } from './translate.ts'
import { checkRegisters, loadCounts, loadMsrs, saveCounts, saveMsrs, saveRegisters } from './processor-image.ts'
import type { ProcessorSnapshot } from './processor-image.ts'
import { needState, StateError } from './translations.ts'
import { isStackAccess } from './stack-access.ts'
import { EVENT_INTERRUPT, EVENT_STOP, EXIT, HANDLER, HEADER, HEADER_SIZE, UOP, UOP_SIZE } from './uop.ts'

const IF = 0x200
const TF = 0x100
const RF = 0x1_0000
const DR6 = DR + 6 * 8
const PAGE = 4096

export interface ProcessorOptions {
  readonly engine: Engine
  readonly index: number
  readonly host: CpuHost
  readonly system: CpuSystem
  readonly physicalBits: number
  readonly faults?: TranslationFaults
  /** Takes the vector of a pending interrupt, −1 when it is gone. */
  readonly acknowledge: () => number
  /** An NMI, INIT or start-up request waits; called at instruction boundaries when `setAttention` said so. */
  readonly attend: (processor: Processor) => void
  /** What `attend` would find: bits of APIC_EVENT, but no NMI while NMIs are blocked. A supervisor may want them first. */
  readonly pendingEvents?: () => number
  /** An instruction that no meaning exists for; it raises #UD. */
  readonly onUnknown?: (insn: Insn, rip: bigint) => void
  /** An exception is about to be delivered; `guestFault` holds it, RIP is the faulting instruction's. */
  readonly onException?: () => void
  /** An instruction is about to be carried out by its TypeScript meaning. */
  readonly onHost?: (insn: Insn, rip: bigint) => void
}

/** Counts of what made the interpreter come back, for statistics. */
export interface ProcessorCounts {
  host: number
  faults: number
  interrupts: number
  lookups: number
  links: number
  translated: number
  steps: number
  /** Slices given up by PAUSE. */
  pauses: number
}

export interface Processor {
  readonly index: number
  readonly cpu: EngineCpu
  readonly mmu: Mmu
  readonly counts: ProcessorCounts
  /** Waits for an interrupt (HLT, MWAIT), or for a start-up IPI. */
  halted: boolean
  /** Why it stopped for good, or ''. */
  stopped: string
  /**
   * Runs at most `instructions` (below 2^31), less what is charged meanwhile; answers how many it retired. With `yields`, PAUSE ends the slice: another
   * processor may have what this one waits for.
   */
  run(instructions: number, yields?: boolean): number
  /** Ends the present slice at the next instruction boundary. Idle outside of `run`. */
  stop(): void
  /** Whether the last slice was ended by `stop`, HLT, PAUSE or a shutdown: another may follow its budget's end at once. */
  wasStopped(): boolean
  /** Whether an interrupt could be taken, were IF set. */
  setInterrupt(pending: boolean): void
  /** Something besides interrupts wants `attend`. */
  setAttention(): void
  /** What a debugger outside of the guest watches; nothing at first. Where one is hit, the slice ends. */
  watch(watches: readonly HostWatch[]): void
  /** The watch that ended the last slice, or null. An instruction that is watched has not been executed yet. */
  readonly trapped: HostWatch | null
  /** Executes one instruction, whatever is pending or watches it; answers how many were retired (0 when halted). */
  stepOne(): number
  /** Whether IF lets interrupts in now. */
  interruptible(): boolean
  /** Instructions retired since power-on. */
  retired(): number
  /** Makes this processor's state the one at the fixed addresses. */
  activate(): void
  /** Sets RIP; the processor must be active. */
  setRip(rip: bigint): void
  /** Sets the time that the time-stamp counter shows from now on, before TSC_OFFSET. */
  setTime(time: number): void
  /**
   * The running instruction takes longer than others, by `time`: the time-stamp counter goes on, and the slice has so
   * much less room. Below 2^30; idle outside of `run`.
   */
  charge(time: number): void
  /** Instructions of the present slice so far. */
  progress(): number
  /** A halted processor that has something to wake up for. */
  wakes(): boolean
  /** Puts somebody above the code that runs here; once, before anything runs. */
  supervise(supervisor: Supervisor): void
  /** An interrupt is pending (`setInterrupt`), whatever stands in its way. */
  interruptPending(): boolean
  /** What waits besides interrupts: bits of APIC_EVENT. */
  pendingEvents(): number
  /** What the supervisor says of interrupts may have changed: asks it again. */
  reconsider(): void
  /** Width of the present code segment in bytes, and CPL. */
  width(): number
  privilege(): number
  /**
   * The processor as data, between two slices. Taking it changes nothing.
   * @throws StateError when somebody stands above the code (`supervise`), whose state is no part of the processor's
   */
  snapshot(): ProcessorSnapshot
  /**
   * Puts the processor into a state that one of the same model was in. Memory is there already, and so is `mmu.local`.
   * @throws StateError for what no such processor can be in
   */
  restore(saved: ProcessorSnapshot): void
}

export function createProcessor(options: ProcessorOptions): Processor {
  const { engine, index, system } = options
  const { memory, cache, translator } = engine
  const { i32, u16, u8, i64, f64 } = memory.views
  const area = memory.reserve(HOT_END - HOT)
  const slot = index * 4
  /** Charged but not yet executed instructions of the block that is running: what BUDGET must be raised by. */
  let uncharged = 0
  /** Generated code runs; an exception's delivery may reach devices too, and nothing is uncharged then. */
  let generated = false
  let inGenerated = false
  const breakpoints = createBreakpoints(memory.views)
  const mmu = createMmu({
    memory, breakpoints, physicalBits: options.physicalBits, faults: options.faults ?? null,
    beforeIo: () => {
      // Inside a meaning in TypeScript it is known already.
      if (!generated || uncharged !== 0) return
      const uop = i32[EXIT_UOP >>> 2]
      uncharged = cache.blockAt(uop).count - cache.indexAt(uop)
      inGenerated = true
    },
    afterIo: () => {
      if (inGenerated) uncharged = 0
      inGenerated = false
    },
  }, slot)
  engine.mmus.push(mmu)
  /** A GOTO that enters whatever block it is pointed at. */
  const trampoline = memory.reserve(64)
  u16[trampoline >>> 1] = HANDLER.GOTO
  const fetched = createInsn()
  const counts: ProcessorCounts = { host: 0, faults: 0, interrupts: 0, lookups: 0, links: 0, translated: 0, steps: 0, pauses: 0 }

  let nextRip = 0n
  let attention = false
  let supervisor: Supervisor | null = null
  /** An interrupt is pending. */
  let line = false
  /** `stop` was called: EVENT_STOP alone only asks for a look at what waits, as when code was written to. */
  let ending = false

  /** Where a word of this processor's state is now. */
  const at = (address: number): number => (engine.resident === area ? address : area + address - HOT)

  const cpu = createCpu({
    engine, mmu, breakpoints, index, host: watchPorts(options.host, breakpoints), system,
    nextRip: () => nextRip,
    setNextRip: (rip) => { nextRip = rip },
    halt: () => {
      processor.halted = true
      stop()
    },
    shutdown: (reason) => {
      if (supervisor?.shutdown(reason) === true) return
      processor.stopped = reason
      stop()
    },
    supervisor: () => supervisor,
    pause: () => {
      if (i32[YIELDS >>> 2] === 0) return
      counts.pauses++
      stop()
    },
    uncharged: () => uncharged,
  })

  const look = (): void => { i32[at(EVENT) >>> 2] |= EVENT_STOP }

  const stop = (): void => {
    ending = true
    look()
  }

  const activate = (): void => {
    engine.makeResident(area)
    engine.current = mmu
  }

  const execute = (uop: number, budget: number): void => {
    generated = true
    engine.run(uop, budget)
    generated = false
  }

  /** Enters the handler for the fault in `guestFault`. */
  const deliverFault = (): void => {
    counts.faults++
    delivered = true
    stackShadow = false
    // What a data breakpoint saw of an instruction that did not complete is lost.
    breakpoints.hits = 0
    if (supervisor?.exception() === true) {
      // The instruction has not happened: its shadow is still there.
      i32[SHADOW >>> 2] = stepShadow
      return
    }
    options.onException?.()
    // Where execution stays if delivery shuts the processor down.
    nextRip = i64[RIP >>> 3]
    deliverException(cpu, guestFault.vector, guestFault.errorCode, guestFault.address)
    i64[RIP >>> 3] = nextRip
  }

  const raiseHere = (vector: number, code: number): null => {
    guestFault.vector = vector
    guestFault.errorCode = code
    return null
  }

  const csLimit = (): number => (decodeMode(i32[MODE >>> 2]) === MODE64 ? 0xffff_ffff : i32[(SEG + CS * SEG_SIZE + 4) >>> 2] >>> 0)
  const csBase = (): number => (decodeMode(i32[MODE >>> 2]) === MODE64 ? 0 : i32[(SEG + CS * SEG_SIZE + SEG_BASE) >>> 2] >>> 0)

  /** The code page at a linear page, its word set; null and `guestFault` when fetching there faults. */
  const codePage = (low: number, high: number, base: number): CodePage | null => {
    const linear = linearPage(low, high)
    const mode = i32[MODE >>> 2]
    const known = mmu.code.local.get(linear) ?? mmu.code.global.get(linear)
    const limit = csLimit()
    if (known?.mode === mode && known.base === base && known.limit === limit) return known
    const physical = mmu.fetch(low, high)
    if (physical < 0) return null
    if (memory.frameWord(physical) === 0) return raiseHere(VECTOR.GP, 0)
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

  /** Linear address of RIP as two halves, in `linearLow` and `linearHigh`. */
  let linearLow = 0
  let linearHigh = 0
  const locate = (base: number): void => {
    linearLow = i32[RIP >>> 2]
    linearHigh = i32[(RIP >>> 2) + 1]
    if (decodeMode(i32[MODE >>> 2]) !== MODE64) {
      linearLow = (linearLow + base) | 0
      linearHigh = 0
    }
  }

  /** The block at RIP, decoded if need be; null and `guestFault` when it can't be fetched or decoded. */
  const lookUp = (): Block | null => {
    counts.lookups++
    const base = csBase()
    locate(base)
    const page = codePage(linearLow, linearHigh, base)
    if (page === null) return null
    const offset = linearLow & 0xfff
    const known = page.entries.get(offset)
    if (known !== undefined) return known
    counts.translated++
    const nextLow = ((linearLow & ~0xfff) + PAGE) | 0
    const nextHigh = nextLow === 0 ? (linearHigh + 1) | 0 : linearHigh
    const block = translator.block(page, offset, () => codePage(nextLow, nextHigh, base))
    return block ?? failed()
  }

  const failed = (): null => {
    if (translator.status === TRANSLATE.INVALID) return raiseHere(VECTOR.UD, -1)
    if (translator.status === TRANSLATE.TOO_LONG || translator.status === TRANSLATE.LIMIT) return raiseHere(VECTOR.GP, 0)
    return null
  }

  const jumpSlot = (): number => {
    const low = i32[RIP >>> 2]
    const high = i32[(RIP >>> 2) + 1]
    // As the generated code has it: (rip ^ rip >> 16) & 0xffff.
    const mixed = low ^ ((low >>> 16) | (high << 16))
    return engine.jumpCache + ((mixed & 0xffff) << 4)
  }

  const remember = (header: number): void => {
    const entry = jumpSlot()
    i64[entry >>> 3] = i64[RIP >>> 3] ^ i64[MODE_SALT >>> 3]
    i32[(entry + 8) >>> 2] = header
  }

  const ripOf = (uop: number): bigint => {
    const rip = blockRip(cache.blockAt(uop)) + BigInt(cache.offsetAt(uop))
    return decodeMode(i32[MODE >>> 2]) === MODE64 ? rip : BigInt.asUintN(32, rip)
  }

  /** Instructions left when the micro-op `uop` of a charged block has not run yet. */
  const leftAt = (uop: number): number => i32[BUDGET >>> 2] + cache.blockAt(uop).count - cache.indexAt(uop)

  /** What the host runs at a micro-op; one that generated code gave up on is decoded again, once. */
  const siteAt = (uop: number): HostSite => {
    const known = cache.hostInsns.get(uop)
    if (known !== undefined) return known
    translator.insnAt(uop, fetched)
    const rip = ripOf(uop)
    const block = cache.blockAt(uop)
    const next = rip + BigInt(fetched.len)
    const site: HostSite = {
      insn: { ...fetched }, block, rip, remaining: block.count - cache.indexAt(uop), meaning: undefined,
      next: decodeMode(i32[MODE >>> 2]) === MODE64 ? BigInt.asIntN(64, next) : BigInt.asUintN(32, next),
    }
    cache.hostInsns.set(uop, site)
    return site
  }

  /** Runs the TypeScript meaning of a micro-op; answers the micro-op to go on at, or 0 to look up RIP. */
  const runHost = (uop: number): number => {
    const site = siteAt(uop)
    // STI is the host's only where a block happens to end: that is nobody's business.
    const told = site.insn.op !== OP.sti
    if (told) counts.host++
    const { insn, block, rip, next, remaining } = site
    i64[RIP >>> 3] = rip
    nextRip = next
    uncharged = remaining
    const mode = i32[MODE >>> 2]
    const meaning = (site.meaning ??= engine.meaningOf(insn))
    if (told) options.onHost?.(insn, rip)
    try {
      if (meaning === undefined) {
        options.onUnknown?.(insn, rip)
        raise(VECTOR.UD)
      }
      if (supervisor?.before(insn) !== true) meaning(cpu, insn)
    } catch (fault) {
      if (fault !== guestFault) throw fault
      i32[BUDGET >>> 2] += remaining - 1
      uncharged = 0
      deliverFault()
      return 0
    } finally {
      uncharged = 0
    }
    if (i32[SHADOW >>> 2] !== 0) stackShadow = insn.op !== OP.sti
    const stays = nextRip === next && i32[MODE >>> 2] === mode && i32[EVENT >>> 2] === 0 && i32[SHADOW >>> 2] === 0
      && (i32[SYSFLAGS >>> 2] & (TF | RF)) === 0 && block.alive && i32[(block.page.words + slot) >>> 2] !== 0 && !stepping
    i64[RIP >>> 3] = nextRip
    if (stays) return uop + UOP_SIZE
    nextRip = i64[RIP >>> 3]
    i32[BUDGET >>> 2] += remaining - 1
    return 0
  }

  const computeAddress = (uop: number): number => {
    const site = siteAt(uop)
    i64[RIP >>> 3] = site.rip
    nextRip = site.next
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
    i64[RIP >>> 3] = ripOf(uop)
    const base = csBase()
    locate(base)
    const nextLow = ((linearLow & ~0xfff) + PAGE) | 0
    const page = codePage(nextLow, nextLow === 0 ? (linearHigh + 1) | 0 : linearHigh, base)
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

  /** After EXIT.LINK and EXIT.LOOKUP: finds the block at RIP and remembers the way. 0 after a fault. */
  const follow = (patch: number): number => {
    // What the branch that came here charged was the last of the slice: a fault in fetching belongs to the next.
    if (i32[BUDGET >>> 2] <= 0 || stepsHere()) return 0
    const block = lookUp()
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
    } else if (decodeMode(i32[MODE >>> 2]) === MODE64) {
      remember(block.header)
    }
    return enter(block.header)
  }

  const enter = (header: number): number => {
    i32[(trampoline + UOP.LINK) >>> 2] = header
    return trampoline
  }

  /** An address that is not canonical is #SS where the stack segment was used (SDM vol. 3 §6.15, interrupt 12). */
  const blameStack = (uop: number): void => {
    translator.insnAt(uop, fetched)
    if (isStackAccess(fetched, guestFault.address, (r) => i64[(GPR >>> 3) + r])) guestFault.vector = VECTOR.SS
  }

  /** Where a header leads; links that have not been followed have one too. */
  const headerRip = (header: number): bigint => {
    for (;;) {
      if (i32[(header + HEADER.PAGE) >>> 2] !== cache.always) return blockRip(cache.blocks[i32[(header + HEADER.BLOCK) >>> 2]])
      const uop = header + HEADER_SIZE
      if (u16[uop >>> 1] !== HANDLER.GOTO) return i64[(uop + UOP.IMM) >>> 3]
      header = i32[(uop + UOP.LINK) >>> 2]
    }
  }

  /** Serves one exit; answers the micro-op to go on at, or 0: look at events and at RIP. */
  const serve = (): number => {
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
        i64[RIP >>> 3] = ripOf(uop)
        if (guestFault.vector === VECTOR.GP) blameStack(uop)
        i32[BUDGET >>> 2] = leftAt(uop) - 1
        deliverFault()
        return 0
      case EXIT.EVENT:
      case EXIT.REPEAT:
        i64[RIP >>> 3] = ripOf(uop)
        i32[BUDGET >>> 2] = leftAt(uop)
        return 0
      case EXIT.CROSS:
        return checkCrossing(uop)
      case EXIT.PAGE:
        i64[RIP >>> 3] = headerRip(uop)
        return isStopped() ? 0 : follow(0)
      case EXIT.ADDRESS:
        return computeAddress(uop)
      default:
        return 0
    }
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
    i64[RIP >>> 3] = blockRip(cache.blocks[i32[(header + HEADER.BLOCK) >>> 2]])
    return 0
  }

  let stepping = false
  /** SHADOW before the step. */
  let stepShadow = 0
  /** All time that was ever charged. */
  let taken = 0
  /** Whether a fault was delivered since the step began. */
  let delivered = false
  /** Whether SHADOW is MOV SS's or POP SS's. */
  let stackShadow = false
  /** The instruction of a step, if somebody will ask for it. */
  const stepped = createInsn()

  /** Moves the end of the slice: a step's slice ends with it, whatever comes after, so that it reads the right time. */
  const setSliceEnd = (by: number): void => {
    if (by === 0) return
    i32[SLICE >>> 2] += by
    i64[TIME_END >>> 3] += BigInt(by)
  }

  /** Executes exactly one instruction (or one exception's delivery, or one round of a repeated string instruction). */
  const step = (): void => {
    counts.steps++
    const left = i32[BUDGET >>> 2]
    const before = taken
    const flags = i32[SYSFLAGS >>> 2]
    const rip = i64[RIP >>> 3]
    const debugged = (flags & TF) !== 0 || breakpoints.code !== 0
    delivered = false
    const base = csBase()
    locate(base)
    const page = codePage(linearLow, linearHigh, base)
    const nextLow = ((linearLow & ~0xfff) + PAGE) | 0
    const nextHigh = nextLow === 0 ? (linearHigh + 1) | 0 : linearHigh
    stepping = true
    cache.temporarily(() => {
      const block = page === null ? null
        : translator.step(page, linearLow & 0xfff, () => codePage(nextLow, nextHigh, base)) ?? failed()
      if (block === null) {
        deliverFault()
        return
      }
      if (debugged) translator.insnAt(block.header + HEADER_SIZE, stepped)
      stepShadow = i32[SHADOW >>> 2]
      i32[SHADOW >>> 2] = 0
      // RF lasts one instruction; a fault saves it set in any case.
      i32[SYSFLAGS >>> 2] = flags & ~RF
      stackShadow = false
      setSliceEnd(1 - left)
      for (let uop = block.header + HEADER_SIZE; uop !== 0;) {
        // Nothing may be entered: a budget of 0 stops at the first block.
        execute(uop, 0)
        uop = serveStep()
      }
      setSliceEnd(left - 1)
    })
    stepping = false
    stepShadow = 0
    i32[BUDGET >>> 2] = left - 1 - (taken - before)
    if (debugged && !delivered) afterStep(flags, rip)
  }

  /** What a completed instruction, in `stepped`, leaves behind: a single-step trap, or RF in the midst of repetitions. */
  const afterStep = (before: number, rip: bigint): void => {
    const { op, rep } = stepped
    // An interrupted repetition does not hit its breakpoint again (SDM vol. 3 §18.3.1.1).
    if (rep !== 0 && i64[RIP >>> 3] === rip && breakpoints.code !== 0) i32[SYSFLAGS >>> 2] |= RF
    // SYSCALL and SYSRET go by the flags they load (Linux, entry_64.S), the others by those they started with; who
    // entered a handler is done with TF.
    const flags = isFastCall(op) ? i32[SYSFLAGS >>> 2] : isInterrupt(op) ? before & i32[SYSFLAGS >>> 2] : before
    if ((flags & TF) !== 0 && !(stackShadow && i32[SHADOW >>> 2] !== 0)) breakpoints.hits |= DR6_BITS.BS
  }

  /** The flags, or a breakpoint's page, want the instruction at RIP run by itself. */
  const stepsHere = (): boolean => {
    if ((i32[SYSFLAGS >>> 2] & (TF | RF)) !== 0) return true
    if (breakpoints.code === 0) return false
    locate(csBase())
    return breakpoints.holdsCode(linearPage(linearLow, linearHigh))
  }

  /** Runs the instruction at RIP by itself, or enters the handler of its breakpoint. */
  const stepDebugged = (): void => {
    if (breakpoints.code !== 0) {
      locate(csBase())
      const all = breakpoints.codeAt(linearLow, linearHigh)
      if ((all & HOST_HIT) !== 0 && !passing) {
        trapped = breakpoints.hostHit
        stop()
        return
      }
      const bits = (i32[SYSFLAGS >>> 2] & RF) !== 0 ? 0 : all & ~HOST_HIT
      if (bits !== 0) {
        setDr6(bits)
        raiseHere(VECTOR.DB, -1)
        i32[BUDGET >>> 2]--
        deliverFault()
        return
      }
    }
    passing = false
    step()
  }

  /** #DB replaces B0–B3 and leaves BD and BS to software (SDM vol. 3 §18.2.3). */
  const setDr6 = (bits: number): void => { i32[DR6 >>> 2] = (i32[DR6 >>> 2] & ~0xf) | bits }

  /** Entering the handler of a trap was a trap. */
  let endless = false

  /** Traps of the instruction before: single step, data and port breakpoints. */
  const takeTraps = (): void => {
    const bits = breakpoints.hits & ~HOST_HIT
    if ((breakpoints.hits & HOST_HIT) !== 0) {
      trapped = breakpoints.hostHit
      stop()
    }
    breakpoints.hits = 0
    endless = false
    if (bits === 0) return
    setDr6(bits)
    processor.halted = false
    raiseHere(VECTOR.DB, -1)
    if (supervisor?.exception() === true) return
    nextRip = i64[RIP >>> 3]
    deliverException(cpu, VECTOR.DB)
    i64[RIP >>> 3] = nextRip
    // A stack that is watched: entering the handler is the next trap, for ever. That must take time.
    endless = breakpoints.hits !== 0
    if (endless) i32[BUDGET >>> 2]--
  }

  /** The debugger's watch that ended the slice. */
  let trapped: HostWatch | null = null
  /** The next instruction is executed though it is watched: that has been told. */
  let passing = false
  /** A debugger steps: what is pending waits. */
  let withheld = false

  const isStopped = (): boolean => (i32[EVENT >>> 2] & EVENT_STOP) !== 0

  /** As `serve`, inside a single step: whatever leads out of the instruction ends it. */
  const serveStep = (): number => {
    const uop = i32[EXIT_UOP >>> 2]
    switch (i32[EXIT_REASON >>> 2]) {
      case EXIT.ENTER:
        i64[RIP >>> 3] = blockRip(cache.blocks[i32[(uop + HEADER.BLOCK) >>> 2]])
        return 0
      case EXIT.PAGE:
        i64[RIP >>> 3] = headerRip(uop)
        return 0
      case EXIT.LOOKUP:
      case EXIT.LINK:
      case EXIT.STEP:
        return 0
      case EXIT.EVENT:
        // The micro-op behind the instruction is the STEP that knows where it leads.
        return uop
      case EXIT.CROSS:
        // Both pages were looked up a moment ago.
        return uop + UOP_SIZE
      default:
        return serve()
    }
  }

  /** Tells generated code whether interrupts wait for IF. */
  const applyLine = (): void => {
    const word = at(EVENT) >>> 2
    if (supervisor === null ? line : supervisor.wants(line)) i32[word] |= EVENT_INTERRUPT
    else i32[word] &= ~EVENT_INTERRUPT
  }

  /** Takes what waits at an instruction boundary. */
  const attend = (): void => {
    i32[EVENT >>> 2] &= ~EVENT_STOP
    if (withheld) return
    const held = supervisor === null ? 0 : supervisor.holds()
    if (attention && (held & HOLD.ATTENTION) === 0) {
      attention = false
      options.attend(processor)
    }
    if ((held & HOLD.INTERRUPTS) !== 0) return
    if ((i32[EVENT >>> 2] & EVENT_INTERRUPT) === 0 || (i32[SYSFLAGS >>> 2] & IF) === 0) return
    const vector = options.acknowledge()
    if (vector < 0) {
      // Gone in the meantime: it must not keep a halted processor awake.
      line = false
      applyLine()
      return
    }
    counts.interrupts++
    processor.halted = false
    nextRip = i64[RIP >>> 3]
    deliverInterrupt(cpu, vector)
    i64[RIP >>> 3] = nextRip
  }

  const supervised = (): boolean => supervisor?.pending === true

  /** Runs until the budget is spent or the processor halts. */
  const runSlice = (): void => {
    let pc = 0
    for (;;) {
      if (pc === 0) {
        if (supervised()) {
          supervisor?.settle()
          continue
        }
        // A shadow outlasts the slice. Behind MOV SS even traps wait (SDM vol. 3 §6.8.3).
        if (i32[SHADOW >>> 2] !== 0 && !processor.halted && (stackShadow || breakpoints.hits === 0)) {
          if (i32[BUDGET >>> 2] <= 0 || processor.stopped !== '') return
          if (stackShadow) step()
          else stepDebugged()
          continue
        }
        if (breakpoints.hits !== 0) {
          if (endless && i32[BUDGET >>> 2] <= 0) return
          takeTraps()
        }
        if (i32[EVENT >>> 2] !== 0) attend()
        if (supervised()) continue
        if (ending || i32[BUDGET >>> 2] <= 0 || processor.halted || processor.stopped !== '') return
        if (stepsHere()) {
          stepDebugged()
          continue
        }
        pc = follow(0)
        if (pc === 0) continue
      }
      execute(pc, i32[BUDGET >>> 2])
      pc = serve()
      if (pc === 0 && i32[EXIT_REASON >>> 2] === EXIT.ENTER) finishSlice()
    }
  }

  /** Whether something is to be taken at this instruction boundary. */
  const wanted = (): boolean => {
    if (withheld) return breakpoints.hits !== 0 || i32[SHADOW >>> 2] !== 0
    const event = i32[EVENT >>> 2]
    return (event & EVENT_STOP) !== 0 || breakpoints.hits !== 0 || i32[SHADOW >>> 2] !== 0 || ((event & EVENT_INTERRUPT) !== 0 && (i32[SYSFLAGS >>> 2] & IF) !== 0)
  }

  /** The rest of a slice that ends inside a block, instruction by instruction. */
  const finishSlice = (): void => {
    while (i32[BUDGET >>> 2] > 0 && !processor.halted && processor.stopped === '' && !wanted() && !stepsHere()) step()
  }

  const processor: Processor = {
    index, cpu, mmu, counts,
    halted: false,
    stopped: '',
    run(instructions, yields = false) {
      activate()
      ending = false
      passing = trapped?.kind === 'execute' && trapped.address === BigInt.asUintN(64, i64[RIP >>> 3] + BigInt(csBase()))
      trapped = null
      generated = false
      i32[YIELDS >>> 2] = yields ? 1 : 0
      i32[BUDGET >>> 2] = instructions
      i32[SLICE >>> 2] = instructions
      i64[TIME_END >>> 3] = BigInt(f64[ICOUNT >>> 3] + instructions)
      for (;;) {
        try {
          runSlice()
          break
        } catch (error) {
          if (!(error instanceof CodeCacheFull)) throw error
          stepping = false
          engine.flushCode()
        }
      }
      engine.jit?.flush()
      const done = i32[SLICE >>> 2] - i32[BUDGET >>> 2]
      f64[ICOUNT >>> 3] += done
      i32[BUDGET >>> 2] = 0
      i32[SLICE >>> 2] = 0
      return done
    },
    stop,
    wasStopped: () => ending || processor.halted || processor.stopped !== '',
    watch(watches) {
      breakpoints.watch(watches)
      mmu.flush(true)
    },
    get trapped() { return trapped },
    stepOne() {
      activate()
      trapped = { kind: 'execute', address: BigInt.asUintN(64, i64[RIP >>> 3] + BigInt(csBase())), length: 1 }
      withheld = true
      try {
        return processor.run(1)
      } finally {
        withheld = false
        look()
      }
    },
    setInterrupt(pending) {
      line = pending
      applyLine()
      // It may take a guest away whatever IF says.
      if (supervisor !== null) look()
    },
    setAttention() {
      attention = true
      look()
    },
    interruptible: () => (i32[at(SYSFLAGS) >>> 2] & IF) !== 0,
    setRip(rip) { i64[RIP >>> 3] = BigInt.asIntN(64, rip) },
    setTime(time) {
      activate()
      f64[ICOUNT >>> 3] = time
    },
    charge(time) {
      f64[ICOUNT >>> 3] += time
      // TIME_END stays, so that what reads the time from it and BUDGET sees it go on.
      i32[SLICE >>> 2] -= time
      i32[BUDGET >>> 2] -= time
      taken += time
      // The rest of the block may be too long now.
      if (i32[BUDGET >>> 2] < 0) look()
    },
    progress: () => i32[SLICE >>> 2] - i32[BUDGET >>> 2] - uncharged,
    wakes() {
      const open = (i32[at(SYSFLAGS) >>> 2] & IF) !== 0
      if (supervisor !== null) return supervisor.wakes(line, attention, open)
      return attention || (line && open)
    },
    supervise(above) { supervisor = above },
    interruptPending: () => line,
    pendingEvents: () => (attention ? options.pendingEvents?.() ?? 0 : 0),
    reconsider() {
      applyLine()
      look()
    },
    width: () => decodeMode(i32[at(MODE) >>> 2]),
    privilege: () => i32[at(CPL) >>> 2],
    retired: () => f64[at(ICOUNT) >>> 3] + (engine.resident === area ? i32[SLICE >>> 2] - i32[BUDGET >>> 2] - uncharged : 0),
    activate,
    snapshot() {
      needState(supervisor === null, 'supervisor', 'a processor without one: what it knows of its guests is not kept')
      activate()
      const { nmiBlocked, monitorAddress } = system
      return {
        registers: saveRegisters(u8, HOT, engine.flagImage()),
        halted: processor.halted, stopped: processor.stopped, line, attention, stackShadow, traps: breakpoints.hits & ~HOST_HIT, nmiBlocked,
        monitor: monitorAddress < 0n ? null : [Number(monitorAddress & 0xffff_ffffn), Number(monitorAddress >> 32n)],
        msrs: saveMsrs(system), counts: saveCounts(counts), translations: mmu.snapshot(),
      }
    },
    restore(saved) {
      needState(supervisor === null, 'supervisor', 'a processor without one: what it knows of its guests is not kept')
      activate()
      checkRegisters(saved.registers, system)
      u8.set(saved.registers, HOT)
      nameProcessor()
      // Everything that follows from the registers; this forgets translations.
      cpu.modeChanged()
      cpu.flushTlb(FLUSH.ALL)
      loadMsrs(system, saved.msrs)
      loadCounts(counts, saved.counts)
      restoreTranslations(saved)
      ;({ line, attention, stackShadow } = saved)
      breakpoints.hits = saved.traps
      processor.halted = saved.halted
      processor.stopped = saved.stopped
      system.nmiBlocked = saved.nmiBlocked
      const [low, high] = saved.monitor ?? []
      system.monitorAddress = low === undefined ? -1n : BigInt(high) << 32n | BigInt(low)
      if (attention) look()
      applyLine()
    },
  }

  const nameProcessor = (): void => {
    i32[CPU_SLOT >>> 2] = slot
    i32[CPU_INDEX >>> 2] = index
  }

  const restoreTranslations = ({ translations }: ProcessorSnapshot): void => {
    try {
      mmu.restore(translations, cache.codePage)
    } catch (error) {
      if (!(error instanceof CodeCacheFull)) throw error
      throw new StateError('translations.fetches', 'no more pages than there is room for')
    }
  }

  activate()
  u8.fill(0, HOT, HOT_END)
  nameProcessor()
  return processor
}

const hasVector = ({ kind0, kind1, kind2 }: Insn): boolean => kind0 === XMM_REG || kind1 === XMM_REG || kind2 === XMM_REG

/** INT n, INT3, INTO and INT1. */
const interrupts = new Set<number>([OP.int, OP.int3, OP.into, OP.int1])
const isInterrupt = (op: number): boolean => interrupts.has(op)
const isFastCall = (op: number): boolean => op === OP.syscall || op === OP.sysret

/** Ports with their breakpoints. */
const watchPorts = (host: CpuHost, breakpoints: Breakpoints): CpuHost => ({
  portRead(port, size) {
    if (breakpoints.ports !== 0) breakpoints.portAccessed(port, size)
    return host.portRead(port, size)
  },
  portWrite(port, size, value) {
    if (breakpoints.ports !== 0) breakpoints.portAccessed(port, size)
    host.portWrite(port, size, value)
  },
  random64: () => host.random64(),
  externalVector: () => host.externalVector(),
})
