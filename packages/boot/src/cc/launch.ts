/**
 * What the launch of an SNP guest is made of (56860 §8.18): pages and save areas, in the order of their measurement.
 */

/** Types of launch pages (56860 §8.18, PAGE_TYPE); `shared` ones are the host's, and no part of the measurement. */
export type SnpPageType = 'normal' | 'zero' | 'unmeasured' | 'secrets' | 'cpuid' | 'vmsa' | 'shared'

/** Pages that a launch adds. Start and length are multiples of 4096. */
export interface SnpLaunchPages {
  readonly name: string
  /** Guest physical address; of a VMSA the one that it is measured with, which is no memory of the guest's. */
  readonly start: number
  readonly length: number
  readonly type: SnpPageType
  /** Contents of normal, unmeasured and shared pages and of VMSAs, zeroes after their end. */
  readonly bytes?: Uint8Array
  /** Of a VMSA: the processor that starts with it, 0 for the first. The others wait for a start-up IPI with it. */
  readonly vp?: number
}

/** A launch: everything that is added to a guest before it runs. */
export interface SnpLaunch {
  readonly launch: readonly SnpLaunchPages[]
  /** Guest policy (56860 §4.3); a default without it. */
  readonly policy?: bigint
  /** What the guest's owner signed: ID block and ID authentication information (56860 §8.19). */
  readonly identity?: { readonly block: Uint8Array, readonly auth: Uint8Array, readonly authorKey: boolean }
  /** Guest physical address of a page that is left for an SVSM's first calling area (58019 §4), where there is one. */
  readonly callingArea?: number
  /** Where the table of unaccepted memory lies (guest physical), where the kernel gets one from us. */
  readonly unacceptedTable?: { readonly start: number, readonly length: number }
}

/** Where launches put VMSAs, by custom of all VMMs: the last page below 2^48. */
export const VMSA_GPA = 0xffff_ffff_f000
