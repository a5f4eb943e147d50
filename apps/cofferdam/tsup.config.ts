import { defineConfig } from 'tsup'

/** One program, run by Node: ESM only, no declarations. */
export default defineConfig({
  entry: ['src/main.ts'],
  format: ['esm'],
  sourcemap: true,
  clean: true,
  target: 'es2023',
  platform: 'node',
})
