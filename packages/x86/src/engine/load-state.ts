/** Puts a processor into a given state: how a loader's start state gets into the registers. */
import {
  CPL, CR0, CR3, CR4, EFER, GDTR, GPR, IDTR, SEG, SEG_BASE, SEG_SIZE,
} from '../state.ts'
import type { Processor } from './processor.ts'

/** A segment register; attributes as in the VMCB. */
export interface SegmentImage {
  readonly selector: number
  readonly attributes: number
  readonly limit: number
  readonly base: bigint
}

const GPR_NAMES = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const
const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const

export interface ProcessorState {
  readonly registers: Partial<Record<(typeof GPR_NAMES)[number], bigint>>
  readonly rip: bigint
  readonly rflags: bigint
  readonly cr0: bigint
  readonly cr3: bigint
  readonly cr4: bigint
  readonly efer: bigint
  readonly gdtr: { readonly base: bigint; readonly limit: number }
  readonly idtr: { readonly base: bigint; readonly limit: number }
  readonly segments: Readonly<Record<(typeof SEGMENT_NAMES)[number], SegmentImage>>
}

/** Loads `state` into a processor that is not running. */
export function loadState(processor: Processor, state: ProcessorState): void {
  processor.activate()
  const { cpu } = processor
  const { u16, u32, u64, i32 } = cpu.views
  GPR_NAMES.forEach((name, n) => { u64[(GPR >>> 3) + n] = state.registers[name] ?? 0n })
  for (const [at, value] of [[CR0, state.cr0], [CR3, state.cr3], [CR4, state.cr4], [EFER, state.efer]] as const) u64[at >>> 3] = value
  for (const [at, table] of [[GDTR, state.gdtr], [IDTR, state.idtr]] as const) {
    u32[at >>> 2] = table.limit
    u64[(at + 8) >>> 3] = table.base
  }
  SEGMENT_NAMES.forEach((name, n) => {
    const at = SEG + n * SEG_SIZE
    const segment = state.segments[name]
    u16[at >>> 1] = segment.selector
    u16[(at + 2) >>> 1] = segment.attributes
    u32[(at + 4) >>> 2] = segment.limit
    u64[(at + SEG_BASE) >>> 3] = segment.base
  })
  i32[CPL >>> 2] = state.segments.cs.selector & 3
  cpu.setFlags(Number(state.rflags), 0x3f_7fd5)
  cpu.modeChanged()
  processor.setRip(state.rip)
}
