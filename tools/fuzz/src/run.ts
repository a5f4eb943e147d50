/** `node --conditions=@cofferdam/source src/run.ts [--cases N] [--seed N] [--only PATTERN]`. */
import { parseArgs } from 'node:util'
import { createOracle } from '@cofferdam/oracle'
import { report } from './describe.ts'
import type { Mode } from './encode.ts'
import { fuzz, type Engine } from './fuzz.ts'

const { values } = parseArgs({ options: {
  cases: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' }, only: { type: 'string' },
  longest: { type: 'string', default: '6' }, shown: { type: 'string', default: '40' }, modes: { type: 'string' }, engines: { type: 'string' },
  batch: { type: 'string', default: '8192' }, batches: { type: 'string', default: '4' },
} })
const oracle = createOracle()
if (!oracle.available) {
  console.error(`no real processor to compare with: ${oracle.reason}`)
  process.exit(2)
}
const began = performance.now()
const result = fuzz(oracle, {
  cases: Number(values.cases), seed: Number(values.seed), longest: Number(values.longest), shown: Number(values.shown),
  only: values.only === undefined ? undefined : new RegExp(values.only),
  modes: values.modes?.split(',').map(Number) as Mode[] | undefined, engines: values.engines?.split(',') as Engine[] | undefined,
  batch: Number(values.batch), batches: Number(values.batches),
})
console.log(report(result))
console.log(`${(result.ran / (performance.now() - began)).toFixed(1)} thousand cases a second`)
process.exitCode = result.different === 0 ? 0 : 1
