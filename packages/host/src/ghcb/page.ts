/**
 * The GHCB page as a host reads and answers it (56421 §2.6 and §4.1). The guest can change the page at any time, so it
 * is copied once and the copy is used; fields count only where the valid bitmap has them.
 */
import { Ghcb, GHCB_USAGE_STANDARD, GhcbError } from '@cofferdam/spec'

/** Registers that exits pass. */
export const GHCB_REGISTERS = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'cpl', 'xcr0', 'xss'] as const
export type GhcbRegister = (typeof GHCB_REGISTERS)[number]

/** What a guest asked for: a copy. */
export interface GhcbRequest {
  readonly code: number
  readonly info1: bigint
  readonly info2: bigint
  /** Registers that the guest marked as valid. */
  readonly registers: Readonly<Partial<Record<GhcbRegister, bigint>>>
  /** SW_SCRATCH, when it is valid. */
  readonly scratch: bigint | undefined
  /** The shared buffer. */
  readonly buffer: Uint8Array
}

/** What is written back. */
export interface GhcbReply {
  readonly registers?: Readonly<Partial<Record<'rax' | 'rbx' | 'rcx' | 'rdx', bigint>>>
  /** SW_EXITINFO1, by default 0: no further action. */
  readonly info1?: bigint
  /** SW_EXITINFO2, by default 0. */
  readonly info2?: bigint
  /** Bytes for the shared buffer, at an offset from its start. */
  readonly buffer?: { readonly at: number, readonly bytes: Uint8Array }
}

/** Memory that guest and host share. */
export interface SharedMemory {
  /** False when any of the range is not shared memory. */
  read(address: number, target: Uint8Array): boolean
  write(address: number, bytes: Uint8Array): boolean
}

const PAGE = 4096
const BITMAP = Ghcb.offset.validBitmap
const BUFFER = { start: Ghcb.offset.sharedBuffer, length: Ghcb.fields.sharedBuffer[1] } as const

const isValid = (page: Uint8Array, offset: number): boolean => {
  const bit = offset / 8 | 0
  return (page[BITMAP + (bit >> 3)] >> (bit & 7) & 1) !== 0
}

/** A request, or what is wrong with the page: a code of `GhcbError`. */
export function readGhcb(memory: SharedMemory, gpa: number): GhcbRequest | { readonly error: number } | undefined {
  const page = new Uint8Array(PAGE)
  if (!memory.read(gpa, page)) return undefined
  const view = new DataView(page.buffer)
  if (Ghcb.get(view, 'usage') !== GHCB_USAGE_STANDARD) return { error: GhcbError.INVALID_USAGE }
  const { swExitCode, swExitInfo1, swExitInfo2, swScratch } = Ghcb.offset
  if (![swExitCode, swExitInfo1, swExitInfo2].every((offset) => isValid(page, offset))) {
    return { error: GhcbError.MISSING_INPUT }
  }
  const code = Ghcb.get(view, 'swExitCode')
  if (code > 0xffff_ffffn) return { error: GhcbError.INVALID_EVENT }
  const registers: Partial<Record<GhcbRegister, bigint>> = {}
  for (const name of GHCB_REGISTERS) {
    if (isValid(page, Ghcb.offset[name])) registers[name] = BigInt(Ghcb.get(view, name))
  }
  return {
    code: Number(code), info1: Ghcb.get(view, 'swExitInfo1'), info2: Ghcb.get(view, 'swExitInfo2'), registers,
    scratch: isValid(page, swScratch) ? Ghcb.get(view, 'swScratch') : undefined,
    buffer: page.slice(BUFFER.start, BUFFER.start + BUFFER.length),
  }
}

/**
 * Where the scratch area of a request lies in the shared buffer: protocol version 2 wants it there whole (56421 §4.1).
 * @returns the offset from the buffer's start, or undefined
 */
export function scratchOffset({ scratch }: GhcbRequest, gpa: number, length: number): number | undefined {
  if (scratch === undefined) return undefined
  const at = scratch - BigInt(gpa) - BigInt(BUFFER.start)
  return at >= 0n && at + BigInt(length) <= BigInt(BUFFER.length) ? Number(at) : undefined
}

/** Writes an answer. The bits of what it brings are set in the valid bitmap, the others stay. */
export function answerGhcb(memory: SharedMemory, gpa: number, reply: GhcbReply): boolean {
  const bitmap = new Uint8Array(16)
  if (!memory.read(gpa + BITMAP, bitmap)) return false
  const put = (name: 'rax' | 'rbx' | 'rcx' | 'rdx' | 'swExitInfo1' | 'swExitInfo2', value: bigint): void => {
    const offset = Ghcb.offset[name]
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true)
    memory.write(gpa + offset, bytes)
    bitmap[offset >> 6] |= 1 << (offset >> 3 & 7)
  }
  for (const name of ['rax', 'rbx', 'rcx', 'rdx'] as const) {
    const value = reply.registers?.[name]
    if (value !== undefined) put(name, value)
  }
  put('swExitInfo1', reply.info1 ?? 0n)
  put('swExitInfo2', reply.info2 ?? 0n)
  if (reply.buffer !== undefined) memory.write(gpa + BUFFER.start + reply.buffer.at, reply.buffer.bytes)
  return memory.write(gpa + BITMAP, bitmap)
}
