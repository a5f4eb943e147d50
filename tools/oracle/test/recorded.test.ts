/**
 * What the meanings leave behind, as hashes recorded when they agreed with an Intel processor (`vector.test.ts`,
 * `x87.test.ts`). It holds them to those answers on machines with another processor.
 *
 * To record again, on an Intel processor with the other tests green: ORACLE_RECORD=1 npx vitest run tools/oracle
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { fingerprint } from '../src/x86/compare.ts'
import { encodings, type Encoding } from '../src/x86/encodings.ts'
import { vectorMeanings, x87Meanings } from '../src/x86/inside.ts'

const file = new URL('recorded.json', import.meta.url)
const meanings = { ...vectorMeanings, ...x87Meanings }

const seedOf = (name: string): number => [...Buffer.from(name)].reduce((hash, byte) => Math.imul(hash, 31) + byte, 7)

function current(): Record<string, string> {
  const byName = new Map<string, Encoding[]>()
  for (const encoding of encodings(name => name in meanings)) {
    byName.set(encoding.name, [...byName.get(encoding.name) ?? [], encoding])
  }
  const names = [...byName.keys()].sort()
  return Object.fromEntries(names.map(name =>
    [name, fingerprint({ encodings: byName.get(name) ?? [], meanings, cases: 6, seed: seedOf(name) })]))
}

describe('recorded answers', () => {
  it('are what the meanings give', () => {
    const now = current()
    if (process.env.ORACLE_RECORD) writeFileSync(file, `${JSON.stringify(now, undefined, 1)}\n`)
    const recorded = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>
    expect(Object.keys(now)).toEqual(Object.keys(recorded))
    expect(Object.keys(now).filter(name => now[name] !== recorded[name])).toEqual([])
  }, 60_000)
})
