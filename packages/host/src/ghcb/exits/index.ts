/** The exits that guests make through their GHCB page, by code. */
import { SvmExit, VmgExit } from '@cofferdam/spec'
import type { GhcbServer } from '../types.ts'
import { apCreationExit } from './ap-creation.ts'
import { apJumpTableExit } from './ap-jump-table.ts'
import { apResetHoldExit } from './ap-reset-hold.ts'
import { apicIdListExit } from './apic-id-list.ts'
import { cpuidExit } from './cpuid.ts'
import { extendedGuestRequestExit, guestRequestExit } from './guest-request.ts'
import { hvFeaturesExit } from './hv-features.ts'
import {
  invdExit, monitorExit, mwaitExit, nmiCompleteExit, rdpmcExit, readDr7Exit, vmmcallExit, wbinvdExit, writeDr7Exit,
} from './instructions.ts'
import { ioioExit } from './ioio.ts'
import { mmioReadExit, mmioWriteExit } from './mmio.ts'
import { msrExit } from './msr.ts'
import { pageStateChangeExit } from './page-state-change.ts'
import { runVmplExit } from './run-vmpl.ts'
import { terminationExit } from './termination.ts'
import { rdtscExit, rdtscpExit } from './time.ts'
import { unsupportedExit } from './unsupported.ts'

/** 56421 §4.1, table 6. Codes that are not here are answered with INVALID_EVENT. */
export const GHCB_SERVERS: ReadonlyMap<number, GhcbServer> = new Map<number, GhcbServer>([
  [SvmExit.DR0_READ + 7, readDr7Exit],
  [SvmExit.DR0_WRITE + 7, writeDr7Exit],
  [SvmExit.RDTSC, rdtscExit],
  [SvmExit.RDPMC, rdpmcExit],
  [SvmExit.CPUID, cpuidExit],
  [SvmExit.INVD, invdExit],
  [SvmExit.IOIO, ioioExit],
  [SvmExit.MSR, msrExit],
  [SvmExit.VMMCALL, vmmcallExit],
  [SvmExit.RDTSCP, rdtscpExit],
  [SvmExit.WBINVD, wbinvdExit],
  [SvmExit.MONITOR, monitorExit],
  [SvmExit.MWAIT, mwaitExit],
  [VmgExit.MMIO_READ, mmioReadExit],
  [VmgExit.MMIO_WRITE, mmioWriteExit],
  [VmgExit.NMI_COMPLETE, nmiCompleteExit],
  [VmgExit.AP_RESET_HOLD, apResetHoldExit],
  [VmgExit.AP_JUMP_TABLE, apJumpTableExit],
  [VmgExit.PAGE_STATE_CHANGE, pageStateChangeExit],
  [VmgExit.GUEST_REQUEST, guestRequestExit],
  [VmgExit.EXT_GUEST_REQUEST, extendedGuestRequestExit],
  [VmgExit.AP_CREATION, apCreationExit],
  [VmgExit.APIC_ID_LIST, apicIdListExit],
  [VmgExit.SNP_RUN_VMPL, runVmplExit],
  [VmgExit.HV_FEATURES, hvFeaturesExit],
  [VmgExit.TERMINATION, terminationExit],
  [VmgExit.UNSUPPORTED_EVENT, unsupportedExit],
])
