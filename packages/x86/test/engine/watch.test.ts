/** What a debugger outside of the guest may do, and that the guest sees nothing of it. */
import { describe, expect, it } from 'vitest'
import { AT, createBare } from './bare.ts'

const IF = 0x200
const start = (engine: 'interp' | 'jit'): ReturnType<typeof createBare> => {
  const bare = createBare({ width: 64, engine })
  bare.program('again: 48 ff c0 48 89 07 48 8b 0f eb [again:rel8]')
  bare.set({ rax: 0, rdi: AT.data })
  return bare
}

describe.each(['interp', 'jit'] as const)('a debugger of the %s engine', (engine) => {
  it('stops before a watched instruction, and goes on from there', () => {
    const bare = start(engine)
    bare.processor.run(4 * 1000 + 2)
    const watch = { kind: 'execute', address: BigInt(AT.code), length: 1 } as const
    bare.processor.watch([watch])
    for (let i = 1; i < 4; i++) {
      bare.processor.run(1000)
      expect(bare.processor.trapped).toEqual(watch)
      expect(bare.rip()).toBe(BigInt(AT.code))
      expect(bare.get('rax')).toBe(BigInt(1000 + i))
    }
    bare.processor.watch([])
    expect(bare.processor.run(1000)).toBe(1000)
    expect(bare.processor.trapped).toBeNull()
  })

  it('stops after an instruction that writes what is watched, or reads it', () => {
    const bare = start(engine)
    bare.processor.run(4 * 1000)
    const write = { kind: 'write', address: BigInt(AT.data), length: 8 } as const
    bare.processor.watch([write])
    bare.processor.run(1000)
    expect([bare.processor.trapped, bare.rip()]).toEqual([write, BigInt(AT.code + 6)])
    const access = { kind: 'access', address: BigInt(AT.data + 7), length: 1 } as const
    bare.processor.watch([access])
    bare.processor.run(1000)
    expect([bare.processor.trapped, bare.rip()]).toEqual([access, BigInt(AT.code + 9)])
  })

  it('leaves no trace in the debug registers, and lets the guest have its own breakpoint at the same place', () => {
    const bare = start(engine)
    bare.setState(0x880, BigInt(AT.code))
    bare.setState(0x880 + 7 * 8, 0x402n)
    bare.processor.watch([{ kind: 'execute', address: BigInt(AT.code), length: 1 }])
    bare.processor.run(100)
    expect(bare.processor.trapped).not.toBeNull()
    expect(bare.debug(6) & 0xfn).toBe(0n)
    bare.processor.run(100)
    expect(bare.events()[0]?.vector).toBe(1)
    expect(bare.debug(6) & 1n).toBe(1n)
  })

  it('steps one instruction at a time, while interrupts wait', () => {
    const bare = start(engine)
    bare.setFlags(2 | IF)
    bare.interrupt(0x20)
    const at = [3, 6, 9, 0, 3].map((offset) => BigInt(AT.code + offset))
    for (const rip of at) {
      expect(bare.processor.stepOne()).toBe(1)
      expect(bare.rip()).toBe(rip)
    }
    bare.processor.run(1)
    expect(bare.rip()).not.toBe(BigInt(AT.code + 6))
  })
})
