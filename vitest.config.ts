import { defineConfig } from 'vitest/config'

// Tests that take minutes: only by `npm run test:slow`, which sets this.
const slow = process.env.COFFERDAM_SLOW === '1'
const files = slow ? '*.slow.test.ts' : '*.test.ts'

export default defineConfig({
  resolve: { conditions: ['@cofferdam/source'] },
  ssr: { resolve: { conditions: ['@cofferdam/source'] } },
  test: {
    include: ['packages', 'apps', 'tools'].map((group) => `${group}/*/test/**/${files}`),
    exclude: ['**/node_modules/**', ...(slow ? [] : ['**/*.slow.test.ts'])],
    passWithNoTests: true,
    pool: 'threads',
    maxWorkers: 2,
    // Two cores, with kernels booting next door.
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
