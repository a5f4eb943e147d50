/** What the fuzzer uses of @cofferdam/x86 beyond its public face. */
export * as S from '../../../packages/x86/src/state.ts'
export { LINES } from '../../../packages/x86/src/decode/compile.ts'
export { AXIS, FORM, OPERAND, parseLine, WIDTH_CODES, type Line } from '../../../packages/x86/src/decode/notation.ts'
export { formName } from '../../../packages/x86/src/engine/form.ts'
export { wasmMeanings } from '../../../packages/x86/src/engine/meanings.ts'
export { CASE_BYTES, createRandom as createDecoderRandom, nextCase } from '../../../packages/x86/test/cases.ts'
export { compare as compareDecoders } from '../../../packages/x86/test/oracle.ts'
