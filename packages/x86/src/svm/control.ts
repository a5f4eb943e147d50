/** The control area of a VMCB: what VMRUN reads of it, and what #VMEXIT writes. */
import { EventInject, InterruptState, NestedControl, VirtualInterrupt, VirtualizationControl } from '@cofferdam/spec'
import type { Views } from '../cpu.ts'
import type { EventSource } from '../system/event.ts'
import { hasErrorCode, INT1, SOFTWARE, EXTERNAL } from '../system/event.ts'
import { VECTOR } from '../cpu.ts'
import { CONTROL, read64, write64 } from './vmcb.ts'

/** What the processor holds of the control area while the guest runs. */
export interface GuestControl {
  /** Reads of CR0–CR15 in 15:0, writes in 31:16; the same of debug registers. */
  readonly cr: number
  readonly dr: number
  readonly exceptions: number
  /** The intercept vectors at 00Ch, 010h and 014h. */
  readonly vector3: number
  readonly vector4: number
  readonly vector5: number
  readonly pauseThreshold: number
  readonly pauseCount: number
  readonly iopm: bigint
  readonly msrpm: bigint
  readonly tscOffset: bigint
  readonly asid: number
  readonly tlbControl: number
  /** Bits of NestedControl and of VirtualizationControl. */
  readonly nested: bigint
  readonly virtualization: bigint
  readonly nestedCr3: bigint
  readonly eventInj: bigint
  readonly nextRip: bigint
  readonly shadow: boolean
  readonly vintr: VirtualInterrupts
}

/** Virtual interrupts (APM vol. 2, §15.21). */
export interface VirtualInterrupts {
  tpr: number
  irq: boolean
  readonly priority: number
  readonly ignoresTpr: boolean
  /** V_INTR_MASKING: RFLAGS.IF and CR8 of the guest govern virtual interrupts only. */
  readonly masking: boolean
  readonly vector: number
}

const V = VirtualInterrupt.mask

function virtualInterrupts(word: bigint): VirtualInterrupts {
  return {
    tpr: Number(word & 0xfn), irq: (word & V.V_IRQ) !== 0n, priority: Number(VirtualInterrupt.get(word, 'intrPrio')),
    ignoresTpr: (word & V.V_IGN_TPR) !== 0n, masking: (word & V.V_INTR_MASKING) !== 0n,
    vector: Number(VirtualInterrupt.get(word, 'vector')),
  }
}

/** Reads the control area at `at`, a byte offset in the WebAssembly memory. */
export function readControl(views: Views, at: number): GuestControl {
  const { u8, u16, u32 } = views
  const word = (offset: number): number => u32[(at + offset) >>> 2]
  const long = (offset: number): bigint => read64(views, at + offset)
  return {
    cr: word(CONTROL.interceptCr), dr: word(CONTROL.interceptDr), exceptions: word(CONTROL.interceptException),
    vector3: word(CONTROL.intercept3), vector4: word(CONTROL.intercept4), vector5: word(CONTROL.intercept5),
    pauseThreshold: u16[(at + CONTROL.pauseFilterThreshold) >>> 1],
    pauseCount: u16[(at + CONTROL.pauseFilterCount) >>> 1],
    iopm: long(CONTROL.iopmBasePa), msrpm: long(CONTROL.msrpmBasePa), tscOffset: long(CONTROL.tscOffset),
    asid: word(CONTROL.guestAsid), tlbControl: u8[at + CONTROL.tlbControl], nested: long(CONTROL.nestedControl),
    virtualization: long(CONTROL.virtualizationControl), nestedCr3: long(CONTROL.nestedCr3),
    eventInj: long(CONTROL.eventInj), nextRip: long(CONTROL.nextRip),
    shadow: (long(CONTROL.interruptState) & InterruptState.mask.INTERRUPT_SHADOW) !== 0n,
    vintr: virtualInterrupts(long(CONTROL.virtualInterrupt)),
  }
}

export const usesNestedPaging = (control: GuestControl): boolean =>
  (control.nested & NestedControl.mask.NP_ENABLE) !== 0n
export const usesLbrVirtualization = (control: GuestControl): boolean =>
  (control.virtualization & VirtualizationControl.mask.LBR) !== 0n

/** Why a guest left. */
export interface Exit {
  readonly code: number
  readonly info1: bigint
  readonly info2: bigint
  /** EXITINTINFO: the event that was being delivered, or 0. */
  intInfo: bigint
  /** nRIP, or 0 where the manual does not define it (APM vol. 2, §15.7.1). */
  readonly nextRip: bigint
  /** Bytes at the instruction for intercepted #PF and nested page faults of data (§15.8.4). */
  readonly bytes: Uint8Array | null
}

/** Writes what #VMEXIT leaves in the control area. */
export function writeExit(views: Views, at: number, exit: Exit): void {
  write64(views, at + CONTROL.exitCode, BigInt(exit.code))
  write64(views, at + CONTROL.exitInfo1, exit.info1)
  write64(views, at + CONTROL.exitInfo2, exit.info2)
  write64(views, at + CONTROL.exitIntInfo, exit.intInfo)
  write64(views, at + CONTROL.nextRip, exit.nextRip)
  write64(views, at + CONTROL.eventInj, 0n)
  views.u8[at + CONTROL.bytesFetched] = exit.bytes?.length ?? 0
  if (exit.bytes !== null) views.u8.set(exit.bytes, at + CONTROL.instructionBytes)
}

/** Writes back virtual interrupt and interrupt shadow; `guestIf` is RFLAGS.IF, which SEV-ES guests show there. */
export function writeInterrupts(
  views: Views, at: number, vintr: VirtualInterrupts, shadow: boolean, guestIf: boolean,
): void {
  const word = at + CONTROL.virtualInterrupt
  const rest = read64(views, word) & ~(V.TPR | V.V_IRQ)
  write64(views, word, rest | BigInt(vintr.tpr) | (vintr.irq ? V.V_IRQ : 0n))
  write64(views, at + CONTROL.interruptState, (shadow ? InterruptState.mask.INTERRUPT_SHADOW : 0n)
    | (guestIf ? InterruptState.mask.GUEST_INTERRUPT_MASK : 0n))
}

/** Types of events, as EVENTINJ and EXITINTINFO have them (APM vol. 2, table 15-1). */
export const EVENT_TYPE = { INTR: 0, NMI: 2, EXCEPTION: 3, SOFTWARE: 4 } as const

/** An event that was being delivered, as EXITINTINFO has it. INT1, INT3 and INTO count as exceptions. */
export function intInfoOf(vector: number, errorCode: number, source: EventSource): bigint {
  const type = source === EXTERNAL ? (vector === VECTOR.NMI ? EVENT_TYPE.NMI : EVENT_TYPE.INTR)
    : source === SOFTWARE ? EVENT_TYPE.SOFTWARE : EVENT_TYPE.EXCEPTION
  const coded = type === EVENT_TYPE.EXCEPTION && source !== INT1 && hasErrorCode(vector)
  return EventInject.mask.V | BigInt(vector) | (BigInt(type) << 8n)
    | (coded ? EventInject.mask.EV | (BigInt(errorCode >>> 0) << 32n) : 0n)
}
