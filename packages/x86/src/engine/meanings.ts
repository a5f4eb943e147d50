/** All meanings over the builder, by mnemonic. What is not here has a meaning in TypeScript only. */
import type { WasmMeaning } from './builder.ts'
import { arithmeticMeanings } from './meanings-arithmetic.ts'
import { bitMeanings } from './meanings-bits.ts'
import { controlMeanings } from './meanings-control.ts'
import { moveMeanings } from './meanings-move.ts'
import { multiplyMeanings } from './meanings-multiply.ts'
import { shiftMeanings } from './meanings-shift.ts'
import { vectorWasmMeanings } from './meanings-vector.ts'
import { stringMeanings } from './strings.ts'

export const wasmMeanings: ReadonlyMap<string, WasmMeaning> = new Map([
  ...moveMeanings, ...arithmeticMeanings, ...multiplyMeanings, ...shiftMeanings, ...bitMeanings,
  ...controlMeanings, ...stringMeanings, ...vectorWasmMeanings,
])
