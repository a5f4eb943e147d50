/**
 * The program that the direct boot measures and starts at VMPL0 (or above it, under an SVSM): it accepts the memory
 * that a boot loader would have accepted, through page state changes and PVALIDATE, and enters the kernel.
 *
 * What the host can write is not trusted: requests are kept in private memory, answers are read once and checked. Where
 * something fails the guest ends itself with a reason of {@link STAGE_TERMINATION_SET}.
 * Protocols: AMD 56421 (GHCB) §2.3.1, §4.1.6; AMD 58019 (SVSM) §7.1.2.
 */
import { GhcbMsr, PscOperation } from '@cofferdam/spec'
import { createAssembler, Reg, type Assembler } from './assembler.ts'
import {
  changeBatch, changeGhcbPage, fillBatch, msrCall, negotiate, shareGhcb, validateBatch, validateGhcbPage,
} from './stage-host.ts'
import { NEXT_RANGE, RANGES, REASON, STAGE_TERMINATION_SET, StageParameters, StageRange } from './stage-parameters.ts'
import { findCoherency, findSvsm, validate, validateBySvsm } from './stage-validate.ts'

const { rax, rbx, rbp, rsi, r12, r13, r14 } = Reg

/** Where the program finds its pages: it runs mapped one to one. */
export interface StagePlaces {
  readonly parameters: number
  /** A private page for the list of a page state change. */
  readonly batch: number
}

function failures(a: Assembler): void {
  for (const [name, reason] of Object.entries(REASON)) {
    a.label(`fail ${name}`)
    a.set(rax, GhcbMsr.TERMINATION_REQ | STAGE_TERMINATION_SET << 12 | reason << 16)
    a.jump('terminate')
  }
  a.label('terminate')
  a.call('msr call')
  a.label('dead')
  a.plain('hlt')
  a.jump('dead')
}

/**
 * The program for a parameter page at `parameters`. It is entered at its first byte in 64-bit mode, with a stack, and
 * all memory that it accepts mapped one to one with the C-bit.
 */
export function snpStage({ parameters, batch }: StagePlaces): Uint8Array {
  const a = createAssembler()
  a.plain('cld')
  a.set(rbx, parameters)
  a.load(rbp, rbx, StageParameters.offset.ghcbShared)
  negotiate(a)
  findSvsm(a)
  findCoherency(a)
  shareGhcb(a)
  a.set(r12, parameters + RANGES)
  a.label('next range')
  a.load(r13, r12, StageRange.offset.page)
  a.load(r14, r12, StageRange.offset.pages)
  a.aluImmediate('cmp', r14, 0)
  a.jumpIf('e', 'accepted')
  a.aluImmediate('add', r12, StageRange.size)
  a.store(rbx, NEXT_RANGE, r12)
  a.label('next batch')
  fillBatch(a, batch)
  changeBatch(a, batch)
  validateBatch(a, batch)
  a.aluImmediate('cmp', r14, 0)
  a.jumpIf('ne', 'next batch')
  a.load(r12, rbx, NEXT_RANGE)
  a.jump('next range')
  a.label('accepted')
  // The kernel gets the page back as all others are: private and validated.
  changeGhcbPage(a, PscOperation.PRIVATE)
  validateGhcbPage(a, 1)
  a.load(rax, rbx, StageParameters.offset.entry)
  a.load(rsi, rbx, StageParameters.offset.bootParams)
  a.jumpTo(rax)
  msrCall(a)
  validate(a)
  validateBySvsm(a)
  failures(a)
  return a.assemble()
}
