export * from './cpu.ts'
export * from './insn.ts'
export * from './system/index.ts'
