/** The module's global metadata, read with TDH.SYS.RD one field at a time. */
import { FEATURES0_DYNAMIC_PAMT, Leaf, Metadata, METADATA_NAMES } from './abi.ts'
import type { TdmrLimits } from './build.ts'
import type { Cmr } from './memory.ts'
import { call, describeSeamcallError, type Retries, type TdxSequence } from './seamcall.ts'

/** What a host needs to know of the module. */
export interface ModuleInfo {
  readonly version: { readonly major: number; readonly minor: number; readonly update: number }
  /** TDX_FEATURES0. */
  readonly features0: bigint
  readonly cmrs: readonly Cmr[]
  /** Without `bitmapBits`, whatever the module can do: dynamic PAMT is the host's choice. */
  readonly limits: TdmrLimits
  /** Bits a page has in the bitmap of dynamic PAMT, if the module has that. */
  readonly dynamicPamtBits: number | undefined
}

/** Why metadata cannot be used: which field, and what is wrong with it. */
export interface MetadataError {
  readonly field: string
  readonly message: string
}

type MetadataResult =
  | { readonly ok: true; readonly info: ModuleInfo }
  | { readonly ok: false; readonly error: MetadataError }

/** The most CMRs that the module's interface can name (MAX_CMR). */
const MAX_CMRS = 32

/** A field that cannot be used. */
class BadField extends Error {
  readonly error: MetadataError

  constructor(field: string, message: string) {
    super(message)
    this.error = { field, message }
  }
}

function* field(lp: number, id: bigint, retries: Retries, name = METADATA_NAMES.get(id) ?? ''): TdxSequence<bigint> {
  const got = yield* call(lp, Leaf.tdhSysRd, { rdx: id }, retries)
  if (!got.ok) throw new BadField(name, describeSeamcallError(got.error))
  return got.regs.r8
}

function* number(
  lp: number, id: bigint, retries: Retries, min: number, max: number, name = METADATA_NAMES.get(id) ?? '',
): TdxSequence<number> {
  const value = yield* field(lp, id, retries, name)
  if (value < BigInt(min) || value > BigInt(max)) {
    throw new BadField(name, `0x${value.toString(16)} is not in 0x${min.toString(16)}..0x${max.toString(16)}`)
  }
  return Number(value)
}

function* cmrList(lp: number, retries: Retries): TdxSequence<Cmr[]> {
  const count = yield* number(lp, Metadata.numCmrs, retries, 1, MAX_CMRS)
  const cmrs: Cmr[] = []
  for (let i = 0; i < count; i++) {
    const index = BigInt(i)
    const limit = 2 ** 52 - 1
    const base = yield* number(lp, Metadata.cmrBase + index, retries, 0, limit, `CMR_BASE[${i}]`)
    const size = yield* number(lp, Metadata.cmrSize + index, retries, 0, limit - base, `CMR_SIZE[${i}]`)
    if (size > 0) cmrs.push({ base, size })
  }
  return cmrs
}

function* readAll(lp: number, retries: Retries): TdxSequence<ModuleInfo> {
  const major = yield* number(lp, Metadata.majorVersion, retries, 0, 0xffff)
  const minor = yield* number(lp, Metadata.minorVersion, retries, 0, 0xffff)
  const update = yield* number(lp, Metadata.updateVersion, retries, 0, 0xffff)
  const features0 = yield* field(lp, Metadata.tdxFeatures0, retries)
  const maxTdmrs = yield* number(lp, Metadata.maxTdmrs, retries, 1, 0xffff)
  const maxReservedPerTdmr = yield* number(lp, Metadata.maxReservedPerTdmr, retries, 1, 0xffff)
  const size4k = yield* number(lp, Metadata.pamt4kEntrySize, retries, 1, 4096)
  const size2m = yield* number(lp, Metadata.pamt2mEntrySize, retries, 1, 4096)
  const size1g = yield* number(lp, Metadata.pamt1gEntrySize, retries, 1, 4096)
  const dynamicPamtBits = (features0 & FEATURES0_DYNAMIC_PAMT) === 0n
    ? undefined
    : yield* number(lp, Metadata.pamtPageBitmapEntryBits, retries, 1, 64)
  const cmrs = yield* cmrList(lp, retries)
  return {
    version: { major, minor, update }, features0, cmrs, dynamicPamtBits,
    limits: { maxTdmrs, maxReservedPerTdmr, entrySize: { size4k, size2m, size1g } },
  }
}

/** Reads all that {@link ModuleInfo} has. Values that no module can mean are refused, with the field's name. */
export function* readModuleInfo(lp: number, retries: Retries): TdxSequence<MetadataResult> {
  try {
    return { ok: true, info: yield* readAll(lp, retries) }
  } catch (e) {
    if (e instanceof BadField) return { ok: false, error: e.error }
    throw e
  }
}
