export {
  FEATURES0_DYNAMIC_PAMT, Leaf, LEAF_NAMES, Metadata, METADATA_NAMES, PT_NAMES, SeamldrInfo, SYS_CONFIG_DYNAMIC_PAMT,
  TDMR_INFO_ALIGNMENT, TdmrInfo, TdmrReservedArea,
} from './abi.ts'
export {
  type BuildOptions, buildTdmrs, freePamts, type PamtAllocator, type Tdmr, type TdmrLimits, type TdmrPlan,
} from './build.ts'
export { formatTdmrs } from './describe.ts'
export { type ConfigBuffer, configSize, encodeConfig, encodeTdmr, tdmrInfoStride } from './encode.ts'
export { describeTdmrError, type Result, type TdmrError } from './errors.ts'
export { createTdxHost, type KexecRange, type TdxHost, type TdxHostOptions } from './host.ts'
export {
  type Cleanup, describeInitError, drive, type HostMemory, initTdx, type Lp, type TdxInitError, type TdxInitOptions,
  type TdxInitResult, tdxInitSequence, type TdxPlatform,
} from './init.ts'
export { type Cmr, type MemoryRegion, tdxMemory } from './memory.ts'
export { type MetadataError, type ModuleInfo, readModuleInfo } from './metadata.ts'
export { type PamtLimits, type PamtSet, type PamtSizes, pamtSizes, pamtTotal } from './pamt.ts'
export type { Range } from './ranges.ts'
export {
  DEFAULT_RETRIES, describeSeamcallError, type Retries, type Seamcall, type SeamcallError, type SeamcallInput,
  type SeamcallOutput, type SeamcallResult, type TdxRequest, type TdxSequence,
} from './seamcall.ts'
export { describeStatus, isError, Operand, Status, statusCode } from './status.ts'
export { checkTdmr, type CheckContext, copyTdmr, type TdmrCopy } from './model/check.ts'
export { createModelMemory, type ModelMemory } from './model/memory.ts'
export { createModuleModel, type ModuleModel, type ModuleModelOptions, type ModuleState } from './model/module.ts'
