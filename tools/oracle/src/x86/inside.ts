/** What the comparison uses of @cofferdam/x86 beyond its public face. */
export * from '../../../../packages/x86/src/cpu.ts'
export * from '../../../../packages/x86/src/insn.ts'
export { OPS } from '../../../../packages/x86/src/ops.ts'
export { createInsn, decode } from '../../../../packages/x86/src/decode/decode.ts'
export { LINES } from '../../../../packages/x86/src/decode/compile.ts'
export * as S from '../../../../packages/x86/src/state.ts'
export { vectorMeanings } from '../../../../packages/x86/src/vector/index.ts'
export { x87Meanings } from '../../../../packages/x86/src/fp/x87.ts'
