/** A processor's state in words, for a person who looks for why a guest ended. */
import { state } from '@cofferdam/x86'
import type { Processor } from '@cofferdam/x86'
import { exceptionName } from './events.ts'
import type { ProcessorPlace } from './options.ts'
import type { Seat } from './processors.ts'

const { CR0, CR2, CR3, CR4, CS, EFER, GDTR, GPR, IDTR, SEG, SEG_BASE, SEG_SIZE, SS } = state

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0')

/** Where a processor is, and whether it waits. */
export function placeOf({ processor, waiting }: Seat): ProcessorPlace {
  processor.activate()
  const running = `${processor.width() * 8}-bit, CPL ${processor.privilege()}${processor.halted ? ', halted' : ''}`
  return {
    cpu: processor.index, rip: processor.cpu.rip(), mode: waiting ? 'waits for a start-up IPI' : running,
  }
}

const NAMES = [
  'RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8 ', 'R9 ', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15',
]
/** Lines of the general registers, as kernels print them. */
const ROWS = [[0, 3, 1], [2, 6, 7], [5, 8, 9], [10, 11, 12], [13, 14, 15]]

/** The architectural state that a crash is read from, in lines. */
export function stateLines(processor: Processor): string[] {
  processor.activate()
  const { cpu } = processor
  const { u64, u32, u16 } = cpu.views
  const word = (address: number): string => hex(u64[address >>> 3], 16)
  const selector = (segment: number): string => hex(u16[(SEG + segment * SEG_SIZE) >>> 1], 4)
  const table = (at: number): string => `${word(at + SEG_BASE)} limit ${hex(u32[at >>> 2], 4)}`
  return [
    `cpu ${processor.index}: RIP ${selector(CS)}:${hex(cpu.rip(), 16)} RFLAGS ${hex(cpu.getFlags(), 8)} `
    + `${processor.width() * 8}-bit, CPL ${processor.privilege()}`,
    `RSP ${selector(SS)}:${word(GPR + 4 * 8)}`,
    ...ROWS.map((row) => row.map((r) => `${NAMES[r]} ${word(GPR + r * 8)}`).join(' ')),
    `CR0 ${word(CR0)} CR2 ${word(CR2)} CR3 ${word(CR3)}`,
    `CR4 ${word(CR4)} EFER ${word(EFER)}`,
    `GDTR ${table(GDTR)} IDTR ${table(IDTR)}`,
  ]
}

/** Why a processor shut down, with exceptions by their names. */
export const shutdownMessage = ({ index, stopped }: Processor): string =>
  `vCPU ${index}: ${stopped.replace(/vector (\d+)/g, (_, vector: string) => exceptionName(Number(vector)))}`
