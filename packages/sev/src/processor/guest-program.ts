/**
 * Instructions for a program in TypeScript that sits where a guest's machine code would run (an SVSM at VMPL0): each is
 * an `act` for `Svm.perform`, carried out by the meaning that machine code would reach, with the same checks and
 * faults.
 */
import { ACCESS_WRITE } from '@cofferdam/paging'
import type { PhysicalMemory } from '@cofferdam/memory'
import { FRAME_WATCHED } from '@cofferdam/memory'
import { SvmExit } from '@cofferdam/spec'
import type { Cpu, Insn, Processor } from '@cofferdam/x86'
import { createInsn, guestFault, MODE64, raise, state } from '@cofferdam/x86'
import type { SevOf } from './context.ts'
import { sevMeanings } from './instructions.ts'

/** What PVALIDATE leaves: EAX, and CF. */
export interface PvalidateResult {
  readonly status: number
  readonly unchanged: boolean
}

/** One instruction each, for the guest that is resident; linear addresses are those of its own page tables. */
export interface GuestProgram {
  load(address: number, out: Uint8Array): void
  store(address: number, bytes: Uint8Array): void
  /** XCHG of a byte: stores it and answers what was there, which nobody can come between. */
  exchange(address: number, value: number): number
  /** Clears a page, as REP STOS does. */
  clear(address: number): void
  pvalidate(address: number, large: boolean, validate: boolean): PvalidateResult
  /** Answers EAX, a code of `RmpStatus`; `attributes` are `RmpAdjustAttributes`. */
  rmpadjust(address: number, large: boolean, attributes: bigint): number
  /** WRMSR of the GHCB MSR and VMGEXIT: the guest leaves. */
  vmgexit(msr: bigint): never
  /** HLT: the guest leaves. */
  halt(): never
}

const PAGE = 4096
const [RAX, RCX, RDX] = [0, 1, 2]
const CF = 1

const exitOf = (code: number) => ({ leave: { code, info1: 0n, info2: 0n, intInfo: 0n, nextRip: 0n, bytes: null } })

/** Clears a page of RAM; one that nobody has written reads as zeroes, and stays without a frame. */
function clearPage(memory: PhysicalMemory, page: number): void {
  const word = memory.frameWord(page)
  if (word < PAGE && !memory.filled) return
  const frame = memory.backPage(page)
  memory.views.u8.fill(0, frame, frame + PAGE)
  if ((word & FRAME_WATCHED) !== 0) memory.notifyWrite(page * PAGE, PAGE)
}

/** The instructions of the guest on one processor. */
export function guestProgram(sevOf: SevOf, processor: Processor): GuestProgram {
  const { mmu } = processor
  const cpu: Cpu = processor.cpu
  const { u64 } = cpu.views
  const meanings = sevMeanings(sevOf)
  const insn: Insn = { ...createInsn(), addrSize: 8, mode: MODE64 }
  const set = (n: number, value: number | bigint): void => { u64[(state.GPR >>> 3) + n] = BigInt(value) }
  const eax = (): number => Number(u64[(state.GPR >>> 3) + RAX])
  const operands = (address: number, large: boolean, rdx: number | bigint): void => {
    set(RAX, address)
    set(RCX, large ? 1 : 0)
    set(RDX, rdx)
  }
  return {
    load(address, out) { cpu.loadBytes(BigInt(address), out) },
    store(address, bytes) { cpu.storeBytes(BigInt(address), bytes) },
    exchange(address, value) {
      cpu.checkWrite(BigInt(address), 1)
      const before = cpu.load(BigInt(address), 1)
      cpu.store(BigInt(address), 1, value)
      return before
    },
    clear(address) {
      const physical = mmu.translate(address | 0, Math.floor(address / 2 ** 32), ACCESS_WRITE)
      if (physical < 0) raise(guestFault.vector, guestFault.errorCode)
      clearPage(sevOf(cpu).shared.memory, Math.floor(physical / PAGE))
    },
    pvalidate(address, large, validate) {
      operands(address, large, validate ? 1 : 0)
      meanings.pvalidate(cpu, insn)
      return { status: eax(), unchanged: (cpu.getFlags() & CF) !== 0 }
    },
    rmpadjust(address, large, attributes) {
      operands(address, large, attributes)
      meanings.rmpadjust(cpu, insn)
      return eax()
    },
    vmgexit(msr) {
      const { guest, svm } = sevOf(cpu)
      if (guest === null) throw new Error('SEV: VMGEXIT without a guest')
      guest.ghcb = msr
      return svm().deny(exitOf(SvmExit.VMGEXIT))
    },
    halt: () => sevOf(cpu).svm().deny(exitOf(SvmExit.HLT)),
  }
}
