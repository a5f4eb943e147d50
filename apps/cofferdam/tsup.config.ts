import { defineConfig } from 'tsup'

/** One program, run by Node, and the worker that it starts for a TPM: ESM only, no declarations. */
export default defineConfig({
  entry: ['src/main.ts', 'src/tpm/swtpm-worker.ts'],
  format: ['esm'],
  sourcemap: true,
  clean: true,
  target: 'es2023',
  platform: 'node',
})
