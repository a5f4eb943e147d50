/**
 * The processor as the SVSM uses it: its instructions at VMPL0, one at a time. Addresses are those of its own page
 * tables, which map guest physical memory one to one, private; `SHARED` further up they map the SVSM's own pages once
 * more, as shared.
 */
import type { DepositedPage } from './deposits.ts'
import type { HostCallsState } from './ghcb.ts'
import type { SvsmConfiguration } from './image.ts'
import type { FirmwareChannelState } from './psp/channel.ts'
import type { GuestVcpusState } from './vcpus.ts'

/** An instruction took an exception; what it was to do was not done. */
export interface SvsmFault {
  /** Vector; 29 (#VC) for pages that are not validated and for addresses without memory. */
  readonly fault: number
}

/** What PVALIDATE answers. */
export interface SvsmPvalidate {
  /** EAX, a code of `RmpStatus`. */
  readonly status: number
  /** CF: the page was in that state already. */
  readonly unchanged: boolean
}

/** What the SVSM uses of the processor that it runs on, at VMPL0. */
export interface SvsmProcessor {
  readonly apicId: number
  load(address: number, out: Uint8Array): true | SvsmFault
  store(address: number, bytes: Uint8Array): true | SvsmFault
  /** XCHG of a byte: stores it, and answers what was there. */
  exchange(address: number, value: number): number | SvsmFault
  /** Clears a page. */
  clear(address: number): true | SvsmFault
  pvalidate(address: number, large: boolean, validate: boolean): SvsmPvalidate | SvsmFault
  /** EAX, a code of `RmpStatus`; `attributes` are `RmpAdjustAttributes`. */
  rmpadjust(address: number, large: boolean, attributes: bigint): number | SvsmFault
  /** RDMSR of the GHCB MSR. */
  ghcbMsr(): bigint
  /** WRMSR of the GHCB MSR, VMGEXIT, RDMSR: what the host answered. Not for giving the processor away. */
  vmgexit(msr: bigint): bigint
}

/** How the SVSM leaves the processor: by VMGEXIT with a value in the GHCB MSR, or by HLT. */
export type SvsmLeave = bigint | 'halt'

/** The program. */
export interface Svsm {
  /** Runs on a processor, from the start or from where it left, until it leaves. */
  run(processor: SvsmProcessor): SvsmLeave
  /** Requests served, by `protocol.call` or their numbers, and those with other results than success. */
  stats(): SvsmStats
  /** Between two runs; a TPM behind it is no part of it. */
  snapshot(): SvsmSnapshot
  /** @throws SvsmError for what no such program can have */
  restore(saved: SvsmSnapshot): void
}

/** What a snapshot keeps of the program: it has no registers, and its pages are the guest's memory. */
export interface SvsmSnapshot {
  readonly requests: readonly (readonly [name: string, count: number])[]
  readonly refused: readonly (readonly [name: string, count: number])[]
  /** Null before the first run. */
  readonly started: {
    readonly configuration: SvsmConfiguration
    readonly vcpus: GuestVcpusState
    readonly deposits: readonly DepositedPage[]
    readonly host: HostCallsState
    readonly channel: FirmwareChannelState
  } | null
}

/** What the SVSM was asked, and what it answered. */
export interface SvsmStats {
  readonly requests: Readonly<Record<string, number>>
  /** Results other than success, by name and number of times. */
  readonly refused: Readonly<Record<string, number>>
}

export const isFault = (outcome: unknown): outcome is SvsmFault =>
  typeof outcome === 'object' && outcome !== null && 'fault' in outcome
