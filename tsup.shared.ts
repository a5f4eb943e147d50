import { defineConfig } from 'tsup'

/** Every package is built the same way: ESM and CJS with types, one entry. */
export default defineConfig({
  entry: ['src/index.ts'],
  format: ['esm', 'cjs'],
  dts: true,
  sourcemap: true,
  clean: true,
  target: 'es2023',
})
