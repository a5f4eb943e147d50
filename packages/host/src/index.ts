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
export { GHCB_EXITS } from './ghcb/exits/index.ts'
export { MSR_EXITS, type MsrExit } from './ghcb/msr/index.ts'
export {
  answerGhcb, readGhcb, type GhcbRegister, type GhcbReply, type GhcbRequest, type SharedMemory,
} from './ghcb/page.ts'
export { serveVmgexit, type ServedExit } from './ghcb/server.ts'
export { terminationText } from './ghcb/termination.ts'
export type {
  ApRequest, GhcbExit, GuestEnd, GuestRequestResult, GuestServices, Malformed, VcpuPause, VcpuServices,
} from './ghcb/types.ts'
