/** Slices end exactly where asked, and the engines agree at every such place. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hotForms } from '../../src/index.ts'
import { DR, XMM } from '../../src/state.ts'
import { AT, REGISTERS, createBare } from './bare.ts'
import type { Bare } from './bare.ts'
import { programs } from './programs.ts'

const IF = 0x200

/** Everything a program can change, but for RF, which only matters while breakpoints are enabled. */
const stateOf = (bare: Bare): unknown => {
  const { u64 } = bare.processor.cpu.views
  const memory = new Uint8Array(0x1100)
  bare.memory.read(AT.data, memory)
  return {
    rip: bare.rip(), flags: bare.flags() & ~0x1_0000, halted: bare.processor.halted, retired: bare.processor.retired(),
    registers: REGISTERS.map((name) => bare.get(name)), xmm: [...u64.subarray(XMM >>> 3, (XMM >>> 3) + 4)],
    memory: memory.join(),
  }
}

const start = (bare: Bare, text: string, at: number): void => {
  bare.memory.write(AT.data, new Uint8Array(0x1100).map((_, i) => i * 7))
  bare.program(text, at)
  bare.set(Object.fromEntries(REGISTERS.map((name, i) => [name, i * 0x1234_5678_9abc])))
  bare.set({ rsi: AT.data, rsp: AT.stack - 0x100, r15: 0 })
  bare.setFlags(2)
  bare.processor.cpu.views.u64.fill(0n, XMM >>> 3, (XMM >>> 3) + 4)
  bare.processor.setTime(0)
  bare.processor.halted = false
  bare.pending.length = 0
  bare.processor.setInterrupt(false)
  bare.jump(at)
}

/** Runs `instructions` one by one. */
const stepBy = (bare: Bare, instructions: number): number => {
  let done = 0
  bare.processor.halted = false
  while (done < instructions && !bare.processor.halted) done += bare.processor.run(1)
  return done
}

describe.each([
  ['interp', []], ['interp', hotForms], ['jit', []], ['jit', hotForms],
] as const)('the %s engine', (engine, forms) => {
  const bare = createBare({ width: 64, engine, hotForms: forms })
  const reference = createBare({ width: 64, hotForms: forms })
  const places = fc.constantFrom(AT.code, AT.code + 0xff1, AT.code + 0x7e3)

  it(`run(n) is n times run(1), with ${String(forms.length)} hot forms`, () => {
    const budgets = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 6 })
    fc.assert(fc.property(programs, budgets, places, (text, slices, at) => {
      start(bare, text, at)
      start(reference, text, at)
      for (let i = 0; !reference.processor.halted && i < 40; i++) {
        const n = slices[i % slices.length]
        const done = bare.run(n)
        expect(done).toBe(stepBy(reference, n))
        if (!bare.processor.halted) expect(done).toBe(n)
        expect(stateOf(bare)).toEqual(stateOf(reference))
      }
    }), { numRuns: 40, seed: 7 })
  })

  it(`interrupts between slices come at the same instruction, with ${String(forms.length)} hot forms`, () => {
    const budgets = fc.array(fc.integer({ min: 20, max: 150 }), { minLength: 1, maxLength: 6 })
    fc.assert(fc.property(programs, budgets, places, (text, slices, at) => {
      for (const b of [bare, reference]) {
        start(b, text, at)
        b.setFlags(2 | IF)
        // The handler counts in R14, and the record of the others is not wanted.
        b.program('49 ff c6 48 cf ; inc r14; iretq', AT.handlers + 0x20 * 0x80)
      }
      for (let i = 0; !reference.processor.halted && i < 40; i++) {
        for (const b of [bare, reference]) b.interrupt(0x20)
        const n = slices[i % slices.length]
        bare.processor.run(n)
        for (let k = 0; k < n && !reference.processor.halted; k++) reference.processor.run(1)
        expect(stateOf(bare)).toEqual(stateOf(reference))
      }
    }), { numRuns: 30, seed: 5 })
  })

  it(`ends as the interpreter does, with ${String(forms.length)} hot forms`, () => {
    fc.assert(fc.property(programs, fc.integer({ min: 100, max: 3000 }), places, (text, slice, at) => {
      // Twice: the second time finds compiled code.
      for (let round = 0; round < 2; round++) {
        start(bare, text, at)
        start(reference, text, at)
        reference.run(1_000_000)
        while (!bare.processor.halted) bare.processor.run(slice)
        expect(stateOf(bare)).toEqual(stateOf(reference))
      }
    }), { numRuns: 40, seed: 11 })
    // Else this compared the interpreter with itself.
    expect((bare.engine.jit?.counts.regions ?? 0) > 20).toBe(engine === 'jit')
  })
})

describe('breakpoints that are not hit', () => {
  it('change nothing, not even the time', () => {
    const bare = createBare({ width: 64 })
    const reference = createBare({ width: 64 })
    const budgets = fc.integer({ min: 50, max: 500 })
    fc.assert(fc.property(programs, budgets, fc.constantFrom(0, 1, 2, 3), (text, slice, enabled) => {
      start(bare, text, AT.code)
      start(reference, text, AT.code)
      // Data and code of the pages that the program uses, but bytes that it does not.
      bare.setState(DR, BigInt(AT.data + 0xf00))
      bare.setState(DR + 8, BigInt(AT.code + 0xf00))
      bare.setState(DR + 7 * 8, 0x400n | (enabled & 1 ? 0xf_0002n : 0n) | (enabled & 2 ? 8n : 0n))
      for (let i = 0; i < 3 && !reference.processor.halted; i++) {
        expect(bare.run(slice)).toBe(reference.run(slice))
        expect(stateOf(bare)).toEqual(stateOf(reference))
      }
    }), { numRuns: 40, seed: 3 })
  })
})
