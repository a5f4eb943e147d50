/** The index of the firmware's commands. */
import type { PspHandler } from '../types.ts'
import {
  dfFlush, getId, nop, platformReset, platformStatus, sevInit, sevInitEx, sevShutdown, snpDfFlush,
} from './platform.ts'
import { gctxCreate, snpActivate, snpActivateEx, snpDecommission, snpGuestStatus } from './snp-guest.ts'
import { snpGuestRequest } from './snp-guest-request.ts'
import { snpInit, snpInitEx } from './snp-init.ts'
import { snpLaunchFinish, snpLaunchStart, snpLaunchUpdate } from './snp-launch.ts'
import {
  snpDbgDecrypt, snpDbgEncrypt, snpPageMdInit, snpPageMove, snpPageReclaim, snpPageSetState, snpPageSwapIn,
  snpPageSwapOut, snpPageUnsmash,
} from './snp-pages.ts'
import {
  snpCommit, snpConfig, snpFeatureInfo, snpPlatformStatus, snpShutdown, snpShutdownEx, snpVlekLoad,
} from './snp-platform.ts'
import { unsupported } from './unsupported.ts'

/** By number; every number of `PspCommand` is here. */
export const PSP_COMMANDS: ReadonlyMap<number, PspHandler> = new Map([
  sevInit, sevInitEx, sevShutdown, platformReset, platformStatus, getId, dfFlush, nop,
  snpInit, snpInitEx, snpShutdown, snpShutdownEx, snpPlatformStatus, snpFeatureInfo, snpDfFlush, snpConfig, snpCommit,
  snpVlekLoad,
  gctxCreate, snpActivate, snpActivateEx, snpGuestStatus, snpDecommission, snpLaunchStart, snpLaunchUpdate,
  snpLaunchFinish, snpGuestRequest,
  snpPageReclaim, snpPageUnsmash, snpPageMdInit, snpPageSetState, snpPageMove, snpPageSwapOut, snpPageSwapIn,
  snpDbgDecrypt, snpDbgEncrypt,
  ...unsupported,
].map((handler) => [handler.id, handler]))
