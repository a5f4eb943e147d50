/** The long run: `node --conditions=@cofferdam/source src/run.ts [--cases N] [--seed N] [--only PATTERN] [--hot]`. */
import { parseArgs } from 'node:util'
import { createOracle } from '@cofferdam/oracle'
import { fuzz, report } from './fuzz.ts'

const { values } = parseArgs({ options: {
  cases: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' }, only: { type: 'string' },
  longest: { type: 'string', default: '6' }, shown: { type: 'string', default: '40' },
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
})
console.log(report(result))
console.log(`${(result.ran / (performance.now() - began)).toFixed(1)} thousand cases a second`)
process.exitCode = result.different === 0 ? 0 : 1
