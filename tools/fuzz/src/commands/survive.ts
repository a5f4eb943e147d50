/** `fuzz survive`: whatever a guest or a file does, there is an architectural result or a clear error. */
import { namesOf, readOptions, wholeNumber } from '../options.ts'
import { createProcessorSurvivor, type Survivor } from '../survive/processor.ts'

const SURVIVORS: Readonly<Record<string, () => Survivor>> = { processor: createProcessorSurvivor }

export interface SurviveResult {
  ran: number
  /** How many cases ended so. */
  readonly ends: Map<string, number>
  readonly problems: { readonly number: number; readonly text: string }[]
}

export function survive(what: string, options: { seed: number; from: number; cases: number; until?: () => boolean }): SurviveResult {
  const survivor = SURVIVORS[what]()
  const result: SurviveResult = { ran: 0, ends: new Map(), problems: [] }
  for (let number = options.from; number < options.from + options.cases && options.until?.() !== true; number++) {
    const { problem, ended } = survivor.run(options.seed, number)
    result.ran++
    result.ends.set(ended, (result.ends.get(ended) ?? 0) + 1)
    if (problem !== null) result.problems.push({ number, text: problem })
  }
  return result
}

export function runSurvive(args: string[]): number {
  const { values } = readOptions(args, { cases: '100000', seed: '1', from: '0', what: Object.keys(SURVIVORS).join(','), minutes: '', shown: '10' })
  const began = performance.now()
  const deadline = values.minutes === '' ? Infinity : began + 60_000 * wholeNumber('minutes', values.minutes)
  const options = {
    seed: wholeNumber('seed', values.seed), from: wholeNumber('from', values.from), cases: wholeNumber('cases', values.cases),
    until: () => performance.now() > deadline,
  }
  let failed = false
  for (const what of namesOf('what', values.what, Object.keys(SURVIVORS))) {
    const { ran, ends, problems } = survive(what, options)
    for (const [end, count] of [...ends].sort()) console.log(`${String(count).padStart(8)}  ${what}, ${end}`)
    for (const { number, text } of problems.slice(0, wholeNumber('shown', values.shown))) {
      console.log(`${text}\n    again: npm run fuzz -- survive --what ${what} --seed ${options.seed} --from ${number} --cases 1`)
    }
    console.log(`${what}: ${ran} cases, ${problems.length} problems; ${((performance.now() - began) / 1000).toFixed(0)} s`)
    failed ||= problems.length > 0
  }
  return failed ? 1 : 0
}
