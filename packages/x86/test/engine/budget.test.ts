/** Slices end exactly where asked, and the engines agree at every such place. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hotForms } from '../../src/index.ts'
import { XMM } from '../../src/state.ts'
import { AT, REGISTERS, createBare } from './bare.ts'
import type { Bare } from './bare.ts'
import { programs } from './programs.ts'

/** Everything a program can change. */
const stateOf = (bare: Bare): unknown => {
  const { u64 } = bare.processor.cpu.views
  const memory = new Uint8Array(0x1100)
  bare.memory.read(AT.data, memory)
  return {
    rip: bare.rip(), flags: bare.flags(), halted: bare.processor.halted, retired: bare.processor.retired(),
    registers: REGISTERS.map((name) => bare.get(name)), xmm: [...u64.subarray(XMM >>> 3, (XMM >>> 3) + 4)], memory: memory.join(),
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
  bare.jump(at)
}

/** Runs `instructions` one by one. */
const stepBy = (bare: Bare, instructions: number): number => {
  let done = 0
  bare.processor.halted = false
  while (done < instructions && !bare.processor.halted) done += bare.processor.run(1)
  return done
}

describe.each([['interp', []], ['interp', hotForms], ['jit', []], ['jit', hotForms]] as const)('the %s engine', (engine, forms) => {
  const bare = createBare({ width: 64, engine, hotForms: forms })
  const reference = createBare({ width: 64, hotForms: forms })
  const places = fc.constantFrom(AT.code, AT.code + 0xff1, AT.code + 0x7e3)

  it(`run(n) is n times run(1), with ${String(forms.length)} hot forms`, () => {
    fc.assert(fc.property(programs, fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 6 }), places, (text, slices, at) => {
      start(bare, text, at)
      start(reference, text, at)
      for (let i = 0; !reference.processor.halted && i < 40; i++) {
        const n = slices[i % slices.length]
        const done = bare.run(n)
        expect(done).toBe(stepBy(reference, n))
        if (!bare.processor.halted) expect(done).toBe(n)
        expect(stateOf(bare)).toEqual(stateOf(reference))
      }
    }), { numRuns: 60, seed: 7 })
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
    }), { numRuns: 60, seed: 11 })
    // Else this compared the interpreter with itself.
    expect((bare.engine.jit?.counts.regions ?? 0) > 20).toBe(engine === 'jit')
  })
})
