/** A tiny extension: an instruction, an MSR, a CPUID leaf, an exit and a guard; and code that uses none of it. */
import { describe, expect, it } from 'vitest'
import { GPR } from '../src/state.ts'
import { guestFault, held, LEAVE, raise, VECTOR } from '../src/index.ts'
import type { Extension, Processor } from '../src/index.ts'
import { createBare } from './engine/bare.ts'
import type { Bare, BareOptions } from './engine/bare.ts'

const MSR = 0x4b56_4d00
const LEAF = 0x4000_0010
/** The page that the guard keeps for itself. */
const KEPT = 0x3_f000

interface Tiny {
  readonly extension: Extension
  /** What VMCALL left with. */
  readonly exits: bigint[]
}

/** VMFUNC adds the MSR to RAX; VMCALL leaves the run loop with RAX; one page is nobody's. */
function createTiny(): Tiny {
  const exits: bigint[] = []
  const extension: Extension = {
    name: 'tiny',
    meanings: {
      vmfunc: (cpu) => { cpu.views.u64[GPR >>> 3] += cpu.system?.held.get(MSR) ?? 0n },
      vmcall: () => raise(LEAVE),
    },
    msrs: () => [held(MSR, 'TINY', { legal: 0xffn })],
    leaves: () => [[LEAF, (_system, subleaf, out) => { out[1] = 0x7469_6e79 + subleaf }]],
    attach: (processor, memory) => {
      memory.guards.push({ name: 'tiny', check: ({ page }) => (page === KEPT / 4096 ? 7 : 0) })
      processor.mmu.faults = {
        walk: () => undefined,
        guard: (verdict, _request, low) => {
          guestFault.vector = VECTOR.PF
          guestFault.errorCode = verdict << 16
          guestFault.address = BigInt(low >>> 0)
        },
      }
      processor.supervise(leavesByVmcall(processor, exits))
    },
  }
  return { extension, exits }
}

function leavesByVmcall(processor: Processor, exits: bigint[]): Parameters<Processor['supervise']>[0] {
  let pending = false
  return {
    get pending() { return pending },
    traps: false,
    settle() {
      pending = false
      exits.push(processor.cpu.views.u64[GPR >>> 3])
      processor.setRip(processor.cpu.rip() + 3n)
      processor.stop()
    },
    before: () => false,
    exception() {
      pending ||= guestFault.vector === LEAVE
      return guestFault.vector === LEAVE
    },
    nested: () => false,
    holds: () => 0,
    wants: (line) => line,
    wakes: (line, attention, open) => attention || (line && open),
    shutdown: () => false,
    snapshot: () => ({ pending }),
    restore(saved) { pending = saved.pending === true },
  }
}

const withTiny = (): Bare & Tiny => {
  const tiny = createTiny()
  return { ...createBare({ width: 64, extensions: [tiny.extension] }), ...tiny }
}

describe('an extension', () => {
  it('gives an instruction a meaning that had none', () => {
    const box = withTiny()
    box.program('b9 00 4d 56 4b b8 05 00 00 00 31 d2 0f 30 b8 64 00 00 00 0f 01 d4 f4'
      + '; wrmsr 5; mov eax,100; vmfunc; hlt')
    box.run()
    expect(box.get('rax')).toBe(105n)
    expect(box.events()).toEqual([])
  })

  it('has a register of its own, with its own rules', () => {
    const box = withTiny()
    box.program('b9 00 4d 56 4b b8 00 01 00 00 31 d2 0f 30')
    box.run()
    expect(box.events()).toMatchObject([{ vector: VECTOR.GP }])
  })

  it('answers a CPUID leaf', () => {
    const box = withTiny()
    box.program('b8 10 00 00 40 b9 02 00 00 00 0f a2 f4')
    box.run()
    expect(box.get('rbx')).toBe(0x7469_6e7bn)
  })

  it('takes the processor out of its run, and lets it go on', () => {
    const box = withTiny()
    box.program('b8 2a 00 00 00 0f 01 c1 ff c0 0f 01 c1 f4 ; mov eax,42; vmcall; inc eax; vmcall; hlt')
    expect(box.processor.run(100)).toBe(2)
    expect(box.processor.run(100)).toBe(2)
    expect(box.exits).toEqual([42n, 43n])
    expect(box.processor.run(100)).toBe(1)
    expect(box.processor.halted).toBe(true)
  })

  it('guards a page, and says what fault that is', () => {
    const box = withTiny()
    box.program('8b 04 25 00 f0 03 00 f4 ; mov eax,[3f000]')
    box.run()
    expect(box.events()).toMatchObject([{ vector: VECTOR.PF, error: 7 << 16, cr2: BigInt(KEPT) }])
  })

  it('that names no instruction is refused', () => {
    expect(() => createBare({ width: 64, extensions: [{ name: 'odd', meanings: { pvalidated: () => undefined } }] }))
      .toThrow('extension odd: there is no instruction pvalidated')
  })
})

describe('code that uses nothing of an extension', () => {
  const hotForms = ['add.8.ri.f', 'dec.4.r.f+jcc.4.?.c5', 'mov.4.ri']
  /** The modules that an engine compiles, and a processor with it. */
  const modulesOf = (options: Partial<BareOptions>): { bare: Bare; modules: Uint8Array[] } => {
    const modules: Uint8Array[] = []
    const real = WebAssembly.Module
    const recording = function (bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
      modules.push(bytes.slice())
      return new real(bytes)
    }
    WebAssembly.Module = recording as unknown as typeof WebAssembly.Module
    try {
      const bare = createBare({ width: 64, hotForms, ...options })
      bare.program(`
        b9 e8 03 00 00                 ; mov ecx,1000
        again: 48 83 c0 03             ; add rax,3
        48 89 04 25 00 00 02 00        ; mov [20000],rax
        ff c9 75 [again:rel8]          ; dec ecx; jnz again
        f4
      `)
      expect(bare.run()).toBe(4002)
      return { bare, modules }
    } finally {
      WebAssembly.Module = real
    }
  }

  it.each(['interp', 'jit'] as const)('runs through the same generated code, with the same counts (%s)', (engine) => {
    const plain = modulesOf({ engine })
    const extended = modulesOf({ engine, extensions: [createTiny().extension] })
    // Engines of one kind share their interpreter: what the second compiles itself are regions of this program.
    expect(extended.modules.length).toBe(engine === 'jit' ? 2 : 0)
    for (const bytes of extended.modules) expect(plain.modules).toContainEqual(bytes)
    expect(extended.bare.processor.counts).toEqual(plain.bare.processor.counts)
    expect(extended.bare.processor.mmu.misses).toBe(plain.bare.processor.mmu.misses)
    expect(extended.bare.get('rax')).toBe(3000n)
  })
})
