/** Stack, branch and string instructions outside 64-bit mode. */
import { describe, expect, it } from 'vitest'
import { CS } from '../../src/state.ts'
import { AT, createBare } from './bare.ts'
import type { Bare } from './bare.ts'

const real = (text: string, before?: (bare: Bare) => void): Bare => {
  const bare = createBare({ width: 16 })
  bare.program(text, AT.code + 0x100)
  before?.(bare)
  bare.run(1000)
  return bare
}

describe('the stack of real mode', () => {
  it('pushes and pops words and doublewords', () => {
    const bare = real(`
      b8 34 12              ; mov ax,1234h
      50                    ; push ax
      66 68 88 77 66 55     ; push dword 55667788h
      6a fb                 ; push -5
      5b 66 59 5a           ; pop bx; pop ecx; pop dx
      f4                    ; hlt
    `)
    expect(bare.get('rbx')).toBe(0xfffbn)
    expect(bare.get('rcx')).toBe(0x5566_7788n)
    expect(bare.get('rdx') & 0xffffn).toBe(0x1234n)
    expect(bare.get('rsp')).toBe(0xfff0n)
  })

  it('wraps SP at 64 KiB and keeps the bits above', () => {
    const bare = real('50 f4 ; push ax; hlt', (b) => { b.set({ rax: 0xaa55, rsp: 0x1234_0000 }) })
    expect(bare.get('rsp')).toBe(0x1234_fffen)
    expect(bare.peek(AT.data + 0xfffe, 2)).toBe(0xaa55n)
  })

  it('calls and returns at the operand size', () => {
    const bare = real(`
      e8 [near:rel16]       ; call near
      66 e8 [wide:rel32]    ; call dword wide
      f4
      near: b3 07 c2 00 00  ; mov bl,7; ret 0
      wide: 66 59 66 51     ; pop ecx; push ecx
      66 c3                 ; ret dword
    `)
    expect(bare.get('rbx') & 0xffn).toBe(7n)
    expect(bare.get('rcx')).toBe(0x109n)
    expect(bare.get('rsp')).toBe(0xfff0n)
  })

  it('LEAVE takes BP at the stack width and pops at the operand size', () => {
    const bare = real('66 c9 f4 ; leave dword; hlt', (b) => {
      b.set({ rbp: 0xffff_0080 })
      b.poke(AT.data + 0x80, 0x44, 0x33, 0x22, 0x11)
    })
    expect(bare.get('rbp')).toBe(0x1122_3344n)
    expect(bare.get('rsp')).toBe(0x84n)
  })

  it('POP to memory at SS:[ESP] uses ESP after the pop', () => {
    const bare = real('67 36 8f 44 24 02 f4 ; pop word ss:[esp+2]; hlt', (b) => {
      b.set({ rsp: 0x100 })
      b.poke(AT.data + 0x100, 0xcd, 0xab)
    })
    expect(bare.peek(AT.data + 0x104, 2)).toBe(0xabcdn)
    expect(bare.get('rsp')).toBe(0x102n)
  })
})

describe('branches of real mode', () => {
  it('LOOP counts CX, with 67h ECX, and keeps what lies above', () => {
    const bare = real(`
      again: 40 e2 [again:rel8]     ; inc ax; loop again
      66 b9 03 00 00 00             ; mov ecx,3
      wide: 43 67 e2 [wide:rel8]    ; inc bx; loop (ecx)
      f4
    `, (b) => { b.set({ rcx: 0xffff_0005 }) })
    expect(bare.get('rax')).toBe(5n)
    expect(bare.get('rbx')).toBe(3n)
    expect(bare.get('rcx')).toBe(0n)
  })

  it('an indirect jump is cut to the operand size', () => {
    const bare = real('ff e0 f4 f4 f4 ; jmp ax', (b) => { b.set({ rax: 0xffff_0104 }) })
    expect(bare.rip()).toBe(0x105n)
  })

  it('a 16-bit jump wraps IP at 64 KiB', () => {
    const bare = createBare({ width: 16 })
    bare.program('eb 10 ; jmp +16', AT.code + 0xfff4)
    bare.program('f4', AT.code + 6)
    bare.jump(0xfff4)
    bare.run(10)
    expect(bare.rip()).toBe(7n)
  })

  it('a 32-bit jump beyond the limit raises #GP at the jump', () => {
    const bare = createBare({ width: 16 })
    bare.program('66 e9 00 00 01 00 ; jmp dword +10000h', AT.code + 0x100)
    bare.poke(13 * 4, 0x00, 0x05, 0x00, 0x01)
    bare.program('f4', 0x1500)
    bare.run(10)
    expect(bare.segment(CS).selector).toBe(0x100)
    expect(bare.peek(AT.data + 0xfff0 - 6, 2)).toBe(0x100n)
  })

  it('running past the limit raises #GP', () => {
    const bare = createBare({ width: 16 })
    bare.program('90 90', AT.code + 0xfffe)
    bare.poke(13 * 4, 0x00, 0x05, 0x00, 0x01)
    bare.program('f4', 0x1500)
    bare.jump(0xfffe)
    expect(bare.run(100)).toBe(4)
    expect(bare.segment(CS).selector).toBe(0x100)
  })
})

