/** What the functions that serve a guest's requests get, and what they answer. */
import type { IoBus } from '@cofferdam/memory'
import type { SevFact } from '@cofferdam/sev'
import type { LocalApic } from '@cofferdam/x86'
import type { GuestCpu } from '../cpu/guest-cpu.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { GhcbReply, GhcbRequest } from './page.ts'

/** Why a guest's processor does not go on at once. */
export type VcpuPause =
  /** It waits for an interrupt, or for a start-up IPI (AP reset hold). */
  | 'halt' | 'reset-hold'
  /** Another processor should have its turn. */
  | 'yield'

/** The whole guest ends. */
export interface GuestEnd {
  /** In words, for a person. */
  readonly why: string
  /** The guest page that it is about, where it is about one. */
  readonly page?: number
}

/** A guest's processor as exits see it. */
export interface VcpuServices {
  readonly index: number
  /** The privilege level that runs. */
  readonly vmpl: number
  readonly apic: LocalApic
  readonly cpu: GuestCpu
  /** DR7 as the guest's level last wrote it through its host. */
  dr7: bigint
  /** GPA of the GHCB that the level registered; −1 before. */
  ghcb: number
  /** The guest has handled an NMI. */
  nmiDone(): void
  pause(how: VcpuPause): void
}

/** What AP creation asks for. */
export interface ApRequest {
  readonly apicId: number
  readonly vmpl: number
  /** Guest physical address of the VMSA; undefined: the processor is to stop. */
  readonly vmsa: number | undefined
  /** Only when the processor gets its next INIT. */
  readonly onInit: boolean
  readonly features: bigint
}

/** What the PSP answered to a guest request: its status, 0 for success. */
export interface GuestRequestResult {
  readonly firmware: number
  readonly response: Uint8Array
}

/** The guest and its host, as exits see them. */
export interface GuestServices {
  readonly memory: GuestMemory
  readonly ports: IoBus
  readonly mmio: IoBus
  /** Position of the C-bit. */
  readonly cBit: number
  /** Hypervisor feature bits (`HvFeatures`). */
  readonly features: bigint
  /** APIC ids of all processors. */
  readonly apicIds: readonly number[]
  /** Starts or stops a level of a processor, as `caller` asks; false when the request makes no sense. */
  createAp(request: ApRequest, caller: VcpuServices): boolean
  /** SNP_GUEST_REQUEST with a copy of the guest's page. */
  guestRequest(page: Uint8Array): GuestRequestResult
  /** Certificates for extended requests, as pages of the table; empty when the host has none. */
  certificates(): Uint8Array
  /** Has another VMPL of this processor run once the exit is served; false when it has no VMSA. */
  runVmpl(vcpu: VcpuServices, vmpl: number): boolean
  end(how: GuestEnd): void
  /** Takes virtual time. */
  charge(nanoseconds: number): void
  /** Whether the CPUID page that the firmware has checked holds a leaf. */
  inCpuidPage(leaf: number): boolean
  /** Takes a fact about what a processor of the guest did, for findings. */
  fact(vcpu: number, fact: SevFact): void
}

/** A malformed request: a code of `GhcbError`. */
export interface Malformed {
  readonly error: number
}

/**
 * Serves one exit of the GHCB page (56421 §4.1): one function, one file; the table is the index. That the fields are
 * valid that the exit needs was checked before.
 */
export interface GhcbServer {
  /** For statistics and traces. */
  readonly name: string
  serve(request: GhcbRequest, guest: GuestServices, vcpu: VcpuServices, gpa: number): GhcbReply | Malformed
}

/** SW_EXITINFO2 that makes the guest raise an exception (56421 §4.1: EVENTINJ's format). */
export const exception = (vector: number, errorCode?: number): GhcbReply => ({
  info1: 1n,
  info2: BigInt(vector) | 3n << 8n | 1n << 31n | (errorCode === undefined ? 0n : 1n << 11n | BigInt(errorCode) << 32n),
})
/** #GP(0). */
export const generalProtection = (): GhcbReply => exception(13, 0)
