import { describe, expect, it } from 'vitest'
import { createOracle, STATE, unsuitable, type Batch, type Random } from '../src/index.ts'
import { compare } from '../src/x86/compare.ts'
import { encodings, type Encoding } from '../src/x86/encodings.ts'
import { vectorMeanings } from '../src/x86/inside.ts'

const oracle = createOracle()
// For a longer search: ORACLE_CASES=500 ORACLE_SEED=$RANDOM, and ORACLE_ONLY for a pattern of mnemonics.
const cases = Number(process.env.ORACLE_CASES ?? 6)
const seed = Number(process.env.ORACLE_SEED ?? 1)
const only = process.env.ORACLE_ONLY

/** MASKMOV writes at RDI; whether masked bytes beyond the end fault is up to the processor, so none lie there. */
function prepare(random: Random, batch: Batch, index: number, encoding: Encoding): void {
  if (encoding.name.startsWith('maskmov')) {
    batch.u64[(batch.at(index) + STATE.GPR) / 8 + 7] = BigInt(batch.windowAt + random.below(batch.window - 15))
  }
}

const why = unsuitable(oracle)

describe.skipIf(why !== '')(`vector instructions against the processor${why && `: ${why}`}`, () => {
  it('leave the state that the processor leaves', () => {
    if (!oracle.available) return
    const list = encodings(name => name in vectorMeanings && (!only || new RegExp(only).test(name)))
    const { ran, differences } = compare(oracle, { encodings: list, meanings: vectorMeanings, cases, seed, prepare })
    if (!only) expect(ran).toBeGreaterThan(0)
    expect(differences).toEqual([])
  }, 600_000)
})
