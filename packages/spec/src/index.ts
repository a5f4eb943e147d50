export * from './bits.ts'
export * from './layout.ts'
export * from './control-registers.ts'
export * from './page-entries.ts'
