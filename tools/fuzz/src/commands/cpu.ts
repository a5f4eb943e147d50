/** `fuzz cpu`: instructions against the processor, and our engines against each other. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createOracle, unsuitable } from '@cofferdam/oracle'
import { report } from '../describe.ts'
import type { Mode } from '../encode.ts'
import { fuzz, type AvailableOracle, type FuzzResult } from '../fuzz.ts'
import { namesOf, readOptions, UsageError, wholeNumber } from '../options.ts'
import { reproducer } from '../reproduce.ts'
import { resultOf } from '../results.ts'

const DEFAULTS = {
  cases: '1000000', minutes: '', seed: '1', only: '', modes: '64,32,16', engines: 'cold,jit,hot', longest: '6',
  shown: '20',
  batch: '8192', batches: '4', results: '', share: '1', whole: false, quiet: false,
}

export function runCpu(args: string[]): number {
  const { values } = readOptions(args, DEFAULTS)
  const oracle = createOracle()
  if (!oracle.available) throw new UsageError(`no real processor to compare with: ${oracle.reason}`)
  const why = unsuitable(oracle)
  if (why !== '') console.error(`undefined flags are not compared: ${why}`)
  const seed = wholeNumber('seed', values.seed)
  const modes = namesOf('modes', values.modes, ['64', '32', '16']).map(Number) as Mode[]
  const deadline =
    values.minutes === '' ? Infinity : performance.now() + 60_000 * wholeNumber('minutes', values.minutes)
  const began = performance.now()
  const result = fuzz(oracle, {
    seed, exact: why === '', cases: wholeNumber('cases', values.cases), until: () => performance.now() > deadline,
    longest: wholeNumber('longest', values.longest), shown: wholeNumber('shown', values.shown),
    batch: wholeNumber('batch', values.batch), batches: wholeNumber('batches', values.batches),
    share: Math.max(1, wholeNumber('share', values.share)),
    only: values.only === '' ? undefined : new RegExp(values.only),
    // Most code is 64-bit, and only it is compiled.
    modes: modes.includes(64) ? modes.flatMap((mode) => (mode === 64 ? [mode] : [mode, 64])) : modes,
    engines: namesOf('engines', values.engines, ['cold', 'jit', 'hot']),
    onBatch: values.quiet ? undefined : progress(began),
  })
  const reproducers = values.whole ? [] : result.found.map((found) => reproducer(oracle, found, why === ''))
  console.log(report(result))
  for (const text of reproducers) console.log(`to keep as a test (tools/fuzz/test/found.json): ${JSON.stringify(text)}`)
  console.log(`seed ${seed}: ${(result.ran / (performance.now() - began)).toFixed(1)} thousand cases a second`)
  if (values.results !== '') keep(values.results, seed, oracle, result)
  return result.different === 0 ? 0 : 1
}

const progress = (began: number) => {
  let last = began
  return (result: FuzzResult): void => {
    const now = performance.now()
    if (now - last < 30_000) return
    last = now
    console.error(`${Math.round((now - began) / 1000)} s: ${result.ran} cases, ${result.different} differ`)
  }
}

function keep(folder: string, seed: number, oracle: AvailableOracle, result: FuzzResult): void {
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `cpu-${seed}.json`)
  writeFileSync(file, `${JSON.stringify(resultOf(seed, oracle, result))}\n`)
  console.log(`results are in ${file}`)
}
