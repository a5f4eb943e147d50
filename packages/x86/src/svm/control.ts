/** The control area of a VMCB: what VMRUN reads of it, and what #VMEXIT writes. */
import { EventInject, InterruptState, NestedControl, VirtualInterrupt, VirtualizationControl } from '@cofferdam/spec'
import type { MemoryViews } from '@cofferdam/memory'
import type { EventSource } from '../system/event.ts'
import { hasErrorCode, INT1, SOFTWARE, EXTERNAL } from '../system/event.ts'
import { VECTOR } from '../cpu.ts'
import { CONTROL, read64, write64 } from './vmcb.ts'

/** What the processor holds of the control area while the guest runs; what changes from VMRUN to VMRUN is last. */
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
  /** Bits of NestedControl and of VirtualizationControl. */
  readonly nested: bigint
  readonly virtualization: bigint
  readonly nestedCr3: bigint
  tlbControl: number
  /** EVENTINJ, 0 when nothing is to be injected, and nRIP, which then may matter. */
  eventInj: bigint
  nextRip: bigint
  shadow: boolean
  readonly vintr: VirtualInterrupts
}

/** Virtual interrupts (APM vol. 2, §15.21). */
export interface VirtualInterrupts {
  tpr: number
  irq: boolean
  priority: number
  ignoresTpr: boolean
  /** V_INTR_MASKING: RFLAGS.IF and CR8 of the guest govern virtual interrupts only. */
  masking: boolean
  vector: number
}

const V = VirtualInterrupt.mask
const VALID = Number(EventInject.mask.V)

/** Words of the control area that hosts seldom change. */
const SETTLED = [
  CONTROL.interceptCr, CONTROL.interceptDr, CONTROL.interceptException, CONTROL.intercept3, CONTROL.intercept4,
  CONTROL.intercept5, CONTROL.pauseFilterThreshold, CONTROL.iopmBasePa, CONTROL.iopmBasePa + 4, CONTROL.msrpmBasePa,
  CONTROL.msrpmBasePa + 4, CONTROL.tscOffset, CONTROL.tscOffset + 4, CONTROL.guestAsid, CONTROL.nestedControl,
  CONTROL.nestedControl + 4, CONTROL.nestedCr3, CONTROL.nestedCr3 + 4, CONTROL.virtualizationControl,
  CONTROL.virtualizationControl + 4,
] as const

/** How many VMCBs a reader remembers. */
const REMEMBERED = 64

/** Reads control areas, and what has not changed since the last time not again: exits come in tens of thousands. */
export type ControlReader = (address: number, at: number) => GuestControl

export function createControlReader(views: MemoryViews): ControlReader {
  const { u8, u16, i32, u32 } = views
  const known = new Map<number, { readonly words: Int32Array; readonly control: GuestControl }>()

  const readAll = (at: number): GuestControl => {
    const word = (offset: number): number => u32[(at + offset) >>> 2]
    const long = (offset: number): bigint => read64(views, at + offset)
    return {
      cr: word(CONTROL.interceptCr), dr: word(CONTROL.interceptDr), exceptions: word(CONTROL.interceptException),
      vector3: word(CONTROL.intercept3), vector4: word(CONTROL.intercept4), vector5: word(CONTROL.intercept5),
      pauseThreshold: u16[(at + CONTROL.pauseFilterThreshold) >>> 1],
      pauseCount: u16[(at + CONTROL.pauseFilterCount) >>> 1],
      iopm: long(CONTROL.iopmBasePa), msrpm: long(CONTROL.msrpmBasePa), tscOffset: long(CONTROL.tscOffset),
      asid: word(CONTROL.guestAsid), nested: long(CONTROL.nestedControl),
      virtualization: long(CONTROL.virtualizationControl), nestedCr3: long(CONTROL.nestedCr3),
      tlbControl: 0, eventInj: 0n, nextRip: 0n, shadow: false,
      vintr: { tpr: 0, irq: false, priority: 0, ignoresTpr: false, masking: false, vector: 0 },
    }
  }

  const refresh = (control: GuestControl, at: number): void => {
    control.tlbControl = u8[at + CONTROL.tlbControl]
    const injects = (u32[(at + CONTROL.eventInj) >>> 2] & VALID) !== 0
    control.eventInj = injects ? read64(views, at + CONTROL.eventInj) : 0n
    control.nextRip = injects ? read64(views, at + CONTROL.nextRip) : 0n
    control.shadow = (u8[at + CONTROL.interruptState] & SHADOW) !== 0
    const { vintr } = control
    const word = u32[(at + CONTROL.virtualInterrupt) >>> 2]
    vintr.tpr = word & 0xf
    vintr.irq = (word & VINTR.irq) !== 0
    vintr.priority = (word >>> 16) & 0xf
    vintr.ignoresTpr = (word & VINTR.ignoresTpr) !== 0
    vintr.masking = (word & VINTR.masking) !== 0
    vintr.vector = u8[at + CONTROL.virtualInterrupt + 4]
  }

  const isSame = (words: Int32Array, at: number): boolean => {
    for (let i = 0; i < SETTLED.length; i++) if (words[i] !== i32[(at + SETTLED[i]) >>> 2]) return false
    return true
  }

  return (address, at) => {
    let entry = known.get(address)
    if (entry === undefined || !isSame(entry.words, at)) {
      if (known.size >= REMEMBERED) known.clear()
      entry = { words: Int32Array.from(SETTLED, (offset) => i32[(at + offset) >>> 2]), control: readAll(at) }
      known.set(address, entry)
    }
    refresh(entry.control, at)
    return entry.control
  }
}

const SHADOW = Number(InterruptState.mask.INTERRUPT_SHADOW)
const VINTR = {
  irq: Number(V.V_IRQ), ignoresTpr: Number(V.V_IGN_TPR), masking: Number(V.V_INTR_MASKING),
} as const

/** Whether NP_ENABLE is set: guest addresses go through nested tables (APM vol. 2 §15.25). */
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
export function writeExit(views: MemoryViews, at: number, exit: Exit): void {
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
  views: MemoryViews, at: number, vintr: VirtualInterrupts, shadow: boolean, guestIf: boolean,
): void {
  const { u32 } = views
  const word = (at + CONTROL.virtualInterrupt) >>> 2
  u32[word] = (u32[word] & ~(0xff | VINTR.irq)) | vintr.tpr | (vintr.irq ? VINTR.irq : 0)
  u32[(at + CONTROL.interruptState) >>> 2] = (shadow ? SHADOW : 0) | (guestIf ? 2 : 0)
  u32[((at + CONTROL.interruptState) >>> 2) + 1] = 0
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
