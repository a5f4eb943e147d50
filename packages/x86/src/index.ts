export * from './cpu.ts'
export * from './insn.ts'
export * from './ops.ts'
export * from './decode/decode.ts'
