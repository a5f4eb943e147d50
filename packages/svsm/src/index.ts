export { createSvsm, type SvsmOptions } from './svsm.ts'
export { SvsmError } from './error.ts'
export { judgeSvsm, SVSM_RULES, svsmReserved, type SvsmFact } from './findings.ts'
export {
  readConfiguration, svsmImage, type SvsmConfiguration, type SvsmImage, type SvsmImageOptions, type SvsmLaunchPages,
  type SvsmRange,
} from './image.ts'
export type { Svsm, SvsmFault, SvsmLeave, SvsmProcessor, SvsmPvalidate, SvsmSnapshot, SvsmStats } from './processor.ts'
export type { VtpmBackend } from './vtpm/backend.ts'
