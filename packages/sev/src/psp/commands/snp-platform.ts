/** The platform: status, features, shutdown, configuration, commit, VLEK (AMD 56860 §8.3–8.10, §8.29). */
import {
  PspCommand, PspStatus, SnpAddress, SnpCommit, SnpConfig, SnpConfigFlags, SnpFeatureEcx, SnpFeatureInfo,
  SnpFeatureInfoResult, SnpPlatformFlags, SnpPlatformState, SnpPlatformStatus, SnpShutdownEx, SnpShutdownFlags,
  SnpVlekLoad, VLEK_HASHSTICK_BYTES,
} from '@cofferdam/spec'
import { tcbAtMost } from '../../identity/tcb.ts'
import { changePage, isRam, writableStatus } from '../pages.ts'
import type { Firmware, PspHandler } from '../types.ts'
import { unwrapVlek } from '../vlek.ts'
import { deactivate } from './snp-guest.ts'

const { UNINIT, INIT } = SnpPlatformState

/** Writes what the firmware answers, if it may write there. */
function answer(firmware: Firmware, address: bigint, bytes: Uint8Array): number {
  const status = writableStatus(firmware, address, bytes.length)
  if (status === PspStatus.SUCCESS) firmware.memory.write(Number(address), bytes)
  return status
}

export const snpPlatformStatus: PspHandler = {
  id: PspCommand.SNP_PLATFORM_STATUS, name: 'SNP_PLATFORM_STATUS', bytes: SnpAddress.size,
  run(firmware, buffer) {
    const { facts, state } = firmware
    return answer(firmware, SnpAddress.get(buffer, 'address'), SnpPlatformStatus.create({
      apiMajor: facts.major, apiMinor: facts.minor, state: state.snp, rmp: state.rmpInitialised ? 1 : 0,
      buildId: facts.build, guestCount: state.guests.size, currentTcb: state.currentTcb,
      reportedTcb: state.reportedTcb,
      flags: SnpPlatformFlags.pack({
        MASK_CHIP_ID: state.maskChipId ? 1 : 0, MASK_CHIP_KEY: state.maskChipKey ? 1 : 0,
        VLEK_EN: state.vlek === null ? 0 : 1, FEATURE_INFO: 1,
      }),
    }))
  },
}

export const snpFeatureInfo: PspHandler = {
  id: PspCommand.SNP_FEATURE_INFO, name: 'SNP_FEATURE_INFO', bytes: SnpFeatureInfo.size,
  run(firmware, buffer) {
    const { length, ecxIn, featureInfoPaddr } = SnpFeatureInfo.read(buffer)
    if (length !== SnpFeatureInfo.size) return PspStatus.INVALID_LENGTH
    if (ecxIn !== 0) return PspStatus.INVALID_PARAM
    const off = firmware.platform.disableSnp === undefined ? 0 : 1
    const ecx = SnpFeatureEcx.pack({ X86_SNP_SHUTDOWN: off })
    return answer(firmware, featureInfoPaddr, SnpFeatureInfoResult.create({ ecx }))
  },
}

/** Ends SNP: guests are gone, their contexts are pages of the firmware's again. */
function shutdown(firmware: Firmware, flags: number): number {
  const { state, platform } = firmware
  const { IOMMU_SNP_SHUTDOWN: iommu, X86_SNP_SHUTDOWN: x86 } = SnpShutdownFlags.unpack(flags)
  if ((flags & ~SnpShutdownFlags.used) !== 0 || (x86 !== 0 && iommu === 0)) return PspStatus.INVALID_PARAM
  if (x86 !== 0 && platform.disableSnp === undefined) return PspStatus.UNSUPPORTED
  for (const guest of state.guests.values()) deactivate(firmware, guest)
  // Lines of guests that ran may still be in caches.
  if (state.dirtyAsids.size > 0) return PspStatus.DFFLUSH_REQUIRED
  for (const page of state.guests.keys()) changePage(firmware, page, { vmsa: false })
  state.guests.clear()
  state.snp = UNINIT
  // The ABI on SNP_VLEK_LOAD: a shutdown deletes the VLEK (quoted by Linux f91e9dbb5845).
  state.vlek = null
  if (x86 !== 0) {
    platform.disableSnp?.()
    firmware.rmp.enabled = false
    state.rmpInitialised = false
  }
  return PspStatus.SUCCESS
}

