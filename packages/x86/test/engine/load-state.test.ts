import { expect, it } from 'vitest'
import { loadState, saveState } from '../../src/index.ts'
import { AT, createBare, REGISTERS } from './bare.ts'

it.each([16, 32, 64] as const)('a saved state, loaded again, is the same (%i-bit code)', (width) => {
  const { processor, set, poke } = createBare({ width })
  set(Object.fromEntries(REGISTERS.map((name, n) => [name, BigInt(n + 1) << 32n])))
  poke(AT.code + (width === 16 ? 0x100 : 0), 0xf9, 0xf4) // stc; hlt
  processor.run(10)
  const saved = saveState(processor)
  expect(saved.rflags & 1n).toBe(1n)
  expect(saved.registers.r15).toBe(16n << 32n)
  expect(saved.rip & 0xffffn).toBe(width === 16 ? 0x102n : BigInt(AT.code & 0xffff) + 2n)
  loadState(processor, saved)
  expect(saveState(processor)).toEqual(saved)
})
