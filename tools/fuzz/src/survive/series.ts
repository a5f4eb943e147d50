/** Cases that share what they run on, which need not be made anew for each: a case is repeated with those before it. */
import type { Random } from '@cofferdam/oracle'
import { createRandom } from '@cofferdam/oracle'
import { watchHang } from './clock.ts'
import { caseSeed, type Survivor } from './processor.ts'

export interface SeriesOptions<T> {
  /** Cases with numbers n × `length` … share one. */
  readonly length: number
  readonly begin: (random: Random) => T
  /**
   * Runs a case and answers how it ended; throws what it finds wrong.
   * @param again makes another one for the cases that follow, because this one has ended
   */
  readonly run: (on: T, random: Random, again: () => void) => string
}

export function createSeries<T>({ length, begin, run }: SeriesOptions<T>): Survivor {
  let on: T | null = null
  let place = { seed: -1, next: -1 }

  const runOne = (seed: number, number: number): string => {
    if (number % length === 0) on = null
    const one = caseSeed(seed, number)
    const shared = on ??= begin(createRandom(one ^ 0x5eed))
    try {
      return run(shared, createRandom(one), () => { on = null })
    } catch (error) {
      on = null
      throw error
    }
  }
  /** What the case shares, as the cases before it leave it. */
  const comeTo = (seed: number, number: number): void => {
    if (place.seed === seed && place.next === number) return
    on = null
    for (let n = number - number % length; n < number; n++) {
      try {
        runOne(seed, n)
      } catch {
        // That is another case's problem.
      }
    }
  }

  return {
    run(seed, number) {
      comeTo(seed, number)
      place = { seed, next: number + 1 }
      const hang = watchHang()
      try {
        return { ended: runOne(seed, number), problem: hang() }
      } catch (error) {
        return { ended: 'exception', problem: (error as Error).stack ?? String(error) }
      }
    },
  }
}
