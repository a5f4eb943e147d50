/** Where an event that enters a handler comes from; decides EXT, the gate's DPL check, RF and the saved RIP. */
import type { Cpu } from '../cpu.ts'
import { VECTOR } from '../cpu.ts'
import { FLAG } from './bits.ts'

/** An exception that the processor raised. */
export const FAULT = 0
/** An external interrupt or NMI. */
export const EXTERNAL = 1
/** INT n, INT3, INTO: the gate's DPL must allow the CPL, EXT is 0, and the next instruction is saved. */
export const SOFTWARE = 2
/** INT1 (ICEBP): saves the next instruction, but no DPL check, and EXT is 1 (SDM vol. 2, INT n). */
export const INT1 = 3
/** Where an event comes from, which decides what its delivery checks and pushes. */
export type EventSource = typeof FAULT | typeof EXTERNAL | typeof SOFTWARE | typeof INT1

/** EXT of error codes raised during delivery (SDM vol. 3 §6.13). */
export const extOf = (source: EventSource): number => (source === SOFTWARE ? 0 : 1)

/** Error code that names a gate: vector, IDT bit, EXT. */
export const gateError = (vector: number, source: EventSource): number => (vector << 3) | 2 | extOf(source)

/** Whether an exception pushes an error code (SDM vol. 3 table 6-1; #VC, #SX: APM vol. 2 table 8-1). */
export const hasErrorCode = (vector: number): boolean =>
  vector < 32 && ((0x6022_7d00 >>> vector) & 1) !== 0

/** Where the handler returns to. */
export const returnRip = (cpu: Cpu, source: EventSource): bigint =>
  source === SOFTWARE || source === INT1 ? cpu.nextRip() : cpu.rip()

/**
 * EFLAGS as saved. Faults set RF, so that returning does not hit the same instruction breakpoint; #DB, and traps and
 * interrupts, keep RF as it is (SDM vol. 3 §18.3.1.1).
 */
export function savedFlags(cpu: Cpu, vector: number, source: EventSource): number {
  const flags = cpu.getFlags()
  const isFault = source === FAULT && (vector > VECTOR.OF || vector === VECTOR.DE)
  return isFault ? flags | FLAG.RF : flags
}
