/** A processor's registers as a record: how a loader's start state gets in, and how the present state gets out. */
import {
  CPL, CR0, CR3, CR4, EFER, GDTR, GPR, IDTR, SEG, SEG_BASE, SEG_SIZE,
} from '../state.ts'
import type { Processor } from './processor-types.ts'

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
const CONTROL = [['cr0', CR0], ['cr3', CR3], ['cr4', CR4], ['efer', EFER]] as const

/** The general registers by name. */
export type Registers = Readonly<Record<(typeof GPR_NAMES)[number], bigint>>

/** What a kernel's entry defines, and a debugger looks at first. Control registers as the manuals have them. */
export interface ProcessorState {
  /** Those that are left out are 0. */
  readonly registers: Partial<Registers>
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
  for (const [name, at] of CONTROL) u64[at >>> 3] = state[name]
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

/** The state of a processor that is not running. Loading it again changes nothing. */
export function saveState(processor: Processor): ProcessorState & { readonly registers: Registers } {
  processor.activate()
  const { cpu } = processor
  const { u16, u32, u64 } = cpu.views
  const table = (at: number): ProcessorState['gdtr'] => ({ base: u64[(at + 8) >>> 3], limit: u32[at >>> 2] })
  const segment = (n: number): SegmentImage => {
    const at = SEG + n * SEG_SIZE
    return {
      selector: u16[at >>> 1], attributes: u16[(at + 2) >>> 1],
      limit: u32[(at + 4) >>> 2], base: u64[(at + SEG_BASE) >>> 3],
    }
  }
  const [cr0, cr3, cr4, efer] = CONTROL.map(([, at]) => u64[at >>> 3])
  return {
    registers: Object.fromEntries(GPR_NAMES.map((name, n) => [name, u64[(GPR >>> 3) + n]])) as Registers,
    rip: BigInt.asUintN(64, cpu.rip()), rflags: BigInt(cpu.getFlags() >>> 0), cr0, cr3, cr4, efer,
    gdtr: table(GDTR), idtr: table(IDTR),
    segments: Object.fromEntries(SEGMENT_NAMES.map((name, n) => [name, segment(n)])) as ProcessorState['segments'],
  }
}
