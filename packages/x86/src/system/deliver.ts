/**
 * Delivery of exceptions and interrupts (SDM vol. 3 chapter 6, APM vol. 2 chapter 8).
 *
 * The present RIP is what the handler returns to: of the faulting instruction for faults, of the next one for traps
 * and external interrupts. INT n, INT3 and INTO return to `nextRip`. The handler's address is left in `nextRip`.
 */
import type { Cpu } from '../cpu.ts'
import { guestFault, VECTOR } from '../cpu.ts'
import { CR2, DR, SHADOW } from '../state.ts'
import { isLongMode, isProtected } from './access.ts'
import { DR7_BITS } from './bits.ts'
import { enterLong } from './deliver-long.ts'
import { enterProtected } from './deliver-protected.ts'
import { enterReal } from './deliver-real.ts'
import type { EventSource } from './event.ts'
import { EXTERNAL, FAULT, hasErrorCode, SOFTWARE } from './event.ts'

/** How exceptions combine (SDM vol. 3 table 6-5 and 6-6). */
const BENIGN = 0
const CONTRIBUTORY = 1
const PAGE_FAULT = 2
const DOUBLE_FAULT = 3

/** Class by vector (SDM vol. 3 table 6-5). */
export function faultClass(vector: number): number {
  switch (vector) {
    case VECTOR.DE: case VECTOR.TS: case VECTOR.NP: case VECTOR.SS: case VECTOR.GP: case VECTOR.CP:
      return CONTRIBUTORY
    case VECTOR.PF: case VECTOR.VE:
      return PAGE_FAULT
    case VECTOR.DF:
      return DOUBLE_FAULT
    default:
      return BENIGN
  }
}

/** What a fault `second` during delivery of `first` becomes: −1 shutdown, #DF, or `second` itself. */
export function combineFaults(first: number, second: number): number {
  const a = faultClass(first)
  const b = faultClass(second)
  if (a === DOUBLE_FAULT && b !== BENIGN) return -1
  if (a === CONTRIBUTORY && b === CONTRIBUTORY) return VECTOR.DF
  if (a === PAGE_FAULT && (b === CONTRIBUTORY || b === PAGE_FAULT)) return VECTOR.DF
  return second
}

/**
 * Enters the handler of `vector` in the present mode. Raises what delivery raises; registers have not changed then.
 * What is not supported (task gates) shuts the processor down and returns.
 */
export function enterHandler(cpu: Cpu, vector: number, errorCode: number, source: EventSource): void {
  if (isLongMode(cpu)) enterLong(cpu, vector, errorCode, source)
  else if (isProtected(cpu)) enterProtected(cpu, vector, errorCode, source)
  else enterReal(cpu, vector, source)
}

const DR7 = DR + 7 * 8

/** How often delivery may itself fault before the processor gives up; #DF ends any chain long before. */
const MAX_NESTED = 8

/** Delivers, and delivers what delivery raises, until a handler is entered or the processor shuts down. */
function deliver(cpu: Cpu, vector: number, errorCode: number, address: bigint, source: EventSource): void {
  let code = errorCode
  cpu.views.u32[SHADOW >>> 2] = 0
  for (let depth = 0; depth < MAX_NESTED; depth++) {
    if (source === FAULT && vector === VECTOR.PF) cpu.views.u64[CR2 >>> 3] = BigInt.asUintN(64, address)
    try {
      enterHandler(cpu, vector, code, source)
      // Entering a #DB handler clears DR7.GD, so that the handler can use the debug registers (SDM vol. 3 §18.2.4).
      if (vector === VECTOR.DB) cpu.views.u32[DR7 >>> 2] &= ~DR7_BITS.GD
      return
    } catch (fault) {
      if (fault !== guestFault) throw fault
    }
    const supervisor = cpu.supervisor?.() ?? null
    // Exceptions are looked at before they are combined, and what becomes of two once more (APM vol. 2 §15.7.3).
    if (supervisor?.nested(vector, code, source) === true) return
    const next = source === FAULT ? combineFaults(vector, guestFault.vector) : guestFault.vector
    if (next < 0) break
    if (next === VECTOR.DF && guestFault.vector !== VECTOR.DF && supervisor !== null) {
      if (guestFault.vector === VECTOR.PF) cpu.views.u64[CR2 >>> 3] = BigInt.asUintN(64, guestFault.address)
      guestFault.vector = VECTOR.DF
      guestFault.errorCode = 0
      if (supervisor.nested(vector, code, source)) return
    }
    code = next === VECTOR.DF ? 0 : guestFault.errorCode
    address = guestFault.address
    // CR2 keeps the page fault that led to a double fault.
    if (next === VECTOR.DF && guestFault.vector === VECTOR.PF) cpu.views.u64[CR2 >>> 3] = BigInt.asUintN(64, address)
    vector = next
    source = FAULT
  }
  cpu.shutdown(`triple fault: vector ${String(guestFault.vector)} while delivering vector ${String(vector)}`)
}

/**
 * Delivers an exception that the instruction at RIP raised.
 * @param errorCode the error code, or −1; vectors without one ignore it
 * @param address for #PF: the linear address for CR2. DR6 for #DB is set by the caller.
 */
export function deliverException(cpu: Cpu, vector: number, errorCode = -1, address = 0n): void {
  deliver(cpu, vector, hasErrorCode(vector) ? Math.max(errorCode, 0) : -1, address, FAULT)
}

/**
 * Delivers an interrupt between two instructions (external interrupt or NMI), or INT n (`SOFTWARE`), whose gate must
 * allow the CPL. There is never an error code.
 */
export function deliverInterrupt(cpu: Cpu, vector: number, source: EventSource = EXTERNAL): void {
  if (vector === VECTOR.NMI && source === EXTERNAL && cpu.system !== undefined) cpu.system.nmiBlocked = true
  deliver(cpu, vector, -1, 0n, source)
}

/**
 * Delivers any event at the present RIP, as a hypervisor injects it: with the error code that is given (−1: none is
 * pushed). `SOFTWARE` saves `nextRip`, the others RIP.
 */
export function deliverEvent(cpu: Cpu, vector: number, errorCode: number, source: EventSource): void {
  deliver(cpu, vector, errorCode, cpu.views.u64[CR2 >>> 3], source)
}

export { EXTERNAL, FAULT, SOFTWARE }
