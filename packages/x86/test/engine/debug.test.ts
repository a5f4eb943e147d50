/** Single-step and the breakpoints of DR0–DR3 (SDM vol. 3 §18.2, §18.3). */
import { describe, expect, it } from 'vitest'
import { DR } from '../../src/state.ts'
import { AT, createBare } from './bare.ts'
import type { Bare } from './bare.ts'

const BS = 0x4000n
const TF = 0x100
const DR7 = DR + 7 * 8

/** R/W and LEN fields of DR7, for breakpoint n, globally enabled. */
const enable = (n: number, kind: number, length = 0): bigint =>
  (2n << BigInt(n * 2)) | (BigInt(kind) << BigInt(16 + n * 4)) | (BigInt(length) << BigInt(18 + n * 4))
const EXECUTE = 0
const WRITE = 1
const PORT = 2
const ACCESS = 3

const breakAt = (bare: Bare, n: number, address: number, dr7: bigint): void => {
  bare.setState(DR + n * 8, BigInt(address))
  bare.setState(DR7, 0x400n | dr7)
}

describe.each(['interp', 'jit'] as const)('the %s engine', (engine) => {
  /** A program whose exceptions are recorded and returned from. */
  const load = (text: string, options: { cr4?: number } = {}): { bare: Bare; labels: ReadonlyMap<string, number> } => {
    const bare = createBare({ width: 64, engine, ...options })
    const labels = bare.program(text)
    bare.set({ r15: 1 })
    return { bare, labels }
  }
  /** Where #DB came from. */
  const traps = (bare: Bare): number[] =>
    bare.events().filter(({ vector }) => vector === 1).map(({ rip }) => Number(rip))
  /** A #DB handler that counts in R14, keeps DR6 in R13 and sets RF, so that the instruction runs. */
  const countBreakpoints = (bare: Bare): void => {
    bare.program('49 ff c6 50 0f 21 f0 49 89 c5 58 0f ba 6c 24 10 10 48 cf'
      + '; inc r14; push rax; mov rax,dr6; mov r13,rax; pop rax; bts [rsp+16],16; iretq', AT.handlers + 0x80)
  }

  describe('single-step', () => {
    it('traps after every instruction but the POPF that sets TF', () => {
      const { bare, labels } = load(`
        9c 80 4c 24 01 01 9d   ; pushf; or byte [rsp+1],1; popf
        one: 48 ff c0          ; inc rax
        two: eb [three:rel8]   ; jmp three
        90
        three: 9c              ; pushf
        four: 80 64 24 01 fe   ; and byte [rsp+1],0feh
        five: 9d               ; popf
        six: 48 ff c0          ; inc rax
        f4`)
      bare.run(1000)
      expect(traps(bare)).toEqual(['two', 'three', 'four', 'five', 'six'].map((name) => labels.get(name)))
      expect(bare.get('rax')).toBe(2n)
      expect(bare.debug(6) & BS).toBe(BS)
    })

    it('skips the instruction after MOV SS, and that alone', () => {
      const { bare, labels } = load(`
        8c d3                  ; mov ebx,ss
        start: 8e d3           ; mov ss,ebx
        90
        after: 90
        last: f4`)
      bare.set({ r15: 0 })
      bare.run(1)
      bare.setFlags(2 | TF)
      bare.run()
      expect(traps(bare)).toEqual([labels.get('after')])
    })

    it('ends with INT n, which pushes TF, and comes back with IRET', () => {
      const { bare, labels } = load('cd 30 here: 90 there: 90 f4')
      bare.setFlags(2 | TF)
      bare.run(1000)
      // Not in the handler, nor after IRET to `here` (which began with TF clear).
      expect(bare.events()[0].vector).toBe(0x30)
      expect(traps(bare).slice(0, 2)).toEqual([labels.get('there'), Number(labels.get('there')) + 1])
    })

    it('finds nothing after a fault, whose handler runs with TF clear', () => {
      const { bare } = load('0f 0b ; ud2')
      bare.setFlags(2 | TF)
      bare.set({ r15: 0 })
      bare.run(1000)
      expect(bare.events().map(({ vector }) => vector)).toEqual([6])
      expect(bare.flags() & TF).toBe(0)
    })

    it('traps after each round of a repetition', () => {
      const { bare } = load('f3 aa end: 90 f4 ; rep stosb')
      bare.set({ rcx: 3, rdi: AT.data })
      bare.setFlags(2 | TF)
      bare.run(4 + 3 * 40)
      expect(traps(bare).slice(0, 3)).toEqual([AT.code, AT.code, AT.code + 2])
    })

    it('wakes HLT', () => {
      const { bare } = load('f4 here: 90 f4')
      bare.setFlags(2 | TF)
      bare.run(5)
      expect(bare.processor.halted).toBe(false)
      expect(bare.rip()).toBeGreaterThan(BigInt(AT.handlers))
    })

    it('works in code that was run unstepped before', () => {
      const { bare } = load(
        'b9 64 00 00 00 again: 48 ff c0 ff c9 75 [again:rel8] f4 ; mov ecx,100; again: inc rax; dec ecx; jnz again'
      )
      bare.run(1000)
      bare.jump(AT.code)
      bare.set({ r15: 0 })
      bare.setFlags(2 | TF)
      bare.run(1000)
      expect(traps(bare)).toEqual([AT.code + 5])
    })
  })

  describe('instruction breakpoints', () => {
    const loop = `
      b9 0a 00 00 00           ; mov ecx,10
      again: 48 ff c0          ; inc rax
      here: 49 ff c0           ; inc r8
      ff c9 75 [again:rel8] f4 ; dec ecx; jnz again; hlt`

    it('fault before the instruction, once each time it is reached', () => {
      const { bare, labels } = load(loop)
      countBreakpoints(bare)
      breakAt(bare, 2, labels.get('here') as number, enable(2, EXECUTE))
      bare.run(1000)
      expect(bare.get('r14')).toBe(10n)
      expect(bare.get('r8')).toBe(10n)
      expect(bare.get('r13') & 0xfn).toBe(4n)
    })

    it('stop at code that was run before, and stop no more when disabled', () => {
      const { bare, labels } = load(loop)
      countBreakpoints(bare)
      for (let i = 0; i < 6; i++) {
        bare.jump(AT.code)
        bare.run(1000)
      }
      expect(bare.get('r14')).toBe(0n)
      breakAt(bare, 0, labels.get('here') as number, enable(0, EXECUTE))
      bare.jump(AT.code)
      bare.run(1000)
      expect(bare.get('r14')).toBe(10n)
      bare.setState(DR7, 0x400n)
      bare.jump(AT.code)
      bare.run(1000)
      expect(bare.get('r14')).toBe(10n)
      expect(bare.get('r8')).toBe(80n)
    })

    it('save the address of the instruction, which has not run', () => {
      const { bare, labels } = load(loop)
      breakAt(bare, 0, labels.get('here') as number, enable(0, EXECUTE))
      bare.set({ r15: 0 })
      bare.run(1000)
      expect(traps(bare)).toEqual([labels.get('here')])
      expect(bare.get('r8')).toBe(0n)
    })

    it('are reached from another page', () => {
      const { bare } = load('')
      countBreakpoints(bare)
      const far = bare.program(
        'b9 05 00 00 00 again: e8 [far:rel32] ff c9 75 [again:rel8] f4 ' + '00 '.repeat(0x1000) + ' far: c3'
      ).get('far') as number
      bare.run(1000)
      bare.jump(AT.code)
      breakAt(bare, 0, far, enable(0, EXECUTE))
      bare.run(1000)
      expect(bare.get('r14')).toBe(5n)
    })

    it('stop a page-crossing instruction in either page', () => {
      const { bare } = load(loop)
      countBreakpoints(bare)
      bare.program(
        'b9 32 00 00 00 again: 48 05 01 00 00 00 ff c9 75 [again:rel8] f4 ; mov ecx,50; again: add rax,1; dec ecx',
        AT.code + 0xff8,
      )
      breakAt(bare, 0, AT.code + 0x1003, enable(0, EXECUTE))
      bare.jump(AT.code + 0xff8)
      bare.run(10_000)
      expect([bare.get('rax'), bare.get('r14')]).toEqual([50n, 50n])
    })

    it('do not hit again within a repetition', () => {
      const { bare } = load('f3 aa f4 ; rep stosb')
      countBreakpoints(bare)
      bare.set({ rcx: 20, rdi: AT.data })
      breakAt(bare, 0, AT.code, enable(0, EXECUTE))
      bare.run(1000)
      expect(bare.get('r14')).toBe(1n)
      expect(bare.get('rcx')).toBe(0n)
    })
  })

  describe('data breakpoints', () => {
    const at = AT.data + 0x104

    it('trap after the instruction that wrote, with every engine and operand', () => {
      const { bare, labels } = load(`
        b9 c8 00 00 00             ; mov ecx,200
        again: 89 0e               ; mov [rsi],ecx
        after: 48 ff c0            ; inc rax
        ff c9 75 [again:rel8] f4   ; dec ecx; jnz again`)
      bare.set({ rsi: at })
      bare.run(1000)
      bare.jump(AT.code)
      bare.set({ r15: 0 })
      breakAt(bare, 1, at, enable(1, WRITE, 3))
      bare.run(1000)
      expect(traps(bare)).toEqual([labels.get('after')])
      expect(bare.debug(6) & 0xfn).toBe(2n)
      expect(bare.peek(at, 4)).toBe(200n)
    })

    it('of the stack that their handler is entered on retire nothing beyond the end of a slice', () => {
      const { bare, labels } = load('89 0e after: 90 f4   ; mov [rsi],ecx')
      bare.set({ rsi: at })
      breakAt(bare, 0, at, 0n)
      breakAt(bare, 1, Number(bare.get('rsp') & ~15n) - 8, enable(0, WRITE, 3) | enable(1, WRITE, 3))
      expect(bare.run(1)).toBe(1)
      bare.run(1000)
      // The second trap is the first one's entry into its handler.
      expect(traps(bare)).toHaveLength(2)
      expect(traps(bare)).toContain(labels.get('after'))
    })

    it('tell reads from writes, and what lies beside', () => {
      const { bare } = load(`
        8b 06                      ; mov eax,[rsi]
        89 46 04                   ; mov [rsi+4],eax
        88 46 ff                   ; mov [rsi-1],al
        66 89 46 ff                ; mov [rsi-1],ax
        90 f4`)
      bare.set({ rsi: at })
      breakAt(bare, 0, at, enable(0, WRITE, 3))
      bare.run(1000)
      expect(traps(bare)).toEqual([AT.code + 12])
      bare.jump(AT.code)
      breakAt(bare, 0, at, enable(0, ACCESS, 3))
      bare.run(1000)
      expect(traps(bare).slice(1)).toEqual([AT.code + 2, AT.code + 12])
    })

    it('see the stack words of CALL and RET, with the target as the saved address', () => {
      const { bare, labels } = load('e8 [sub:rel32] back: 90 f4 sub: c3')
      // The frames of the handler stay below.
      const slot = AT.stack - 0x200
      bare.set({ rsp: slot + 8 })
      breakAt(bare, 0, slot, enable(0, ACCESS, 2))
      bare.run(1000)
      expect(traps(bare)).toEqual([labels.get('sub'), labels.get('back')])
    })

    it('see accesses that cross into their page', () => {
      const { bare } = load('48 89 06 90 f4 ; mov [rsi],rax')
      bare.set({ rsi: AT.data + 0xffc })
      breakAt(bare, 3, AT.data + 0x1000, enable(3, WRITE, 3))
      bare.run(1000)
      expect(traps(bare)).toEqual([AT.code + 3])
      expect(bare.debug(6) & 0xfn).toBe(8n)
    })

    it('stop a repetition after the round that hit', () => {
      const { bare } = load('f3 aa f4 ; rep stosb')
      bare.set({ rcx: 100, rdi: AT.data, r15: 0 })
      breakAt(bare, 0, AT.data + 10, enable(0, WRITE))
      bare.run(1000)
      expect(traps(bare)).toEqual([AT.code])
      expect(bare.get('rcx')).toBe(89n)
    })

    it('wait for the instruction after MOV SS', () => {
      const { bare } = load('8e 16 90 90 f4 ; mov ss,[rsi]')
      bare.poke(at, 0x10, 0)
      bare.set({ rsi: at })
      breakAt(bare, 0, at, enable(0, ACCESS, 1))
      bare.run(1000)
      expect(traps(bare)).toEqual([AT.code + 3])
    })

    it('forget what a faulting instruction had read', () => {
      const { bare } = load('ff 36 ; push [rsi]')
      bare.set({ rsi: at, rsp: 0x7fff_0000_0000, r15: 0 })
      breakAt(bare, 0, at, enable(0, ACCESS, 3))
      bare.run(3)
      expect(traps(bare)).toEqual([])
      expect(bare.debug(6) & 0xfn).toBe(0n)
    })
  })

  describe('port breakpoints', () => {
    it.each([[8, [1]], [0, []]])('with CR4.DE as in %i', (cr4, expected) => {
      const { bare } = load('e6 80 90 e6 81 90 f4 ; out 80h,al; out 81h,al', { cr4 })
      breakAt(bare, 0, 0x81, enable(0, PORT))
      bare.run(1000)
      expect(bare.events().map(({ vector }) => vector)).toEqual(expected)
      if (cr4 !== 0) expect(traps(bare)).toEqual([AT.code + 5])
      expect(bare.ports).toEqual([[0x80, 1], [0x81, 1]])
    })
  })

  it('general detect faults before a debug register is touched', () => {
    const { bare } = load('90 0f 21 f0 f4 ; mov rax,dr6')
    bare.set({ r15: 0 })
    bare.setState(DR7, 0x2400n)
    bare.run(1000)
    expect(traps(bare)).toEqual([AT.code + 1])
    expect(bare.debug(6) & 0x2000n).toBe(0x2000n)
    expect(bare.debug(7) & 0x2000n).toBe(0n)
  })
})

