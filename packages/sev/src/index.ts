export * from './rmp/index.ts'
export * from './ghcb/index.ts'
