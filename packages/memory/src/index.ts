export * from './bus.ts'
export * from './guard.ts'
export * from './physical.ts'
