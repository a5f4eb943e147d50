import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['@cofferdam/source'] },
  ssr: { resolve: { conditions: ['@cofferdam/source'] } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'apps/*/test/**/*.test.ts', 'tools/*/test/**/*.test.ts'],
    passWithNoTests: true,
    pool: 'threads',
    maxWorkers: 2,
    // Two cores, with kernels booting next door.
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