describe('outside 64-bit mode', () => {
  /** Real mode, with a #DB handler at 0:500h that counts in SI and whose 16-bit IRET leaves RF alone. */
  const real = (): Bare => {
    const bare = createBare({ width: 16 })
    bare.poke(4, 0x00, 0x05, 0x00, 0x00)
    bare.program('46 90 90 90 90 cf ; inc si; nop; nop; nop; nop; iret', 0x500)
    bare.program('40 89 1e 00 01 40 f4 ; inc ax; mov [100h],bx; inc ax', AT.code + 0x100)
    return bare
  }

  it('real mode single-steps', () => {
    const bare = real()
    bare.setFlags(2 | TF)
    // Two instructions with a handler of six between them, and the second's handler begun.
    bare.run(9)
    expect(bare.get('rsi')).toBe(2n)
  })

  it('data breakpoints go by linear addresses', () => {
    const bare = real()
    breakAt(bare, 0, AT.data + 0x100, enable(0, WRITE, 1))
    bare.run(100)
    expect([bare.get('rsi'), bare.get('rax')]).toEqual([1n, 2n])
  })

  it('so do instruction breakpoints, which a 16-bit IRET never passes', () => {
    const bare = real()
    breakAt(bare, 0, AT.code + 0x105, enable(0, EXECUTE))
    bare.run(72)
    // After two instructions: the fault and six instructions, ten times.
    expect([bare.get('rsi'), bare.get('rax')]).toEqual([10n, 1n])
    expect(bare.rip()).toBe(0x105n)
  })

  it('protected mode', () => {
    const bare = createBare({ width: 32 })
    const labels = bare.program(
      'b8 64 00 00 00 again: 83 e8 01 75 [again:rel8] here: 40 89 06 next: f4 ; sub eax,1; jnz; inc eax; mov [esi],eax'
    )
    bare.set({ rbp: 1, rsi: AT.data })
    bare.setState(DR + 8, BigInt(AT.data))
    bare.setState(DR7, 0x400n | enable(1, ACCESS, 3))
    bare.run(1000)
    expect(bare.events().map(({ vector, rip }) => [vector, Number(rip & 0xffff_ffffn)]))
      .toEqual([[1, labels.get('next')]])
  })
})
