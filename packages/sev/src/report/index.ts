export * from './parse.ts'
export * from './ecdsa.ts'
export * from './verify.ts'
