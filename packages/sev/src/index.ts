export * from './rmp/index.ts'
