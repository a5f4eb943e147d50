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

/**
 * Reads a request; what is wrong with it; or undefined where no shared page is.
 * @param page takes the copy; it is the request's until it is used again
 */
export function readGhcb(
  memory: SharedMemory, gpa: number, page: GhcbPage = ghcbPage(new Uint8Array(Ghcb.size)),
): GhcbRequest | GhcbProblem | undefined {
  if (!memory.read(gpa, page.bytes)) return undefined
  const flaw = ghcbFlaw(page)
  if (flaw !== null) return flaw
  return {
    page, code: Number(page.peek('swExitCode')), info1: page.peek('swExitInfo1'), info2: page.peek('swExitInfo2'),
    register: page.get,
  }
}

/** The part of the shared buffer that a request names for `length` bytes of scratch; undefined when it is not there. */
export function scratchOf(
  { page }: GhcbRequest, gpa: number, length: number,
): { at: number, bytes: Uint8Array } | undefined {
  const scratch = ghcbScratch(page, BigInt(gpa), length)
  if (!scratch.ok) return undefined
  return { at: scratch.offset, bytes: page.bytes.subarray(scratch.offset, scratch.offset + scratch.room) }
}

/** The part of the page that answers change: from RAX to the end of the valid bitmap. */
const FIRST = Ghcb.offset.rax
const END = Ghcb.offset.validBitmap + 16

/**
 * Writes an answer: registers, exit information, and a valid bitmap that has them and nothing of the request (Linux
 * arch/x86/kvm/svm/sev.c, sev_es_sync_from_ghcb).
 * @param page the copy that the request was read into
 */
export function answerGhcb(memory: SharedMemory, gpa: number, page: GhcbPage, reply: GhcbReply): boolean {
  page.clearValid()
  for (const name of ['rax', 'rbx', 'rcx', 'rdx'] as const) {
    const value = reply.registers?.[name]
    if (value !== undefined) page.set(name, BigInt.asUintN(64, value))
  }
  page.set('swExitInfo1', reply.info1 ?? 0n)
  page.set('swExitInfo2', reply.info2 ?? 0n)
  if (reply.buffer !== undefined) memory.write(gpa + reply.buffer.at, reply.buffer.bytes)
  return memory.write(gpa + FIRST, page.bytes.subarray(FIRST, END))
}
