/** The processor that an SNP guest sees: the silicon's model, with what SEV adds to CPUID. */
import { Cpuid8000001fEax, Cpuid8000001fEbx } from '@cofferdam/spec'
import { configureModel, epycGenoa, type CpuidLeaf, type CpuModel } from '@cofferdam/x86'

/** The leaf that tells of memory encryption. */
export const ENCRYPTION_LEAF = 0x8000_001f

/** What leaf 8000_001F says to a guest. */
export interface EncryptionFacts {
  readonly cBit: number
  /** Bits by which encryption narrows physical addresses. */
  readonly addressReduction: number
  /** Further bits of EBX: bit 31, COHERENCY_SFW_NO. */
  readonly coherencyNeedsNothing: boolean
}

/** The silicon's model without 5-level paging. */
export const guestModel = (): CpuModel => configureModel(epycGenoa, { la57: false })

/** Leaf 8000_001F of an SNP guest (APM vol. 3, appendix E). */
export const encryptionLeaf = (facts: EncryptionFacts): CpuidLeaf => (_system, _subleaf, out) => {
  out[0] = Cpuid8000001fEax.pack({ SEV: 1, SEV_ES: 1, SEV_SNP: 1 })
  out[1] = Cpuid8000001fEbx.pack({ cBitPosition: facts.cBit, physicalAddressReduction: facts.addressReduction })
    | (facts.coherencyNeedsNothing ? 0x8000_0000 : 0)
}
