/** Delivery through the interrupt vector table of real mode (SDM vol. 3 §21.1.4). */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { CS, IDTR } from '../state.ts'
import { readU32, readU64, segSelector, setStackOffset, stackOffset, storeStack } from './access.ts'
import { FLAG } from './bits.ts'
import type { EventSource } from './event.ts'
import { gateError, returnRip } from './event.ts'
import { loadRealSegment } from './segments.ts'

/** Enters a handler in real mode: FLAGS, CS and IP as words; no error code. */
export function enterReal(cpu: Cpu, vector: number, source: EventSource): void {
  // A vector beyond the table is #GP, which becomes a shutdown where its own vector is missing as well.
  if (vector * 4 + 3 > readU32(cpu, IDTR)) raise(VECTOR.GP, gateError(vector, source))
  const pointer = cpu.loadSystem((readU64(cpu, IDTR + 8) + BigInt(vector * 4)) & 0xffff_ffffn, 4)
  storeStack(cpu, -2, 2, BigInt(cpu.getFlags() & 0xffff))
  storeStack(cpu, -4, 2, BigInt(segSelector(cpu, CS)))
  storeStack(cpu, -6, 2, returnRip(cpu, source))
  setStackOffset(cpu, stackOffset(cpu, -6))
  loadRealSegment(cpu, CS, pointer >>> 16)
  cpu.setFlags(0, FLAG.IF | FLAG.TF | FLAG.AC | FLAG.RF)
  cpu.modeChanged()
  cpu.setNextRip(BigInt(pointer & 0xffff))
}
