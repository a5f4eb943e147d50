import type { Meaning } from '../cpu.ts'
import { fmaMeanings } from '../fp/fma.ts'
import { sseApproximateMeanings } from '../fp/sse-approximate.ts'
import { sseArithmeticMeanings } from '../fp/sse-arithmetic.ts'
import { sseConvertMeanings } from '../fp/sse-convert.ts'
import { arithmeticMeanings } from './arithmetic.ts'
import { avxMeanings } from './avx.ts'
import { cryptoMeanings } from './crypto.ts'
import { moveMeanings } from './moves.ts'
import { shuffleMeanings } from './shuffle.ts'
import { stringMeanings } from './strings.ts'

/**
 * Meanings of all MMX, SSE and AVX instructions by mnemonic: the complete reference, in TypeScript, of what the engines
 * do faster where it matters.
 */
export const vectorMeanings: Readonly<Record<string, Meaning>> = {
  ...arithmeticMeanings, ...avxMeanings, ...cryptoMeanings, ...moveMeanings, ...shuffleMeanings, ...stringMeanings,
  ...sseArithmeticMeanings, ...sseConvertMeanings, ...sseApproximateMeanings, ...fmaMeanings,
}
