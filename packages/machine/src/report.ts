/** A processor's state in words, for a person who looks for why a guest ended. */
import { saveState, state } from '@cofferdam/x86'
import type { Processor, ProcessorState, Registers } from '@cofferdam/x86'
import { exceptionName } from './events.ts'
import type { ProcessorPlace } from './options.ts'
import type { Seat } from './processors.ts'

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0')

/** What a crash is read from. */
export interface RegisterView extends Omit<ProcessorState, 'registers' | 'segments'> {
  readonly registers: Registers
  readonly cr2: bigint
  /** Selectors. */
  readonly cs: number
  readonly ss: number
  readonly cpl: number
  /** For a person: `64-bit`. */
  readonly mode: string
}

/** The registers of a processor that is not running. */
export function registersOf(processor: Processor): RegisterView {
  const { segments: { cs, ss }, ...rest } = saveState(processor)
  return {
    ...rest, cr2: processor.cpu.views.u64[state.CR2 >>> 3], cs: cs.selector, ss: ss.selector,
    cpl: processor.privilege(), mode: `${processor.width() * 8}-bit`,
  }
}

/** Where a processor is, and whether it waits. */
export function placeOf({ processor, waiting }: Seat): ProcessorPlace {
  processor.activate()
  const running = `${processor.width() * 8}-bit, CPL ${processor.privilege()}${processor.halted ? ', halted' : ''}`
  return {
    cpu: processor.index, rip: BigInt.asUintN(64, processor.cpu.rip()),
    mode: waiting ? 'waits for a start-up IPI' : running,
  }
}

/** Lines of the general registers, as kernels print them. */
const ROWS = [
  ['rax', 'rbx', 'rcx'], ['rdx', 'rsi', 'rdi'], ['rbp', 'r8', 'r9'], ['r10', 'r11', 'r12'], ['r13', 'r14', 'r15'],
] as const

/** The architectural state that a crash is read from, in lines. */
export function registerLines(cpu: number, view: RegisterView): string[] {
  const { registers, rip, rflags, cr0, cr2, cr3, cr4, efer, gdtr, idtr, cs, ss, cpl, mode } = view
  const table = ({ base, limit }: RegisterView['gdtr']): string => `${hex(base, 16)} limit ${hex(limit, 4)}`
  return [
    `cpu ${cpu}: RIP ${hex(cs, 4)}:${hex(rip, 16)} RFLAGS ${hex(rflags, 8)} ${mode}, CPL ${cpl}`,
    `RSP ${hex(ss, 4)}:${hex(registers.rsp, 16)}`,
    ...ROWS.map((row) => row.map((name) => `${name.toUpperCase().padEnd(3)} ${hex(registers[name], 16)}`).join(' ')),
    `CR0 ${hex(cr0, 16)} CR2 ${hex(cr2, 16)} CR3 ${hex(cr3, 16)}`,
    `CR4 ${hex(cr4, 16)} EFER ${hex(efer, 16)}`,
    `GDTR ${table(gdtr)} IDTR ${table(idtr)}`,
  ]
}

/** The same of a processor that is not running. */
export const stateLines = (processor: Processor): string[] => registerLines(processor.index, registersOf(processor))

/** Why a processor shut down, with exceptions by their names. */
export const shutdownMessage = ({ index, stopped }: Processor): string =>
  `vCPU ${index}: ${stopped.replace(/vector (\d+)/g, (_, vector: string) => exceptionName(Number(vector)))}`
