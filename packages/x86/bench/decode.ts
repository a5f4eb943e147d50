/** Prints nanoseconds per decoded instruction: `node --conditions=@cofferdam/source packages/x86/bench/decode.ts`. */
import { createInsn, decode } from '../src/decode/decode.ts'
import { DECODED, MODE64 } from '../src/insn.ts'

declare const console: { log(text: string): void }
declare const performance: { now(): number }

/** A mixture as compilers emit it: moves, arithmetic, branches, stack, SSE, a few long encodings. */
const MIX = `
  55 4889e5 53 4883ec18 488b7d08 4885ff 7410 8b47 10 0fb6c0 488d0485 00000000 e8 00000000 488945f0 c745ec00000000
  ebfe 0f8400000000 31c0 83f8 0f 41 57 4c8b7c2430 4d89f8 488b05 00000000 65488b042528000000 66900f1f440000
  f30f1000 0f28c1  660fefc0 f20f58c8 660f6f0424 488d7c24 08 b9 20000000 f3a4 48c1e004
  480faf c1 89c2 c1ea 1f 0fb754 2402 84c0 0f94c0  418b54 24 10 4c39e8 72f0 f0480fb1 0a 4881c4 88000000 5b 5d c3 90
  c4e27d18 05 00000000 c5f877
`
const hex = MIX.replaceAll(/\s/g, '')
const unit = Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16))
const bytes = new Uint8Array(unit.length * 1000 + 16)
for (let i = 0; i < 1000; i++) bytes.set(unit, i * unit.length)

function pass(): { count: number, bad: number } {
  const insn = createInsn()
  let count = 0
  let bad = 0
  for (let at = 0, end = unit.length * 1000; at < end; at += insn.len || 1) {
    decode(bytes, at, bytes.length, MODE64, insn)
    if (insn.status !== DECODED) bad++
    count++
  }
  return { count, bad }
}

let best = Infinity
let bad = 0
for (let round = 0; round < 40; round++) {
  const start = performance.now()
  const result = pass()
  best = Math.min(best, (performance.now() - start) * 1e6 / result.count)
  bad = result.bad
}
console.log(`${best.toFixed(1)} ns per instruction (best of 40 passes; ${bad} not decoded)`)
