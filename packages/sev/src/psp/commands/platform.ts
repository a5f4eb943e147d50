/** Commands of SEV-legacy that a driver gives around SNP: INIT, SHUTDOWN, status, identity, DF_FLUSH (AMD 55766 §5). */
import {
  PspCommand, PspStatus, SevGetId, SevInit, SevInitEx, SevInitFlags, SevPlatformFlags, SevPlatformState,
  SevPlatformStatus, SnpPlatformState,
} from '@cofferdam/spec'
import { pageAt, writableStatus } from '../pages.ts'
import type { Firmware, PspHandler } from '../types.ts'

const { UNINIT, INIT } = SevPlatformState
/** The trusted memory region for encrypted state: 1 MiB, aligned to its size. */
const TMR_BYTES = 2 ** 20
const NV_BYTES = 32 * 1024
const CHIP_ID_BYTES = 64

/** Checks the regions that INIT and INIT_EX hand over, and initialises SEV. */
function initialise(firmware: Firmware, flags: number, tmr: { address: bigint; length: number }): number {
  if ((flags & ~SevInitFlags.used) !== 0) return PspStatus.INVALID_PARAM
  const es = SevInitFlags.get(flags, 'ES') === 1
  if (es) {
    if (tmr.length < TMR_BYTES) return PspStatus.INVALID_LENGTH
    if (pageAt(firmware, tmr.address, BigInt(TMR_BYTES)) < 0) return PspStatus.INVALID_ADDRESS
    const status = writableStatus(firmware, tmr.address, tmr.length)
    if (status !== PspStatus.SUCCESS) return status
  }
  firmware.state.sev = INIT
  firmware.state.sevEs = es
  firmware.state.allAsidsDirty = true
  return PspStatus.SUCCESS
}

export const sevInit: PspHandler = {
  id: PspCommand.INIT, name: 'INIT', sev: [UNINIT], bytes: SevInit.size,
  run(firmware, buffer) {
    const { flags, reserved, tmrAddress, tmrLength } = SevInit.read(buffer)
    if (reserved !== 0) return PspStatus.INVALID_PARAM
    return initialise(firmware, flags, { address: tmrAddress, length: tmrLength })
  },
}

export const sevInitEx: PspHandler = {
  id: PspCommand.INIT_EX, name: 'INIT_EX', sev: [UNINIT], bytes: SevInitEx.size,
  run(firmware, buffer) {
    const { length, flags, tmrAddress, tmrLength, reserved, nvAddress, nvLength } = SevInitEx.read(buffer)
    if (length !== SevInitEx.size || nvLength < NV_BYTES) return PspStatus.INVALID_LENGTH
    if (reserved !== 0) return PspStatus.INVALID_PARAM
    const status = writableStatus(firmware, nvAddress, nvLength)
    if (status !== PspStatus.SUCCESS) return status
    return initialise(firmware, flags, { address: tmrAddress, length: tmrLength })
  },
}

export const sevShutdown: PspHandler = {
  id: PspCommand.SHUTDOWN, name: 'SHUTDOWN', bytes: 0,
  run({ state }) {
    state.sev = UNINIT
    state.sevEs = false
    return PspStatus.SUCCESS
  },
}

export const platformReset: PspHandler = {
  id: PspCommand.PLATFORM_RESET, name: 'PLATFORM_RESET', sev: [UNINIT], bytes: 0,
  run: () => PspStatus.SUCCESS,
}

export const platformStatus: PspHandler = {
  id: PspCommand.PLATFORM_STATUS, name: 'PLATFORM_STATUS', bytes: SevPlatformStatus.size,
  run(firmware, _buffer, address) {
    const { facts, state, memory } = firmware
    const status = writableStatus(firmware, BigInt(address), SevPlatformStatus.size)
    if (status !== PspStatus.SUCCESS) return status
    memory.write(address, SevPlatformStatus.create({
      apiMajor: facts.major, apiMinor: facts.minor, state: state.sev, build: facts.build,
      flags: SevPlatformFlags.pack({ CONFIG_ES: state.sevEs ? 1 : 0 }),
      guestCount: state.guests.size,
    }))
    return PspStatus.SUCCESS
  },
}

export const getId: PspHandler = {
  id: PspCommand.GET_ID, name: 'GET_ID', bytes: SevGetId.size,
  run(firmware, buffer, address) {
    const { address: target, length } = SevGetId.read(buffer)
    const own = writableStatus(firmware, BigInt(address), SevGetId.size)
    if (own !== PspStatus.SUCCESS) return own
    if (length < CHIP_ID_BYTES) {
      firmware.memory.write(address, SevGetId.create({ address: target, length: CHIP_ID_BYTES }))
      return PspStatus.INVALID_LENGTH
    }
    const status = writableStatus(firmware, target, CHIP_ID_BYTES)
    if (status === PspStatus.SUCCESS) firmware.memory.write(Number(target), firmware.identity.chipId)
    return status
  },
}

/** DF_FLUSH of both ABIs: ASIDs that were used are clean again, once every processor has written its caches back. */
function dataFabricFlush({ state }: Firmware): number {
  if (state.unflushed.size > 0) return PspStatus.WBINVD_REQUIRED
  state.dirtyAsids.clear()
  state.allAsidsDirty = false
  return PspStatus.SUCCESS
}

export const dfFlush: PspHandler = {
  id: PspCommand.DF_FLUSH, name: 'DF_FLUSH', sev: [INIT, SevPlatformState.WORKING], bytes: 0, run: dataFabricFlush,
}

export const snpDfFlush: PspHandler = {
  id: PspCommand.SNP_DF_FLUSH, name: 'SNP_DF_FLUSH', snp: [SnpPlatformState.INIT], bytes: 0, run: dataFabricFlush,
}

export const nop: PspHandler = { id: PspCommand.NOP, name: 'NOP', bytes: 0, run: () => PspStatus.SUCCESS }
