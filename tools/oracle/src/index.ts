export * from './batch.ts'
export * from './layout.ts'
export * from './oracle.ts'
export * from './random.ts'