describe('string instructions of real mode', () => {
  it('REP MOVSB wraps SI and DI and obeys a segment override', () => {
    const bare = real('f3 26 a4 f4 ; rep movsb es:[di],es:[si]; hlt', (b) => {
      b.set({ rcx: 4, rsi: 0xfffe, rdi: 0x2000 })
      b.poke(AT.data + 0xfffe, 1, 2)
      b.poke(AT.data, 3, 4)
    })
    expect(bare.peek(AT.data + 0x2000, 4)).toBe(0x0403_0201n)
    expect(bare.get('rsi')).toBe(2n)
    expect(bare.get('rcx')).toBe(0n)
  })

  it('REPNE SCASB stops at the byte, REPE CMPSW at the difference, both with the flags of the comparison', () => {
    const bare = real('f2 ae 74 01 f4 b9 05 00 bf 00 10 f3 a7 f4'
      + '; repne scasb; jz +1; hlt; mov cx,5; mov di,1000h; repe cmpsw; hlt', (b) => {
      b.set({ rax: 0x33, rcx: 9, rdi: 0x100, rsi: 0x200 })
      b.poke(AT.data + 0x100, 0x11, 0x22, 0x33, 0x44)
      b.poke(AT.data + 0x200, 1, 0, 2, 0, 3, 0)
      b.poke(AT.data + 0x1000, 1, 0, 2, 0, 4, 0)
    })
    expect(bare.get('rcx')).toBe(2n)
    expect(bare.get('rdi')).toBe(0x1006n)
    expect(bare.flags() & 1).toBe(1)
  })

  it('STOS and LODS go downwards with DF', () => {
    const bare = real('fd 66 ab ad f4 ; std; stosd; lodsw; hlt', (b) => {
      b.set({ rax: 0x1122_3344, rdi: 0x100, rsi: 0x102 })
    })
    expect(bare.get('rdi')).toBe(0xfcn)
    expect(bare.get('rsi')).toBe(0x100n)
    expect(bare.get('rax')).toBe(0x1122_1122n)
  })
})

describe('strings of 64-bit mode that the host runs', () => {
  it('67h uses ESI, EDI and ECX and clears their upper halves', () => {
    const bare = createBare({ width: 64 })
    bare.program('67 f3 a5 f4 ; rep movsd with 32-bit addresses; hlt')
    bare.set({ rcx: 0xffff_ffff_0000_0002n, rsi: BigInt(AT.data) | (1n << 40n), rdi: AT.data + 0x100 })
    bare.poke64(AT.data, 0x8877_6655_4433_2211n)
    bare.run(100)
    expect(bare.peek(AT.data + 0x100, 8)).toBe(0x8877_6655_4433_2211n)
    expect(bare.get('rcx')).toBe(0n)
    expect(bare.get('rsi')).toBe(BigInt(AT.data + 8))
  })

  it('FS is added to the source and not to the destination', () => {
    const bare = createBare({ width: 64 })
    bare.program('b9 00 01 00 c0 b8 00 02 00 00 31 d2 0f 30 64 a4 f4 ; wrmsr FS.base = 200h; movsb fs:; hlt')
    bare.set({ rsi: AT.data, rdi: AT.data + 0x100 })
    bare.poke(AT.data + 0x200, 0x5a)
    bare.run(100)
    expect(bare.peek(AT.data + 0x100, 1)).toBe(0x5an)
  })
})

