/**
 * What the TypeScript meanings of instructions (system, x87, long vector instructions) see of the processor.
 * State itself is read and written through `views` at the addresses of `state.ts`.
 */
import type { MemoryViews } from '@cofferdam/memory'
import type { Insn } from './insn.ts'
import type { Supervisor } from './engine/supervisor.ts'
import type { CpuSystem } from './system/cpu-system.ts'

/** Exceptions by their vector (SDM vol. 3, table 6-1). */
export const VECTOR = {
  DE: 0, DB: 1, NMI: 2, BP: 3, OF: 4, BR: 5, UD: 6, NM: 7, DF: 8, TS: 10, NP: 11, SS: 12, GP: 13, PF: 14, MF: 16,
  AC: 17, MC: 18, XM: 19, VE: 20, CP: 21, HV: 28, VC: 29, SX: 30,
} as const

/**
 * A fault of the guest on its way from a meaning to the engine, which delivers it. It is one shared object and carries
 * no stack: raising is a jump, not an error.
 */
export interface GuestFault {
  vector: number
  /** Error code, or −1 for vectors without. */
  errorCode: number
  /** Linear address for CR2 when the vector is #PF. */
  address: bigint
}

/** The fault of the access that answered false last; the next one overwrites it. */
export const guestFault: GuestFault = { vector: 0, errorCode: -1, address: 0n }

/** Raises an exception at the present instruction. Nothing of the instruction may have taken effect yet. */
export function raise(vector: number, errorCode = -1): never {
  guestFault.vector = vector
  guestFault.errorCode = errorCode
  // eslint-disable-next-line @typescript-eslint/only-throw-error -- see GuestFault: a jump, caught in one place
  throw guestFault
}

/** Raises #PF with the address for CR2. */
export function raisePageFault(address: bigint, errorCode: number): never {
  guestFault.address = address
  return raise(VECTOR.PF, errorCode)
}

/** Which translations to forget. */
export const FLUSH = {
  NON_GLOBAL: 0,
  ALL: 1,
  /**
   * CR3 was written with bit 63 set (PCIDE): the address space changed, and what is cached under its PCID still holds.
   */
  SWITCH: 2,
} as const

/** What `cacheOperation` is told. */
export const CACHE = { WBINVD: 0, INVD: 1, WBNOINVD: 2, CLFLUSH: 3, CLFLUSHOPT: 4, CLWB: 5 } as const
/** One of the {@link CACHE} numbers. */
export type CacheOperation = (typeof CACHE)[keyof typeof CACHE]

/** Services outside the instruction set that a processor uses; the machine supplies them. */
export interface CpuHost {
  /** Reads a port; `size` is 1, 2 or 4. */
  portRead(port: number, size: 1 | 2 | 4): number
  portWrite(port: number, size: 1 | 2 | 4, value: number): void
  /** A seeded 64-bit random value for RDRAND and RDSEED. */
  random64(): bigint
  /** The next vector that the PIC offers when the local APIC passes ExtINT through. */
  externalVector(): number
}

/** A processor as instructions written in TypeScript see it. */
export interface Cpu {
  readonly views: MemoryViews
  readonly index: number
  readonly host: CpuHost

  /** Loads at the present privilege from a linear address (data access; segment base already in). May raise. */
  load(address: bigint, size: 1 | 2 | 4): number
  load64(address: bigint): bigint
  /** Loads `out.length` bytes (up to 4096), all or nothing. */
  loadBytes(address: bigint, out: Uint8Array): void
  store(address: bigint, size: 1 | 2 | 4, value: number): void
  store64(address: bigint, value: bigint): void
  storeBytes(address: bigint, bytes: Uint8Array): void
  /** The same with supervisor privilege whatever the CPL: descriptor tables, TSS, stacks of inner rings. */
  loadSystem(address: bigint, size: 1 | 2 | 4): number
  loadSystem64(address: bigint): bigint
  storeSystem(address: bigint, size: 1 | 2 | 4, value: number): void
  storeSystem64(address: bigint, value: bigint): void
  /** Optional: the same for up to 64 bytes at once, all or nothing; interrupt frames go through it where it exists. */
  storeSystemBytes?(address: bigint, bytes: Uint8Array): void
  /** Raises what a write of `size` bytes there would raise, and writes nothing. */
  checkWrite(address: bigint, size: number): void

  /** Optional: raises #AC where alignment is checked and `address` is no multiple of `size` (a power of two). */
  checkAlignment?(address: bigint, size: number): void
  /** Optional: makes accesses that #AC never concerns (SDM vol. 2, tables 2-26 and 2-30: "do not report #AC"). */
  unaligned?<T>(access: () => T): T

  /** Linear address of the memory operand of `insn`: segment, address size, canonicality and limit for `size` bytes. */
  operandAddress(insn: Insn, size: number, write: boolean): bigint
  /** Linear address of `offset` in segment `seg` (0–5) with the same checks. */
  segmentAddress(seg: number, offset: bigint, size: number, write: boolean): bigint

  /** RFLAGS bits 31:0 with the status flags made exact. */
  getFlags(): number
  /** Replaces the bits of `mask`; the caller has applied privilege rules. */
  setFlags(value: number, mask: number): void

  /** RIP of the instruction that is being executed. */
  rip(): bigint
  /** Where execution goes on. Set to RIP + len before a meaning is called; far and near transfers overwrite it. */
  setNextRip(rip: bigint): void
  nextRip(): bigint

  /** After CR0, CR4, EFER, CS, SS, CPL or AC changed: recomputes what decoding and translation depend on. */
  modeChanged(): void
  /** Forgets translations (CR3 write, CR4 changes, INVLPG, INVPCID). */
  flushTlb(kind: number): void
  invalidatePage(address: bigint): void
  /**
   * Optional: INVPCID. `kind` 0 forgets `address` under `pcid`, 1 all of `pcid` but global pages, 2 everything, 3
   * everything but global pages. Without it, more is forgotten than need be.
   */
  invalidatePcid?(kind: number, pcid: number, address: bigint): void
  /**
   * Optional: write-back and invalidation of caches; `address` is linear, for the operations on one line. Who listens
   * sets it before anything runs.
   */
  cacheOperation?(kind: CacheOperation, address?: bigint): void
  /** Model, MSRs and APIC of this processor; system instructions need it. */
  readonly system?: CpuSystem
  /** Stops until an interrupt (HLT, MWAIT). */
  halt(): void
  /** Stops for good: triple fault or shutdown. */
  shutdown(reason: string): void
  /** Optional: who stands above the code that runs, null when nobody does. */
  supervisor?(): Supervisor | null
  /** Optional: PAUSE. The processor waits for another, which may run now. */
  pause?(): void
  /** Instructions retired: the virtual time-stamp counter before TSC_OFFSET. */
  timestamp(): bigint
}

/** A meaning in TypeScript. It may raise; it must not have changed anything by then. */
export type Meaning = (cpu: Cpu, insn: Insn) => void
