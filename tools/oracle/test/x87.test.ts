import { describe, expect, it } from 'vitest'
import { createOracle, OUT, STATE, unsuitable, type Batch, type Random } from '../src/index.ts'
import { compare } from '../src/x86/compare.ts'
import { encodings, type Encoding } from '../src/x86/encodings.ts'
import { x87Meanings } from '../src/x86/inside.ts'

const oracle = createOracle()
// For a longer search: ORACLE_CASES=500 ORACLE_SEED=$RANDOM, and ORACLE_ONLY for a pattern of mnemonics.
const cases = Number(process.env.ORACLE_CASES ?? 12)
const seed = Number(process.env.ORACLE_SEED ?? 1)
const only = process.env.ORACLE_ONLY

/** Some cases begin with an exception pending: the next waiting instruction raises #MF. */
function prepare(random: Random, batch: Batch, index: number): void {
  if (random.below(20)) return
  const at = batch.at(index)
  const bit = 1 << random.below(6)
  batch.u16[(at + STATE.FCW) / 2] = batch.u16[(at + STATE.FCW) / 2] & ~bit
  batch.u16[(at + STATE.FSW) / 2] = batch.u16[(at + STATE.FSW) / 2] | bit | 0x8080
}

/** Compared with a tolerance below. */
const transcendental = new Set(['f2xm1', 'fyl2x', 'fyl2xp1', 'fptan', 'fpatan', 'fsin', 'fcos', 'fsincos'])

/** Processors store ten bytes in two parts, and the first part stays when the second faults. */
function forgive(real: Batch, ours: Batch, index: number, encoding: Encoding): void {
  const faulted = real.u32[(real.at(index) + OUT.VECTOR) / 4] === 14
  if (faulted && encoding.line.endsWith(' Mt')) ours.windowOf(index).set(real.windowOf(index))
}

/** Arguments where the functions are defined and interesting: most exponents around zero. */
function near(random: Random, batch: Batch, index: number, encoding: Encoding): void {
  prepare(random, batch, index)
  const at = batch.at(index)
  for (const i of [0, 1]) {
    if (random.below(4) === 0) continue
    const exponent = 0x3fff - random.below(encoding.name === 'f2xm1' || encoding.name === 'fyl2xp1' ? 70
      : 4) + random.below(3)
    batch.u16[(at + STATE.ST) / 2 + 8 * i + 4] = exponent | random.below(2) << 15
    batch.u64[(at + STATE.ST) / 8 + 2 * i] = random.u64() | 1n << 63n
  }
}

const significand = (batch: Batch, at: number, i: number): bigint =>
  BigInt(batch.u16[(at + STATE.ST) / 2 + 8 * i + 4] & 0x7fff) << 63n
    | batch.u64[(at + STATE.ST) / 8 + 2 * i] & ~(1n << 63n)

function sameNumbers(real: Batch, ours: Batch, at: number): boolean {
  return [0, 1].every(i => significand(real, at, i) === significand(ours, at, i))
}

function withinOneUnit(real: Batch, ours: Batch, at: number): boolean {
  return [0, 1].every(i => {
    const sign = (batch: Batch): number => batch.u16[(at + STATE.ST) / 2 + 8 * i + 4] >> 15
    if (sign(real) !== sign(ours)) return false
    const distance = significand(real, at, i) - significand(ours, at, i)
    return distance >= -1n && distance <= 1n
  })
}

const why = unsuitable(oracle)

describe.skipIf(why !== '')(`x87 instructions against the processor${why && `: ${why}`}`, () => {
  it('leave the state that the processor leaves', () => {
    if (!oracle.available) return
    const list = encodings(name => name in x87Meanings && !transcendental.has(name) && (!only
      || new RegExp(only).test(name)))
    const { ran, differences } = compare(oracle, { encodings: list, meanings: x87Meanings, cases, seed, prepare,
      forgive })
    if (!only) expect(ran).toBeGreaterThan(0)
    expect(differences).toEqual([])
  }, 600_000)

  it('agree on transcendental functions to one unit in the last place', () => {
    if (!oracle.available) return
    const list = encodings(name => transcendental.has(name) && (!only || new RegExp(only).test(name)))
    let exact = 0
    let close = 0
    const tolerate = (real: Batch, ours: Batch, index: number): void => {
      const at = real.at(index)
      if (sameNumbers(real, ours, at)) exact++
      else if (withinOneUnit(real, ours, at)) {
        close++
        ours.u8.set(real.u8.subarray(at + STATE.ST, at + STATE.ST + 128), at + STATE.ST)
      }
      // C1 tells the direction of a rounding that need not be ours.
      ours.u16[(at + STATE.FSW) / 2] &= ~0x200
      real.u16[(at + STATE.FSW) / 2] &= ~0x200
    }
    const { differences } = compare(oracle, { encodings: list, meanings: x87Meanings, cases: cases * 10, seed,
      prepare: near, forgive: tolerate })
    if (process.env.VERBOSE) console.log(`exact ${exact}, one unit off ${close}`)
    expect(differences).toEqual([])
  }, 600_000)
})
