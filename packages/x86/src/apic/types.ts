/** What a local APIC offers and needs: the types of its interface, apart from its behaviour. */
import type { IoHandlers } from '@cofferdam/memory'
import type { ApicReceiver, Ipi } from './messages.ts'
import type { GP_FAULT } from './registers.ts'
import type { LocalApicState } from './state.ts'

/** Options of {@link createLocalApic}. */
export interface LocalApicOptions {
  /** Initial APIC id: 8 bits in xAPIC mode, 32 in x2APIC mode. */
  readonly id: number
  /** This is the bootstrap processor (IA32_APIC_BASE.BSP). */
  readonly bootstrap?: boolean
  /** Virtual time: ticks of the time-stamp counter since power-on (1 ns, 1 instruction). */
  readonly now: () => number
  /** What the guest's TSC is ahead of `now()`, default 0. After it changes call `tscChanged()`. */
  readonly tscOffset?: () => bigint
  /** Width of physical addresses, for the reserved bits of IA32_APIC_BASE; default 46. */
  readonly physicalAddressBits?: number
  /** Routes an inter-processor interrupt ({@link routeMessage}). Called for everything but the self shorthand. */
  readonly send: (ipi: Ipi) => void
  /** End of a level-triggered interrupt: to the I/O APICs. */
  readonly eoiBroadcast: (vector: number) => void
  /** Something that the processor or the run loop looks at changed: pending events, or `nextDeadline()`. */
  readonly onChange: () => void
  /** IA32_APIC_BASE moved the page or switched the mode; the machine may have to route its MMIO anew. */
  readonly onBaseChange?: () => void
}

/** What waits for the processor, in the order in which it is taken (SDM vol. 3A, table 7-2). */
export const APIC_EVENT = { INIT: 1, STARTUP: 2, NMI: 4, EXTINT: 8, FIXED: 16 } as const

/** Mode of the APIC (SDM vol. 3A, table 11-5). */
export type ApicMode = 'disabled' | 'xapic' | 'x2apic'

/** A local APIC. */
export interface LocalApic extends ApicReceiver {
  readonly id: number
  mode(): ApicMode
  /** Physical address of the xAPIC page. */
  baseAddress(): number
  /** The xAPIC page (4 KiB); reads 0 and swallows writes unless in xAPIC mode. */
  readonly mmio: IoHandlers
  /** Reads a 32-bit register of the xAPIC page. */
  read(offset: number): number
  write(offset: number, value: number): void
  /** IA32_APIC_BASE, IA32_TSC_DEADLINE and 800h–8FFh. */
  readMsr(index: number): bigint | typeof GP_FAULT
  writeMsr(index: number, value: bigint): typeof GP_FAULT | undefined
  /** CR8: bits 7:4 of the task priority. */
  cr8(): number
  setCr8(value: number): void
  /** A set of {@link APIC_EVENT} bits. */
  pendingEvents(): number
  /** The vector that would be delivered now, above the processor priority; −1 when none. */
  pendingVector(): number
  /** Delivers `pendingVector()`: moves it from IRR to ISR. Without one, answers the spurious vector. */
  acknowledge(): number
  /** Takes a pending NMI. */
  takeNmi(): boolean
  /** Takes a pending INIT and resets the APIC as it does. */
  takeInit(): boolean
  /** Takes the vector of a pending SIPI, −1 when none. A processor that does not wait for one drops it. */
  takeStartup(): number
  /** An ExtINT request was acknowledged at the PIC: forgets one that came as a message. */
  takeExtInt(): void
  /** The pins: 0 INTR (the PIC's output), 1 NMI. */
  setLint(pin: 0 | 1, level: boolean): void
  /** When `advance` must be called at the latest; `Infinity` when no timer runs. */
  nextDeadline(): number
  /** Lets the timer fire when `now` has reached it. */
  advance(now: number): void
  /** The guest's TSC was written: a TSC deadline is measured anew. */
  tscChanged(): void
  /** What firmware leaves behind: enabled, LINT0 passes the PIC through, LINT1 is NMI (virtual wire mode). */
  enterVirtualWire(): void
  /** Power-on state. */
  reset(): void
  snapshot(): LocalApicState
  /** @throws ApicSnapshotError naming the field that does not fit. */
  restore(saved: LocalApicState): void
}

/** What the register files see of the APIC. */
export interface ApicCore {
  readonly id: number
  readonly state: LocalApicState
  readonly options: LocalApicOptions
  mode(): ApicMode
  /** Logical destination register; in x2APIC mode it follows from the id (§11.12.10.2). */
  ldr(): number
  ppr(): number
  endOfInterrupt(): void
  raiseError(bit: number): void
  /** Requests a vector here. */
  request(vector: number, level: boolean): void
  changed(): void
  /** Sends what the ICR holds. */
  sendIcr(): void
  applyLints(): void
}
