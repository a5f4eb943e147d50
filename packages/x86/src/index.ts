export * from './cpu.ts'
export * from './insn.ts'
