import type { Meaning } from '../cpu.ts'
import { x87ArithmeticMeanings } from './x87-arithmetic.ts'
import { x87ControlMeanings } from './x87-control.ts'
import { x87MemoryMeanings } from './x87-memory.ts'
import { x87RemainderMeanings } from './x87-remainder.ts'
import { x87TranscendentalMeanings } from './x87-transcendental.ts'

/** Meanings of all x87 instructions by mnemonic (those of the decoder: waiting forms are FWAIT and the FN form). */
export const x87Meanings: Readonly<Record<string, Meaning>> = {
  ...x87ArithmeticMeanings, ...x87ControlMeanings, ...x87MemoryMeanings, ...x87RemainderMeanings,
  ...x87TranscendentalMeanings,
}
