/** What the manuals leave open, by mnemonic, with the place that says so. */
import type { Leave } from './compare.ts'
import type { FuzzLine } from './lines.ts'

const [CF, PF, AF, ZF, SF, OF] = [1, 4, 0x10, 0x40, 0x80, 0x800]
const ALL = CF | PF | AF | ZF | SF | OF

/**
 * Status flags that an instruction leaves undefined, at least for some operands: SDM vol. 2, "Flags Affected" of each,
 * and vol. 1 appendix A. Our flags are those of Intel's processors, so this is for comparing with others only.
 */
export const UNDEFINED_FLAGS: Readonly<Record<string, number>> = {
  and: AF, or: AF, xor: AF, test: AF,
  shl: AF | OF | CF, shr: AF | OF | CF, sar: AF | OF, shld: ALL, shrd: ALL,
  rol: OF, ror: OF, rcl: OF, rcr: OF,
  mul: SF | ZF | AF | PF, imul: SF | ZF | AF | PF, div: ALL, idiv: ALL,
  bsf: ALL & ~ZF, bsr: ALL & ~ZF, bt: ALL & ~(CF | ZF), bts: ALL & ~(CF | ZF), btr: ALL & ~(CF | ZF),
  btc: ALL & ~(CF | ZF),
  tzcnt: OF | SF | PF | AF, lzcnt: OF | SF | PF | AF,
  aaa: OF | SF | ZF | PF, aas: OF | SF | ZF | PF, aam: OF | AF | CF, aad: OF | AF | CF, daa: OF, das: OF,
  andn: AF | PF, bextr: AF | SF | PF, blsi: AF | PF, blsmsk: AF | PF, blsr: AF | PF, bzhi: AF | PF,
}

const names = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/))

/**
 * Instructions that touch many places or only some of their bytes: the SDM does not say which byte of the page that
 * faults CR2 names, and microcode is free in its order.
 */
const VAGUE_ADDRESS = names(`frstor fnsave fnstenv fldenv maskmovq maskmovdqu vmaskmovps vmaskmovpd
  vpmaskmovd vpmaskmovq ldmxcsr stmxcsr fxsave fxrstor xsave xsaveopt xsavec xrstor pusha popa enter bound`)

/**
 * Accesses of several parts in one segment: whether the one that faults first ends by limit or by page is the
 * microcode's.
 */
const SEVERAL = names('frstor fnsave fnstenv fldenv fxsave fxrstor xsave xsaveopt xsavec xrstor pusha popa')

/** Whether bytes that their mask leaves out can fault is the processor's to choose (SDM vol. 2, MASKMOVDQU). */
const MAY_FAULT = names('maskmovq maskmovdqu')

/** State that is loaded in parts: what comes before the part that faults may be there (observed on Intel's). */
const PARTIAL_STATE = names('frstor fxrstor')

/**
 * Stores of several parts: what comes before the part that faults may be there (SDM vol. 3 §11.1.1 asks no more than
 * 8 bytes at once). Masked vectors are stored element by element at the end of a segment (observed on Intel's
 * processors).
 */
const PARTIAL = names(`fstp fbstp fnsave fnstenv fxsave xsave xsaveopt xsavec pusha enter callf maskmovq maskmovdqu
  vmaskmovps vmaskmovpd vpmaskmovd vpmaskmovq`)

/**
 * Transcendental functions: within one unit in the last place (SDM vol. 1, §8.3.10), and what sums then say is open.
 */
const TRANSCENDENTAL = names('f2xm1 fyl2x fyl2xp1 fptan fpatan fsin fcos fsincos')

/** LSL of entry 15 of Linux's global table (arch/x86/include/asm/segment.h, GDT_ENTRY_CPUNODE). */
const PROCESSOR_NUMBER = names('lsl')

/**
 * What a case may leave differently.
 * @param exact whether undefined flags are compared too
 */
export function leaveOf(used: readonly FuzzLine[], exact: boolean): Leave {
  const some = (set: ReadonlySet<string>): boolean => used.some(({ line }) => set.has(line.name))
  const undefinedFlags = (): number => used.reduce((mask, { line }) => mask | (UNDEFINED_FLAGS[line.name] ?? 0), 0)
  return {
    vagueAddress: some(VAGUE_ADDRESS), lastPlace: some(TRANSCENDENTAL), partial: some(PARTIAL), anyFault: some(SEVERAL),
    partialState: some(PARTIAL_STATE), mayFault: some(MAY_FAULT), processorNumber: some(PROCESSOR_NUMBER),
    flags: exact ? 0 : undefinedFlags(),
  }
}

/** Whether later instructions of a sequence may show what this one leaves open. */
export const leavesFlagsOpen = ({ line }: FuzzLine): boolean => line.name in UNDEFINED_FLAGS
