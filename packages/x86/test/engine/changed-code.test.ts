/** Code that changes: by its own stores, by another processor's, by new mappings. */
import { describe, expect, it } from 'vitest'
import { CR3, CR4 } from '../../src/state.ts'
import { AT, PTE, createBare, entryOf } from './bare.ts'
import type { Bare } from './bare.ts'

const PAGE = 4096
const FAR = AT.code + 4 * PAGE

describe.each(['interp', 'jit'] as const)('the %s engine', (engine) => {
  const load = (text: string, at?: number): { bare: Bare; labels: ReadonlyMap<string, number> } => {
    const bare = createBare({ width: 64, engine })
    return { bare, labels: bare.program(text, at) }
  }
  /** Runs to HLT in slices, between which hot code is compiled. */
  const finish = (bare: Bare, slice = 150): void => {
    bare.processor.halted = false
    for (let i = 0; i < 1000 && !bare.processor.halted; i++) bare.processor.run(slice)
  }

  describe('self-modifying code', () => {
    it('sees a change of the next instruction', () => {
      const { bare } = load('c6 05 01 00 00 00 2a b0 00 f4 ; mov byte [rip+1],42; mov al,0')
      bare.run()
      expect(bare.get('rax')).toBe(42n)
    })

    it('sees a change in every round of a hot loop', () => {
      const { bare } = load(`
        b9 c8 00 00 00              ; mov ecx,200
        again: 88 0d [imm:rel32]    ; mov [imm],cl
        48 81 c3                    ; add rbx,imm32
        imm: 00 00 00 00
        ff c9 75 [again:rel8] f4`)
      finish(bare)
      expect(bare.get('rbx')).toBe(200n * 201n / 2n)
    })

    it('sees changes through REP MOVSB, PUSH and XMM stores', () => {
      const { bare } = load(`
        48 8d 3d [one:rel32] f3 a4  ; lea rdi,[one]; rep movsb
        one: 90 90 90
        48 8d 25 [two:rel32] 48 83 c4 08 50 ; lea rsp,[two]; add rsp,8; push rax
        two: 90 90 90 90 90 90 90 90
        0f 10 46 10 0f 11 05 [three:rel32] ; movups xmm0,[rsi+16]; movups [three],xmm0
        three: 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90 f4`)
      bare.poke(AT.data, 0x48, 0xff, 0xc3)
      bare.poke(AT.data + 19, 0x48, 0xff, 0xc3, ...new Array<number>(13).fill(0x90))
      bare.set({ rsi: AT.data, rcx: 3, rax: 0x9090_9090_90c3_ff48n })
      bare.run()
      expect(bare.get('rbx')).toBe(3n)
    })

    it('sees a change in another page that was hot', () => {
      const { bare } = load(
        'b9 64 00 00 00 again: ff d6 ff c9 75 [again:rel8] f4 ; mov ecx,100; again: call rsi; dec ecx'
      )
      bare.program('48 83 c3 01 c3 ; add rbx,1; ret', FAR)
      bare.set({ rsi: FAR })
      for (let i = 0; i < 3; i++) {
        bare.jump(AT.code)
        finish(bare)
      }
      expect(bare.get('rbx')).toBe(300n)
      bare.program('c6 46 03 05 eb [again:rel8] again: b9 64 00 00 00 eb [on:rel8] on: ff d6 ff c9 75 [on:rel8] f4'
        + '; mov byte [rsi+3],5', AT.code + 0x800)
      bare.jump(AT.code + 0x800)
      finish(bare)
      expect(bare.get('rbx')).toBe(800n)
    })

    it.each([0xffd, 0xfff, 0x1000])('sees a change at +%i of an instruction over two pages', (at) => {
      const { bare } = load('')
      // mov eax,imm32 from 0xffd to 0x1001; ret
      bare.program('b8 00 00 00 00 c3', FAR + 0xffd)
      bare.program('b9 64 00 00 00 again: ff d6 ff c9 75 [again:rel8] f4')
      bare.set({ rsi: FAR + 0xffd })
      finish(bare)
      expect(bare.get('rax')).toBe(0n)
      bare.program(`b3 ${at === 0xffd ? 'b9' : '07'} 88 1f b9 64 00 00 00 again: ff d6 ff c9 75 [again:rel8] f4`
        + '; mov bl,..; mov [rdi],bl')
      bare.set({ rdi: FAR + at, rdx: 0 })
      bare.jump(AT.code)
      if (at === 0xffd) {
        // mov ecx,0: the loop's counter wraps to ffffffffh, so one round is enough.
        bare.processor.run(6)
        expect(bare.get('rcx')).toBe(0n)
        return
      }
      finish(bare)
      expect(bare.get('rax')).toBe(7n << BigInt((at - 0xffe) * 8))
    })

    it('leaves the other blocks of the page alone', () => {
      const { bare, labels } = load('eb [on:rel8] data: 00 on: 88 0d [data:rel32] ff c9 75 [on:rel8] f4')
      bare.set({ rcx: 500 })
      finish(bare)
      expect(bare.peek(labels.get('data') as number, 1)).toBe(1n)
      expect(bare.processor.counts.translated).toBeLessThan(10)
    })
  })

  describe('code changed by another processor', () => {
    it('runs as changed from the next slice on', () => {
      const bare = createBare({ width: 64, engine, processors: 2 })
      bare.program('again: 48 83 c3 01 eb [again:rel8] ; add rbx,1; jmp again')
      bare.program('c6 06 05 f4 ; mov byte [rsi],5; hlt', FAR)
      const [first, second] = bare.processors
      for (let i = 0; i < 4; i++) first.run(100)
      expect(bare.get('rbx')).toBe(200n)
      second.activate()
      bare.set({ rsi: AT.code + 3 })
      bare.jump(FAR)
      expect(second.run(100)).toBe(2)
      first.run(100)
      expect(bare.get('rbx')).toBe(200n + 250n)
    })

    it('and each processor has its own translations', () => {
      const bare = createBare({ width: 64, engine, processors: 2 })
      bare.program('48 8b 06 f4 ; mov rax,[rsi]; hlt')
      bare.poke64(AT.data, 1n)
      bare.poke64(AT.data + PAGE, 2n)
      for (const [i, processor] of bare.processors.entries()) {
        processor.activate()
        bare.set({ rsi: AT.data })
        if (i === 1) bare.poke64(entryOf(AT.data), BigInt(AT.data + PAGE) | 3n)
        processor.run(10)
        expect(bare.get('rax')).toBe(BigInt(i + 1))
      }
    })
  })

  describe('a code page mapped elsewhere', () => {
    const one = 'b3 01 c3 ; mov bl,1; ret'
    const two = 'b3 02 c3'

    it('runs the new page after INVLPG', () => {
      const { bare } = load(`
        b9 64 00 00 00 again: ff d6 ff c9 75 [again:rel8]
        48 89 07 0f 01 3e           ; mov [rdi],rax; invlpg [rsi]
        ff d6 f4                    ; call rsi; hlt`)
      bare.program(one, FAR)
      bare.program(two, FAR + PAGE)
      bare.set({ rsi: FAR, rdi: entryOf(FAR), rax: BigInt(FAR + PAGE) | 3n })
      finish(bare)
      expect(bare.get('rbx')).toBe(2n)
    })

    it.each([0n, PTE.G])('runs as each CR3 maps it (PTE bits %i)', (bits) => {
      const { bare } = load(`
        41 b8 64 00 00 00           ; mov r8d,100
        again: 0f 22 d8 ff d6 00 1f 48 ff c7   ; mov cr3,rax; call rsi; add [rdi],bl; inc rdi
        0f 22 da ff d6 00 1f 48 ff c7          ; mov cr3,rdx; …
        41 ff c8 75 [again:rel8] f4`)
      if (bits !== 0n) bare.setState(CR4, bare.processor.cpu.views.u64[CR4 >>> 3] | 0x80n)
      bare.program(one, FAR)
      bare.program(two, FAR + PAGE)
      // The second space: copies of all four tables, but for FAR.
      const other = 0x60_000
      const bytes = new Uint8Array(0x4000)
      bare.memory.read(AT.tables, bytes)
      bare.memory.write(other, bytes)
      for (let i = 0; i < 3; i++) bare.poke64(other + i * PAGE, BigInt(other + (i + 1) * PAGE) | 7n)
      bare.poke64(other + entryOf(FAR) - AT.tables, BigInt(FAR + PAGE) | 3n | bits)
      bare.poke64(entryOf(FAR), BigInt(FAR) | 3n | bits)
      bare.set({ rax: AT.tables, rdx: other, rsi: FAR, rdi: AT.data })
      finish(bare)
      const seen = Array.from({ length: 200 }, (_, i) => Number(bare.peek(AT.data + i, 1)))
      // Global pages may outlive the switch; others may not.
      if (bits === 0n) expect(seen).toEqual(seen.map((_, i) => (i % 2) + 1))
      else expect(seen.every((n) => n === 1 || n === 2)).toBe(true)
      expect(bare.processor.cpu.views.u64[CR3 >>> 3]).toBe(BigInt(other))
    })

    it('an instruction over two pages follows its second page', () => {
      const { bare } = load(`
        b9 64 00 00 00 again: ff d6 ff c9 75 [again:rel8]
        48 89 07 0f 01 3a           ; mov [rdi],rax; invlpg [rdx]
        ff d6 f4`)
      bare.program('48 c7 c3 01 00 00 00 c3 ; mov rbx,1; ret', FAR + 0xffd)
      bare.program('02 00 00 00 c3', FAR + 3 * PAGE)
      bare.set({ rsi: FAR + 0xffd, rdx: FAR + PAGE, rdi: entryOf(FAR + PAGE), rax: BigInt(FAR + 3 * PAGE) | 3n })
      finish(bare)
      expect(bare.get('rbx')).toBe(2n)
    })

    it('faults at the second page with its address, and restarts', () => {
      const { bare } = load('')
      bare.program('48 c7 c3 01 00 00 00 f4', FAR + 0xffd)
      bare.poke64(entryOf(FAR + PAGE), 0n)
      bare.jump(FAR + 0xffd)
      bare.run()
      expect(bare.events()).toEqual([{ vector: 14, error: 0x10, rip: BigInt(FAR + 0xffd), cr2: BigInt(FAR + PAGE) }])
    })
  })
})
