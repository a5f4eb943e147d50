/** CLFLUSH and its kind: generated code carries them out unless somebody listens. */
import { describe, expect, it } from 'vitest'
import { CACHE } from '../../src/index.ts'
import { AT, createBare, entryOf } from './bare.ts'

const program = 'again: 0f ae 3e 66 0f ae 3e 66 0f ae 36 48 ff c1 48 83 f9 40 75 [again:rel8] f4'

describe.each(['interp', 'jit'] as const)('operations on cache lines, %s engine,', (engine) => {
  it('are no business of the host\'s', () => {
    const bare = createBare({ width: 64, engine })
    bare.program(program)
    bare.set({ rsi: AT.data })
    bare.run()
    expect(bare.get('rcx')).toBe(0x40n)
    // HLT alone.
    expect(bare.processor.counts.host).toBe(1)
  })

  it('are told to who listens, with the linear address', () => {
    const bare = createBare({ width: 64, engine })
    const heard: [number, bigint | undefined][] = []
    bare.processor.cpu.cacheOperation = (kind, address) => { heard.push([kind, address]) }
    bare.program(program)
    bare.set({ rsi: AT.data + 5, rcx: 0x3f })
    bare.run()
    expect(heard).toEqual([
      [CACHE.CLFLUSH, BigInt(AT.data + 5)], [CACHE.CLFLUSHOPT, BigInt(AT.data + 5)], [CACHE.CLWB, BigInt(AT.data + 5)],
    ])
  })

  it.each([
    ['clflush', '0f ae 3e'], ['clflushopt', '66 0f ae 3e'], ['clwb', '66 0f ae 36'],
  ])('%s faults as a load does', (_, code) => {
    const bare = createBare({ width: 64, engine })
    const at = AT.data + 0x1000
    bare.program(`48 31 c0 48 89 07 0f 01 3e ; xor rax,rax; mov [rdi],rax; invlpg [rsi]
      ${code} f4`)
    bare.set({ rsi: at, rdi: entryOf(at) })
    bare.run()
    expect(bare.events()[0]).toMatchObject({ vector: 14, error: 0, cr2: BigInt(at) })
  })
})
