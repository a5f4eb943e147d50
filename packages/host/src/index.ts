export { HostError } from './errors.ts'
export { createNpt, type Npt, type NptOptions } from './memory/npt.ts'
export {
  createGuestMemory, type GuestMemory, type GuestMemoryCounts, type GuestMemoryOptions, type MemoryOperation,
  type MemoryOutcome, type RmpInstructions,
} from './memory/guest-memory.ts'
export type { HostMemory } from './memory/words.ts'
export { cpuidPage } from './cpu/cpuid-page.ts'
export { createGuestCpu, type CpuidAnswer, type GuestCpu, type GuestCpuOptions } from './cpu/guest-cpu.ts'
export { encryptionLeaf, ENCRYPTION_LEAF, guestModel, type EncryptionFacts } from './cpu/model.ts'
export { GHCB_SERVERS } from './ghcb/exits/index.ts'
export {
  answerGhcb, readGhcb, type AnswerRegister, type GhcbProblem, type GhcbReply, type GhcbRequest, type SharedMemory,
} from './ghcb/page.ts'
export { createVmgexitServer, type ServedExit, type VmgexitServer } from './ghcb/server.ts'
export { terminationText } from './ghcb/termination.ts'
export type {
  ApRequest, GhcbServer, GuestEnd, GuestRequestResult, GuestServices, Malformed, VcpuPause, VcpuServices,
} from './ghcb/types.ts'
export { createReferenceHost, type HostState, type ReferenceHost, type ReferenceHostOptions } from './host.ts'
export { createSnpGuest, type SnpGuest, type SnpGuestOptions, type SnpGuestStats } from './guest/guest.ts'
export type { SnpGuestState } from './guest/state.ts'
export { ATTACKS, type HostileDeed, type HostileMode, type HostilePlan } from './hostile/index.ts'
export { COSTS } from './guest/costs.ts'
export { firmwareLaunch, type FirmwareLaunchOptions } from './launch/firmware.ts'
export type { GuestWatch, Vcpu } from './guest/vcpu.ts'
export { createFirmware, statusName, type Firmware, type FirmwareOptions, type Psp } from './snp/firmware.ts'
export { readMsr, writeMsr } from './snp/instructions.ts'
export { judgeRmp, RMP_ALIGNMENT, rmpCoverage, rmpTableBytes, type RmpVerdict } from './snp/placement.ts'
