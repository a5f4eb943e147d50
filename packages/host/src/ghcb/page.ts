/**
 * The GHCB page as a host reads and answers it (56421 §2.6 and §4.1). The guest can change the page at any time, so it
 * is copied once and the copy is used; fields count only where the valid bitmap has them.
 */
import { ghcbFlaw, ghcbPage, ghcbScratch, type GhcbField, type GhcbPage } from '@cofferdam/sev'
import { Ghcb } from '@cofferdam/spec'

/** What a guest asked for: a copy. */
export interface GhcbRequest {
  readonly page: GhcbPage
  readonly code: number
  readonly info1: bigint
  readonly info2: bigint
  /** A register, undefined unless the guest marked it as valid. */
  register(name: GhcbField): bigint | undefined
}

/** Registers that answers bring. */
export type AnswerRegister = 'rax' | 'rbx' | 'rcx' | 'rdx'

/** What is written back. */
export interface GhcbReply {
  readonly registers?: Readonly<Partial<Record<AnswerRegister, bigint>>>
  /** SW_EXITINFO1, by default 0: no further action. */
  readonly info1?: bigint
  /** SW_EXITINFO2, by default 0. */
  readonly info2?: bigint
  /** Bytes of the page's shared buffer, from an offset into the page. */
  readonly buffer?: { readonly at: number, readonly bytes: Uint8Array }
}

/** Memory that guest and host share. */
export interface SharedMemory {
  /** False when any of the range is not shared memory. */
  read(address: number, target: Uint8Array): boolean
  write(address: number, bytes: Uint8Array): boolean
}

/** What is wrong with a page: a code of `GhcbError`, and words. */
export interface GhcbProblem {
  readonly error: number
  readonly text: string
}

/** Reads a request; what is wrong with it; or undefined where no shared page is. */
export function readGhcb(memory: SharedMemory, gpa: number): GhcbRequest | GhcbProblem | undefined {
  const bytes = new Uint8Array(Ghcb.size)
  if (!memory.read(gpa, bytes)) return undefined
  const page = ghcbPage(bytes)
  const flaw = ghcbFlaw(page)
  if (flaw !== null) return flaw
  return {
    page, code: Number(page.peek('swExitCode')), info1: page.peek('swExitInfo1'), info2: page.peek('swExitInfo2'),
    register: page.get,
  }
}

/** The part of the shared buffer that a request names for `length` bytes of scratch; undefined when it is not there. */
export function scratchOf({ page }: GhcbRequest, gpa: number, length: number): { at: number, bytes: Uint8Array } | undefined {
  const scratch = ghcbScratch(page, BigInt(gpa), length)
  if (!scratch.ok) return undefined
  return { at: scratch.offset, bytes: page.bytes.subarray(scratch.offset, scratch.offset + scratch.room) }
}

const BITMAP = Ghcb.offset.validBitmap

/** Writes an answer. The bits of what it brings are set in the valid bitmap, the others stay. */
export function answerGhcb(memory: SharedMemory, gpa: number, reply: GhcbReply): boolean {
  const bitmap = new Uint8Array(16)
  if (!memory.read(gpa + BITMAP, bitmap)) return false
  const word = new Uint8Array(8)
  const put = (name: AnswerRegister | 'swExitInfo1' | 'swExitInfo2', value: bigint): void => {
    const offset = Ghcb.offset[name]
    new DataView(word.buffer).setBigUint64(0, BigInt.asUintN(64, value), true)
    memory.write(gpa + offset, word)
    bitmap[offset >> 6] |= 1 << (offset >> 3 & 7)
  }
  for (const name of ['rax', 'rbx', 'rcx', 'rdx'] as const) {
    const value = reply.registers?.[name]
    if (value !== undefined) put(name, value)
  }
  put('swExitInfo1', reply.info1 ?? 0n)
  put('swExitInfo2', reply.info2 ?? 0n)
  if (reply.buffer !== undefined) memory.write(gpa + reply.buffer.at, reply.buffer.bytes)
  return memory.write(gpa + BITMAP, bitmap)
}
