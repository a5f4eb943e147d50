/** A guest's call as the functions that serve it see it, and what they answer (58019 §5, §6.1). */
import { SvsmResult } from '@cofferdam/spec'
import type { Deposits } from './deposits.ts'
import type { SvsmFact } from './findings.ts'
import type { SvsmConfiguration, SvsmPlaces } from './image.ts'
import type { SvsmProcessor } from './processor.ts'
import type { GuestVcpu, GuestVcpus } from './vcpus.ts'
import type { Reports } from './psp/reports.ts'
import type { Vtpm } from './vtpm/vtpm.ts'

/** Argument registers, copied once from the caller's VMSA. */
export interface SvsmCall {
  readonly rcx: bigint
  readonly rdx: bigint
  readonly r8: bigint
  /** SEV_FEATURES of the caller. */
  readonly features: bigint
  /** The caller: its VMSA and calling area. */
  readonly vcpu: GuestVcpu
}

/** RAX, and the argument registers that change. */
export interface SvsmAnswer {
  readonly code: number
  readonly rcx?: bigint
  readonly rdx?: bigint
  readonly r8?: bigint
}

/** What all calls share. */
export interface SvsmState {
  readonly configuration: SvsmConfiguration
  readonly places: SvsmPlaces
  readonly vcpus: GuestVcpus
  readonly deposits: Deposits
  /** All protocols, by number. */
  readonly protocols: ReadonlyMap<number, SvsmProtocolTable>
  /** The TPM behind the vTPM protocol; without one the protocol is not offered. */
  readonly vtpm: Vtpm | undefined
  /** Reports by the firmware, for attestation. */
  readonly reports: Reports
  /** Takes facts about a call, for findings. */
  fact(caller: GuestVcpu, fact: SvsmFact): void
}

/** One call of a protocol: one function, one file; the tables of protocols are the index. */
export type SvsmServer = (call: SvsmCall, svsm: SvsmState, processor: SvsmProcessor) => SvsmAnswer

/** A protocol's name and calls. */
export interface SvsmProtocolTable {
  readonly name: string
  /** Whether it is served; always, where this is left out. */
  readonly offered?: (svsm: SvsmState) => boolean
  readonly versions: { readonly min: number, readonly max: number }
  readonly calls: ReadonlyMap<number, { readonly name: string, readonly serve: SvsmServer }>
}

const PAGE = 4096n

export const success = (registers: Omit<SvsmAnswer, 'code'> = {}): SvsmAnswer =>
  ({ ...registers, code: SvsmResult.SUCCESS })
export const refuse = (name: Exclude<keyof typeof SvsmResult, 'SUCCESS' | 'PROTOCOL_BASE'>): SvsmAnswer =>
  ({ code: SvsmResult[name] })
/** A code of the protocol's own: of RMPADJUST and PVALIDATE in the core protocol. */
export const protocolError = (code: number): SvsmAnswer => ({ code: SvsmResult.PROTOCOL_BASE + code })

/** A register as the address of a page; −1 when it is no multiple of 4096 or beyond all addresses. */
export const pageAddress = (value: bigint): number => (value % PAGE === 0n && value < 1n << 52n ? Number(value) : -1)
