/** What the engine's TLBs may and may not do. */
import { describe, expect, it } from 'vitest'
import { hotForms } from '../../src/index.ts'
import { AT, PTE, createBare, entryOf } from './bare.ts'

describe.each([['cold', []], ['hot', hotForms]] as const)('pages of the same TLB index, %s forms', (_name, forms) => {
  /** 16 MiB above: the same bits 23:12. */
  const TWIN = 0x100_0000
  const twins = (): ReturnType<typeof createBare> => {
    const bare = createBare({ width: 64, ramBytes: 2 ** 25, hotForms: forms })
    bare.poke64(AT.data, 0x1122_3344_5566_7788n)
    return bare
  }

  it('one instruction copies between them', () => {
    const bare = twins()
    bare.program('48 a5 f3 a4 ff 36 8f 07 f4 ; movsq; rep movsb; push [rsi]; pop [rdi]; hlt')
    bare.set({ rsi: AT.data, rdi: AT.data + TWIN, rcx: 5000, rsp: AT.data + TWIN + 0x2800 })
    bare.run(10_000)
    expect(bare.peek(AT.data + TWIN, 8)).toBe(0x1122_3344_5566_7788n)
    expect(bare.get('rcx')).toBe(0n)
  })

  it('one instruction compares them', () => {
    const bare = twins()
    bare.poke64(AT.data + TWIN, 0x1122_3344_5566_7788n)
    bare.program('f3 48 a7 f4 ; repe cmpsq; hlt')
    bare.set({ rsi: AT.data, rdi: AT.data + TWIN, rcx: 1000 })
    bare.run(2000)
    expect(bare.get('rcx')).toBe(0n)
    expect(bare.flags() & 0x40).toBe(0x40)
  })
})

describe('a changed page-table entry', () => {
  const read = '48 8b 06 ; mov rax,[rsi]'
  const scratch = AT.data + 0x1000
  const other = AT.data + 0x2000

  it('may be ignored until INVLPG, and must be seen after it', () => {
    const bare = createBare({ width: 64 })
    bare.program(`${read}
      48 89 1f                 ; mov [rdi],rbx
      0f 01 3e                 ; invlpg [rsi]
      48 8b 0e f4              ; mov rcx,[rsi]; hlt`)
    bare.poke64(scratch, 1n)
    bare.poke64(other, 2n)
    bare.set({ rsi: scratch, rdi: entryOf(scratch), rbx: BigInt(other) | PTE.P | PTE.W })
    bare.run()
    expect(bare.get('rax')).toBe(1n)
    expect(bare.get('rcx')).toBe(2n)
  })
})

describe.each(['interp', 'jit'] as const)('RAM that nobody has written, in the %s engine,', (engine) => {
  it('reads as zero without taking a frame, and as what is written there afterwards', () => {
    const bare = createBare({ width: 64, engine })
    const unused = 0x30_0000
    bare.program('again: 48 8b 06 48 8b 5e 08 48 89 0f 48 8b 16 48 ff c1 48 83 f9 40 75 [again:rel8] f4')
    for (const [to, expected] of [[AT.data, 0n], [unused, 0x3fn], [unused + 0x1000, 0n]] as const) {
      bare.jump(AT.code)
      bare.processor.halted = false
      bare.set({ rsi: unused, rdi: to, rcx: 0 })
      bare.run(10_000)
      expect(bare.get('rdx')).toBe(expected)
      expect(bare.memory.frameWord(unused >>> 12) >= 4096).toBe(to !== AT.data)
      bare.memory.fill(unused, 4096, 0)
    }
  })
})

describe('without paging', () => {
  it('no right of pages counts: SMAP and SMEP may be set, and user code reads and writes', () => {
    const bare = createBare({ width: 32, cr4: 0x30_0000 })
    bare.poke64(AT.data, 0x55n)
    bare.program('8b 06 89 07 f4 ; mov eax,[esi]; mov [edi],eax; hlt')
    bare.set({ rsi: AT.data, rdi: AT.data + 0x1000 })
    bare.run(10)
    expect(bare.get('rax')).toBe(0x55n)
    expect(bare.peek(AT.data + 0x1000, 4)).toBe(0x55n)
  })
})
