export * from './rmp/index.ts'
export * from './ghcb/index.ts'
export * from './measure/index.ts'
export * from './error.ts'
