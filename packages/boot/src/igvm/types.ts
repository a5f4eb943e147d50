/** What an IGVM file says to a loader of SNP guests, read and checked. */

/** What a loader writes into a parameter area. */
export type IgvmParameterKind =
  | 'VP count' | 'memory map' | 'command line' | 'MMIO ranges' | 'environment' | 'MADT' | 'SRAT' | 'SLIT' | 'PPTT'
  | 'device tree'

/** One step of the load, in the file's order. Addresses are guest physical, lengths in bytes. */
export type IgvmDirective =
  | {
    readonly kind: 'page', readonly gpa: number, readonly length: number,
    readonly type: IgvmPageKind, readonly bytes?: Uint8Array
  }
  | { readonly kind: 'vp', readonly gpa: number, readonly vp: number, readonly vmsa: Uint8Array }
  | { readonly kind: 'area', readonly index: number, readonly length: number, readonly initial?: Uint8Array }
  | { readonly kind: 'parameter', readonly what: IgvmParameterKind, readonly index: number, readonly offset: number }
  | { readonly kind: 'insert', readonly gpa: number, readonly index: number }
  | { readonly kind: 'required', readonly gpa: number, readonly length: number }

/** How a page is added. Pages without bytes are zeroes. */
export type IgvmPageKind = 'normal' | 'unmeasured' | 'shared' | 'secrets' | 'cpuid'

/** The part of a file that is for SEV-SNP. */
export interface IgvmImage {
  /** The guest policy, undefined when the file leaves it to the loader. */
  readonly policy?: bigint
  /** ID block and ID authentication information as the firmware takes them (56860 §8.19). */
  readonly identity?: { readonly block: Uint8Array, readonly auth: Uint8Array, readonly authorKey: boolean }
  readonly directives: readonly IgvmDirective[]
}
