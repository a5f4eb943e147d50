/** What a processor model says of itself: data only. */

/** One cache, as CPUID leaves 4 and 0x8000001D describe it. */
export interface CacheInfo {
  readonly level: 1 | 2 | 3
  readonly type: 'data' | 'instruction' | 'unified'
  /** Size in bytes: ways × lineSize × sets. */
  readonly size: number
  readonly ways: number
  readonly lineSize: number
  /** Who shares it: the threads of a core, or of the package. */
  readonly sharedBy: 'core' | 'package'
  readonly inclusive: boolean
}

/** A processor model. */
export interface CpuModel {
  readonly name: string
  readonly vendor: 'AuthenticAMD' | 'GenuineIntel'
  /** Up to 47 characters. */
  readonly brand: string
  readonly family: number
  readonly model: number
  readonly stepping: number
  /** Microcode revision, as IA32_BIOS_SIGN_ID or PATCH_LEVEL shows it. */
  readonly microcode: number
  readonly maxBasicLeaf: number
  readonly maxExtendedLeaf: number
  readonly physicalBits: number
  /** Names from `FEATURES`. */
  readonly features: ReadonlySet<string>
  /** IA32_ARCH_CAPABILITIES (Intel). */
  readonly archCapabilities: bigint
  readonly caches: readonly CacheInfo[]
  /** TLB words of Fn8000_0005 and Fn8000_0006 (AMD): EAX for large pages, EBX for 4 KiB pages. */
  readonly tlb?: {
    readonly l1Large: number
    readonly l1Small: number
    readonly l2Large: number
    readonly l2Small: number
  }
  /** Offset of the PKRU component in the standard XSAVE area. */
  readonly pkruOffset: number
  /** Frequency of the time-stamp counter and of the crystal that drives it and the APIC timer, in Hz. */
  readonly tscHz: number
  readonly crystalHz: number
  /** Twelve characters for leaf 0x40000000, or undefined when the model shows no hypervisor. */
  readonly hypervisor?: string
}

/** What a user may change of a model. */
export interface ModelOptions {
  /** 5-level paging. */
  readonly la57?: boolean
  /** MONITOR and MWAIT; kernels then idle with MWAIT instead of HLT. */
  readonly monitor?: boolean
  /** A hypervisor signature of 12 characters. Sets the HYPERVISOR bit. */
  readonly hypervisor?: string
  /** Feature names to add or to take away. */
  readonly add?: readonly string[]
  readonly remove?: readonly string[]
}

/** Applies options to a model. */
export function configureModel(model: CpuModel, options: ModelOptions = {}): CpuModel {
  const features = new Set(model.features)
  const choose = (name: string, on: boolean | undefined): void => {
    if (on === true) features.add(name)
    if (on === false) features.delete(name)
  }
  choose('la57', options.la57)
  choose('monitor', options.monitor)
  if (options.hypervisor !== undefined) features.add('hypervisor')
  for (const name of options.add ?? []) features.add(name)
  for (const name of options.remove ?? []) features.delete(name)
  return { ...model, features, hypervisor: options.hypervisor ?? model.hypervisor }
}
