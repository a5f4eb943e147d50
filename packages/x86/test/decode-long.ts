/**
 * The long comparison with iced-x86:
 * `node --conditions=@cofferdam/source packages/x86/test/decode-long.ts [cases] [seed]` (one million by default).
 */
import { MODE16, MODE32, MODE64 } from '../src/insn.ts'
import { CASE_BYTES, createRandom, nextCase } from './cases.ts'
import { compare } from './oracle.ts'

declare const console: { log(text: string): void }
declare const process: { argv: string[] }

const [cases = '1000000', seed = '1'] = process.argv.slice(2)
const random = createRandom(Number(seed))
const bytes = new Uint8Array(CASE_BYTES)
const reasons = new Map<string, number>()
const unexplained = new Map<string, string[]>()
let differences = 0
for (let i = 0; i < Number(cases); i++) {
  nextCase(random, bytes)
  const width = [MODE64, MODE64, MODE32, MODE16][i & 3] as typeof MODE64
  const { difference, reason } = compare(bytes, width)
  if (difference === null) continue
  if (reason !== null) {
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    continue
  }
  differences++
  const key = difference.slice(difference.indexOf(': here')).replaceAll(/\(.*?\)|\d+/g, '')
  const list = unexplained.get(key) ?? []
  if (list.length < 3) list.push(difference)
  unexplained.set(key, list)
}
for (const [reason, count] of [...reasons].sort()) console.log(`${String(count).padStart(8)}  ${reason}`)
for (const list of unexplained.values()) for (const difference of list) console.log(difference)
console.log(`${cases} cases, ${differences} unexplained differences`)
