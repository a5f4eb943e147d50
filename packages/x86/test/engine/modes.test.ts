/** Mode switches, interrupt shadows and HLT. */
import { describe, expect, it } from 'vitest'
import { CR0, CS, EFER } from '../../src/state.ts'
import { AT, SEL, createBare } from './bare.ts'
import type { Bare } from './bare.ts'

const IF = 0x200
const le = (value: number, bytes: number): string =>
  Array.from({ length: bytes }, (_, i) => ((value >>> (8 * i)) & 0xff).toString(16).padStart(2, '0')).join(' ')

describe.each(['interp', 'jit'] as const)('the %s engine', (engine) => {
  describe('mode switches', () => {
    /** Real mode code at AT.code + 100h that goes up to long mode and comes back; EDI counts where it has been. */
    const tour = `
      fa 0f 01 16 00 10            ; cli; lgdt [1000h]
      0f 20 c0 0c 01 0f 22 c0      ; mov eax,cr0; or al,1; mov cr0,eax
      66 ea [protected:32] 18 00   ; jmp dword 18h:protected
      protected: b8 10 00 00 00 8e d8 8e d0 8e c0  ; mov eax,10h; mov ds,ax; mov ss,ax; mov es,ax
      83 c7 01                     ; add edi,1
      0f 20 e0 83 c8 20 0f 22 e0   ; mov eax,cr4; or eax,20h; mov cr4,eax
      b8 ${le(AT.tables, 4)} 0f 22 d8 ; mov cr3,eax
      b9 80 00 00 c0 0f 32 0d 00 01 00 00 0f 30    ; rdmsr efer; or eax,100h; wrmsr
      0f 20 c0 0d 00 00 00 80 0f 22 c0 ; or eax,80000000h; mov cr0,eax
      83 c7 10                     ; add edi,10h (compatibility mode)
      ea [long:32] 08 00           ; jmp 8:long
      long: 48 81 c7 00 01 00 00   ; add rdi,100h
      49 b8 88 77 66 55 44 33 22 11 ; mov r8,1122334455667788h
      ff 2d 00 00 00 00 [compat:32] 18 00 ; jmp far [rip] to 18h:compat
      compat: 81 c7 00 10 00 00    ; add edi,1000h
      0f 20 c0 25 ff ff ff 7f 0f 22 c0 ; and eax,7fffffffh; mov cr0,eax
      b9 80 00 00 c0 31 d2 31 c0 0f 30 ; wrmsr efer,0
      ea [narrow:32] 20 00         ; jmp 20h:narrow
      narrow: 0f 20 c0 24 fe 0f 22 c0 ; mov eax,cr0; and al,0feh; mov cr0,eax
      ea [real:16] 00 10           ; jmp 1000h:real - base
      real: 66 81 c7 00 00 01 00   ; add edi,10000h
      b8 ${le(AT.data >>> 4, 2)} 8e d8 ; mov ax,data; mov ds,ax
      f4`
    const prepare = (): Bare => {
      const bare = createBare({ width: 16, engine })
      const long = createBare({ width: 64 })
      const tables = new Uint8Array(0x4000)
      long.memory.read(AT.tables, tables)
      bare.memory.write(AT.tables, tables)
      const gdt = new Uint8Array(0x50)
      long.memory.read(AT.gdt, gdt)
      // LGDT reads at DS:1000h; the limit and base there, the table at AT.gdt.
      bare.memory.write(AT.gdt, gdt)
      bare.poke(AT.data + 0x1000, 0x4f, 0, ...new Uint8Array(Uint32Array.of(AT.gdt).buffer))
      return bare
    }
    const write = (bare: Bare): void => {
      const labels = bare.program(tour, AT.code + 0x100)
      // A 16-bit far jump takes the offset in its segment.
      const jump = (labels.get('real') as number) - 4
      const offset = (labels.get('real') as number) - AT.code
      bare.poke(jump, offset & 0xff, offset >>> 8)
    }

    it('lead from real mode to long mode and back, as often as wanted', () => {
      const bare = prepare()
      write(bare)
      for (let i = 1; i <= 40; i++) {
        bare.jump(0x100)
        bare.set({ rdi: 0 })
        bare.run(1000)
        expect(bare.get('rdi').toString(16)).toBe('11111')
        expect(bare.processor.width()).toBe(2)
      }
      expect(bare.get('r8')).toBe(0x1122_3344_5566_7788n)
      expect(bare.segment(CS).base).toBe(BigInt(AT.code))
      expect(bare.processor.cpu.views.u64[CR0 >>> 3] & 0x8000_0001n).toBe(0n)
      expect(bare.processor.cpu.views.u64[EFER >>> 3]).toBe(0n)
    })

    it('take the same number of instructions in slices of one', () => {
      const [whole, single] = [prepare(), prepare()]
      write(whole)
      write(single)
      whole.jump(0x100)
      single.jump(0x100)
      const count = whole.run(1000)
      let steps = 0
      for (single.processor.halted = false; !single.processor.halted; steps++) single.processor.run(1)
      expect(steps).toBe(count)
    })

    it('the same bytes mean what the code segment says', () => {
      // 48 ff c0: inc rax, or dec eax; inc eax.
      const bare = createBare({ width: 64, engine })
      const text = `b9 64 00 00 00 again: 48 ff c0 83 e9 01 75 [again:rel8]
        ff 2d 00 00 00 00 [next:32] ${le(SEL.code32, 2)}
        next: b9 64 00 00 00 80 3e 00 75 [out:rel8] c6 06 01 ea [again:32] ${le(SEL.code32, 2)} out: f4`
      const next = bare.program(text).get('next') as number
      // RIP-relative in 64-bit mode, address 0 in 32-bit mode.
      bare.program(`${le(next, 4)} ${le(SEL.code32, 2)}`, 0)
      bare.set({ rsi: AT.data })
      bare.run(10_000)
      expect(bare.get('rax')).toBe(100n)
    })
  })

  describe('interrupts', () => {
    const load = (text: string): Bare => {
      const bare = createBare({ width: 64, engine })
      bare.program(text)
      bare.set({ r15: 1 })
      return bare
    }
    const first = (bare: Bare): number => Number(bare.events()[0].rip) - AT.code

    it.each([100, 1])('wait for the instruction after STI (slices of %i)', (slice) => {
      const bare = load('90 fb 90 90 f4 ; nop; sti; nop; nop; hlt')
      bare.interrupt(0x20)
      for (let i = 0; i < 100; i++) bare.processor.run(slice)
      expect(bare.events().length).toBe(1)
      expect(first(bare)).toBe(3)
    })

    it.each([100, 1])('do not wait after an STI that changed nothing (slices of %i)', (slice) => {
      const bare = load('fb fb 90 90 f4')
      bare.processor.run(1)
      bare.processor.run(1)
      bare.interrupt(0x20)
      for (let i = 0; i < 100; i++) bare.processor.run(slice)
      expect(first(bare)).toBe(2)
    })

    it.each([100, 1])('wait for the instruction after MOV SS (slices of %i)', (slice) => {
      const bare = load('8c d3 8e d3 bc 00 00 03 00 90 f4 ; mov ebx,ss; mov ss,ebx; mov esp,30000h; nop')
      bare.processor.run(1)
      bare.setFlags(2 | IF)
      bare.processor.run(1)
      bare.interrupt(0x20)
      for (let i = 0; i < 100; i++) bare.processor.run(slice)
      expect(first(bare)).toBe(9)
    })

    it('STI; CLI lets none in', () => {
      const bare = load('fb fa 90 f4 ; sti; cli')
      bare.interrupt(0x20)
      bare.run(100)
      expect(bare.events()).toEqual([])
    })

    it('wake HLT, and return behind it', () => {
      const bare = load('fb f4 48 ff c0 f4 ; sti; hlt; inc rax; hlt')
      bare.run(100)
      expect(bare.processor.halted).toBe(true)
      expect(bare.processor.wakes()).toBe(false)
      bare.interrupt(0x21)
      expect(bare.processor.wakes()).toBe(true)
      bare.processor.run(100)
      expect(bare.events().map(({ vector, rip }) => [vector, Number(rip) - AT.code])).toEqual([[0x21, 2]])
      expect(bare.get('rax')).toBe(1n)
    })

    it('do not wake HLT with IF clear', () => {
      const bare = load('f4 90 f4')
      bare.run(100)
      bare.interrupt(0x21)
      expect(bare.processor.wakes()).toBe(false)
      expect(bare.processor.run(100)).toBe(0)
    })

    it('are taken between the parts of a repetition, which goes a page at a time', () => {
      const bare = load('f3 aa f4 ; rep stosb')
      bare.setFlags(2 | IF)
      bare.set({ rcx: 0x3000, rdi: AT.data + 0x800, rax: 0x5a })
      bare.processor.run(2)
      expect(bare.get('rcx')).toBe(0x1800n)
      bare.interrupt(0x20)
      bare.processor.run(1000)
      expect(first(bare)).toBe(0)
      expect(bare.get('rcx')).toBe(0n)
      expect(bare.peek(AT.data + 0x37ff, 1)).toBe(0x5an)
      expect(bare.peek(AT.data + 0x3800, 1)).toBe(0n)
    })

    it('find the same part done whether or not its page holds code', () => {
      const run = (touch: boolean): bigint => {
        const bare = load('f3 aa f4 ; rep stosb')
        if (touch) {
          bare.poke(AT.data, 0xf4)
          bare.processor.setRip(BigInt(AT.data))
          bare.processor.run(1)
          bare.processor.halted = false
          bare.processor.setRip(BigInt(AT.code))
        }
        bare.set({ rcx: 0x3000, rdi: AT.data + 0x800, rax: 0x5a })
        bare.processor.run(2)
        return bare.get('rcx')
      }
      expect(run(true)).toBe(run(false))
    })

    it('come after exactly the instructions of the slice before', () => {
      for (let n = 1; n < 40; n++) {
        const bare = load('again: 48 ff c0 48 ff c3 48 ff c1 eb [again:rel8]')
        bare.setFlags(2 | IF)
        bare.set({ r15: 0 })
        bare.processor.run(n)
        bare.interrupt(0x20)
        bare.processor.run(50)
        expect(first(bare)).toBe([0, 3, 6, 9][n % 4])
      }
    })
  })
})