describe('bit tests with 16- and 32-bit addresses', () => {
  it('BTS far outside its operand wraps at the address size', () => {
    const bare = real('0f ab 07 f4 ; bts [bx],ax; hlt', (b) => { b.set({ rax: 0xfff0, rbx: 1 }) })
    // Bit −16 is one word below, at offset FFFFh: a word there lies beyond the limit.
    expect(bare.get('rbx')).toBe(1n)
    const inside = real('0f ab 07 f4 ; bts [bx],ax; hlt', (b) => { b.set({ rax: 0xfff0, rbx: 0x10 }) })
    expect(inside.peek(AT.data + 0x0e, 2)).toBe(1n)
  })
})

describe('RCL and RCR', () => {
  const rotate = (
    bytes: string, rax: bigint, rcx: number, carry: boolean,
  ): { value: bigint; carry: boolean; overflow: boolean } => {
    const bare = createBare({ width: 64 })
    bare.program(`${carry ? 'f9' : 'f8'} ${bytes} f4`)
    bare.set({ rax, rcx })
    bare.run(100)
    return { value: bare.get('rax'), carry: (bare.flags() & 1) !== 0, overflow: (bare.flags() & 0x800) !== 0 }
  }

  it('rotate through the carry, of which the count is taken modulo one bit more than the operand', () => {
    expect(rotate('d2 d0', 0x80n, 1, true)).toEqual({ value: 1n, carry: true, overflow: true })
    expect(rotate('d2 d0', 0x81n, 9, true).value).toBe(0x81n)
    expect(rotate('66 d3 d0', 0x8001n, 17, true).value).toBe(0x8001n)
    expect(rotate('d3 d0', 0x8000_0001n, 31, false).value).toBe(0xa000_0000n)
    expect(rotate('48 d3 d0', 0x8000_0000_0000_0001n, 1, true)).toEqual({ value: 3n, carry: true, overflow: true })
    expect(rotate('48 d3 d8', 1n, 1, false)).toEqual({ value: 0n, carry: true, overflow: false })
    expect(rotate('48 d3 d8', 1n, 63, true).value).toBe(0x6n)
    expect(rotate('48 d3 d0', 5n, 0, true)).toEqual({ value: 5n, carry: true, overflow: false })
  })
})

describe('segments of protected mode', () => {
  it('an access that ends beyond the limit raises #GP(0) and changes nothing', () => {
    const bare = createBare({ width: 32 })
    bare.poke64(AT.gdt + 0x48, 0x0040_9200_0000_0fffn)
    const labels = bare.program(`
      66 b8 48 00 8e e0         ; mov ax,48h; mov fs,ax
      64 8b 1d fc 0f 00 00      ; mov ebx,fs:[0ffch]: the last doubleword
      fault: 64 8b 1d fd 0f 00 00 ; mov ebx,fs:[0ffdh]: one byte too far
    `)
    bare.set({ rbp: 0, rbx: 0x77 })
    bare.poke64(0xffc, 0x1234_5678n)
    bare.run(100)
    expect(bare.events()).toMatchObject([{ vector: 13, error: 0, rip: BigInt(labels.get('fault') ?? 0) }])
    expect(bare.peek(AT.stack - 24, 4)).toBe(0x1234_5678n)
  })

  it('a push below an expand-down stack segment raises #SS(0)', () => {
    const bare = createBare({ width: 32 })
    // Expand-down, 32-bit: offsets above 2FFFFh.
    bare.poke64(AT.gdt + 0x48, 0x00c0_9600_0000_002fn)
    const labels = bare.program(`
      66 b8 48 00 8e d0         ; mov ax,48h; mov ss,ax
      bc 04 00 03 00 50         ; mov esp,30004h; push eax
      fault: 50                 ; push eax
    `)
    bare.run(100)
    // The handler cannot push either: #SS, #DF, shutdown. RIP stays at the second push.
    expect(bare.rip()).toBe(BigInt(labels.get('fault') ?? 0))
    expect(bare.processor.stopped).toContain('triple fault: vector 12')
  })
})