export const snpShutdown: PspHandler = {
  id: PspCommand.SNP_SHUTDOWN, name: 'SNP_SHUTDOWN', snp: [INIT], bytes: 0, run: (firmware) => shutdown(firmware, 0),
}

export const snpShutdownEx: PspHandler = {
  id: PspCommand.SNP_SHUTDOWN_EX, name: 'SNP_SHUTDOWN_EX', bytes: SnpShutdownEx.size,
  run(firmware, buffer) {
    const { length, flags } = SnpShutdownEx.read(buffer)
    if (length !== SnpShutdownEx.size) return PspStatus.INVALID_LENGTH
    // Once more after a shutdown that left the processors as they were: nothing is left to end but that.
    if (firmware.state.snp === UNINIT && SnpShutdownFlags.get(flags, 'X86_SNP_SHUTDOWN') === 0) return PspStatus.SUCCESS
    return shutdown(firmware, flags)
  },
}

export const snpConfig: PspHandler = {
  id: PspCommand.SNP_CONFIG, name: 'SNP_CONFIG', snp: [INIT], bytes: SnpConfig.size,
  run({ state, identity }, buffer) {
    const { reportedTcb, flags, reserved } = SnpConfig.read(buffer)
    if ((flags & ~SnpConfigFlags.used) !== 0 || reserved.some((byte) => byte !== 0)) return PspStatus.INVALID_PARAM
    if (!tcbAtMost(identity.product, reportedTcb, state.committedTcb)) return PspStatus.INVALID_PARAM
    state.reportedTcb = reportedTcb === 0n ? state.committedTcb : reportedTcb
    state.maskChipId = SnpConfigFlags.get(flags, 'MASK_CHIP_ID') === 1
    state.maskChipKey = SnpConfigFlags.get(flags, 'MASK_CHIP_KEY') === 1
    return PspStatus.SUCCESS
  },
}

/**
 * SNP_COMMIT is taken in every state, which table 5 of the ABI leaves out (Linux 5a1364da2f04): it sets the committed
 * and the reported version, and a VLEK of another reported version goes (virtee/sev, Firmware::snp_commit).
 */
export const snpCommit: PspHandler = {
  id: PspCommand.SNP_COMMIT, name: 'SNP_COMMIT', bytes: SnpCommit.size,
  run({ state }, buffer) {
    if (SnpCommit.get(buffer, 'length') !== SnpCommit.size) return PspStatus.INVALID_LENGTH
    if (state.reportedTcb !== state.currentTcb) state.vlek = null
    state.committedTcb = state.currentTcb
    // What SNP_CONFIG set lower ends here (Linux Documentation/virt/coco/sev-guest.rst, SNP_COMMIT).
    state.reportedTcb = state.currentTcb
    return PspStatus.SUCCESS
  },
}

export const snpVlekLoad: PspHandler = {
  id: PspCommand.SNP_VLEK_LOAD, name: 'SNP_VLEK_LOAD', snp: [INIT], bytes: SnpVlekLoad.size,
  run(firmware, buffer) {
    const { length, wrappedVersion, reserved, wrappedPaddr } = SnpVlekLoad.read(buffer)
    if (length !== SnpVlekLoad.size) return PspStatus.INVALID_LENGTH
    if (wrappedVersion !== 0 || reserved.some((byte) => byte !== 0)) return PspStatus.INVALID_PARAM
    if (wrappedPaddr % 16n !== 0n || !isRam(firmware, wrappedPaddr, VLEK_HASHSTICK_BYTES)) {
      return PspStatus.INVALID_ADDRESS
    }
    const wrapped = new Uint8Array(VLEK_HASHSTICK_BYTES)
    firmware.memory.read(Number(wrappedPaddr), wrapped)
    const vlek = unwrapVlek(firmware.identity, wrapped)
    if (vlek === null) return PspStatus.BAD_SIGNATURE
    if (!tcbAtMost(firmware.identity.product, vlek.tcb, firmware.state.committedTcb)) return PspStatus.BAD_SVN
    firmware.state.vlek = vlek
    return PspStatus.SUCCESS
  },
}
