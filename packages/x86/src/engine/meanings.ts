/** All meanings over the builder, by mnemonic. What is not here has a meaning in TypeScript only. */
import type { WasmMeaning } from './builder.ts'
import { controlMeanings } from './meanings-control.ts'
import { integerMeanings } from './meanings-integer.ts'
import { vectorWasmMeanings } from './meanings-vector.ts'
import { stringMeanings } from './strings.ts'

export const wasmMeanings: ReadonlyMap<string, WasmMeaning> = new Map([
  ...integerMeanings, ...controlMeanings, ...stringMeanings, ...vectorWasmMeanings,
])
