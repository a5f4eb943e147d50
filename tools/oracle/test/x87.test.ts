import { describe, expect, it } from 'vitest'
import { createOracle, OUT, STATE, type Batch, type Random } from '../src/index.ts'
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
  batch.u16[(at + STATE.FCW) / 2] = batch.u16[(at + STATE.FCW) / 2]! & ~bit
  batch.u16[(at + STATE.FSW) / 2] = batch.u16[(at + STATE.FSW) / 2]! | bit | 0x8080
}

/** Compared with a tolerance below. */
const transcendental = new Set(['f2xm1', 'fyl2x', 'fyl2xp1', 'fptan', 'fpatan', 'fsin', 'fcos', 'fsincos'])

/** Processors store ten bytes in two parts, and the first part stays when the second faults. */
function forgive(real: Batch, ours: Batch, index: number, encoding: Encoding): void {
  const faulted = real.u32[(real.at(index) + OUT.VECTOR) / 4] === 14
  if (faulted && / Mt$/.test(encoding.line)) ours.windowOf(index).set(real.windowOf(index))
}

describe.skipIf(!oracle.available)(`x87 instructions against the processor${oracle.available ? '' : `: ${oracle.reason}`}`, () => {
  it('leave the state that the processor leaves', () => {
    if (!oracle.available) return
    const list = encodings(name => name in x87Meanings && !transcendental.has(name) && (!only || new RegExp(only).test(name)))
    const { ran, differences } = compare(oracle, { encodings: list, meanings: x87Meanings, cases, seed, prepare, forgive })
    expect(ran).toBeGreaterThan(0)
    expect(differences).toEqual([])
  }, 600_000)
})
