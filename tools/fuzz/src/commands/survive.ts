/** `fuzz survive`: whatever a guest or a file does, there is an architectural result or a clear error. */
import { writeSync } from 'node:fs'
import { snpEndorsement } from '@cofferdam/machine'
import { namesOf, readOptions, wholeNumber } from '../options.ts'
import { createImageSurvivor } from '../survive/machine/images.ts'
import { createQueueSurvivor } from '../survive/machine/queues.ts'
import { createRegisterSurvivor } from '../survive/machine/registers.ts'
import { createSnapshotSurvivor } from '../survive/machine/snapshots.ts'
import { createProcessorSurvivor, type LateSurvivor, type Survivor } from '../survive/processor.ts'
import { SEED } from '../survive/snp/bench.ts'
import { createSnpSurvivor } from '../survive/snp/guest.ts'
import { createPspSurvivor } from '../survive/snp/psp.ts'
import { runWatched, type CaseLine } from '../survive/watched.ts'

export const SURVIVORS: Readonly<Record<string, () => Survivor | LateSurvivor>> = {
  processor: () => createProcessorSurvivor(), system: () => createProcessorSurvivor({ system: true }),
  registers: createRegisterSurvivor, queues: createQueueSurvivor,
  images: () => createImageSurvivor({ chip: snpEndorsement(SEED) }), snapshots: createSnapshotSurvivor,
  snp() {
    // The chip's keys are found once, and no case has to wait for that.
    snpEndorsement(SEED)
    return createSnpSurvivor()
  },
  psp: createPspSurvivor,
}
/** What the process may grow by after its first cases, in bytes: compiled code comes and goes. */
const GROWTH = 512 * 2 ** 20
/** Cases before growth is measured. */
const WARM = 1000

export interface SurviveResult {
  ran: number
  /** How many cases ended so. */
  readonly ends: Map<string, number>
  readonly problems: { readonly number: number; readonly text: string }[]
  /** Most bytes that the process had in memory, and those after the first cases. */
  peak: number
  settled: number
}

/** Runs cases in this process. */
export async function survive(
  what: string, options: { seed: number; from: number; cases: number; each: (line: CaseLine) => void },
): Promise<void> {
  const survivor = SURVIVORS[what]()
  for (let number = options.from; number < options.from + options.cases; number++) {
    options.each({
      number, ...await survivor.run(options.seed, number), resident: number % 64 === 0 ? process.memoryUsage.rss() : 0,
    })
  }
}

const collect = (result: SurviveResult) => ({ number, ended, problem, resident }: CaseLine): void => {
  result.ran++
  result.ends.set(ended, (result.ends.get(ended) ?? 0) + 1)
  result.peak = Math.max(result.peak, resident)
  if (result.ran <= WARM) result.settled = Math.max(result.settled, resident)
  if (problem === null) return
  result.problems.push({ number, text: problem })
  console.error(`case ${number}: ${problem}`)
}

export async function runSurvive(args: string[]): Promise<number> {
  const { values } = readOptions(args, {
    cases: '100000', seed: '1', from: '0', what: Object.keys(SURVIVORS).join(','), minutes: '', shown: '10',
    limit: '20', inside: false,
  })
  const [seed, from, cases] = [
    wholeNumber('seed', values.seed), wholeNumber('from', values.from), wholeNumber('cases', values.cases),
  ]
  const kinds = namesOf('what', values.what, Object.keys(SURVIVORS))
  if (values.inside) {
    for (const what of kinds) {
      await survive(what, { seed, from, cases, each: (line) => { writeSync(1, `${JSON.stringify(line)}\n`) } })
    }
    return 0
  }
  const deadline = values.minutes === ''
    ? Infinity
    : performance.now() + 60_000 * wholeNumber('minutes', values.minutes)
  let failed = false
  for (const what of kinds) {
    const began = performance.now()
    const result: SurviveResult = { ran: 0, ends: new Map(), problems: [], peak: 0, settled: 0 }
    await runWatched({
      what, seed, from, cases, limit: 1000 * wholeNumber('limit', values.limit),
      until: () => performance.now() > deadline, each: collect(result),
    })
    show(what, seed, result, wholeNumber('shown', values.shown), (performance.now() - began) / 1000)
    failed ||= result.problems.length > 0 || result.peak > result.settled + GROWTH
  }
  return failed ? 1 : 0
}

function show(
  what: string, seed: number, { ran, ends, problems, peak, settled }: SurviveResult, shown: number, seconds: number,
): void {
  for (const [end, count] of [...ends].sort()) console.log(`${String(count).padStart(8)}  ${what}, ${end}`)
  for (const { number, text } of problems.slice(0, shown)) {
    console.log(`${text}\n    again: npm run fuzz -- survive --what ${what} --seed ${seed} --from ${number} --cases 1`)
  }
  const [most, first] = [peak, settled].map((bytes) => Math.round(bytes / 2 ** 20))
  console.log(`${what}: ${ran} cases, ${problems.length} problems; ${seconds.toFixed(0)} s; `
    + `at most ${most} MiB, ${first} after ${WARM} cases`)
}
