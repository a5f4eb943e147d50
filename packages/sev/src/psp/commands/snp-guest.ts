/** The life of a guest: context, ASID, status, end (AMD 56860 §8.11–8.16). */
import {
  PspCommand, PspStatus, RmpPageSize, SnpActivate, SnpActivateEx, SnpAddress, SnpGuestState, SnpGuestStatus,
  SnpGuestStatusFlags, SnpGuestStatusResult, SnpPlatformState,
} from '@cofferdam/spec'
import { changePage, guestAt, isRam, pageAt, stateOf, writableStatus } from '../pages.ts'
import type { Firmware, GuestContext, PspHandler } from '../types.ts'

const snp = [SnpPlatformState.INIT]

export const gctxCreate: PspHandler = {
  id: PspCommand.SNP_GCTX_CREATE, name: 'SNP_GCTX_CREATE', snp, bytes: SnpAddress.size,
  run(firmware, buffer) {
    const page = pageAt(firmware, SnpAddress.get(buffer, 'address'))
    if (page < 0) return PspStatus.INVALID_ADDRESS
    if (stateOf(firmware, page) !== 'firmware') return PspStatus.INVALID_PAGE_STATE
    if (firmware.rmp.found.large) return PspStatus.INVALID_PAGE_SIZE
    changePage(firmware, page, { vmsa: true })
    firmware.state.guests.set(page, emptyContext(page))
    return PspStatus.SUCCESS
  },
}

/** A guest without anything. */
export function emptyContext(page: number): GuestContext {
  const zero = (length: number): Uint8Array => new Uint8Array(length)
  return {
    page, state: SnpGuestState.INIT, asid: 0, policy: 0n, vek: zero(32), digest: zero(48), imi: false,
    vmpck: [zero(32), zero(32), zero(32), zero(32)], messages: [0n, 0n, 0n, 0n], reportId: zero(32),
    reportIdMa: zero(32).fill(0xff), familyId: zero(16), imageId: zero(16), guestSvn: 0, idKeyDigest: zero(48),
    authorKeyDigest: zero(48), authorKeyEn: false, hostData: zero(32), vcekDisabled: false, gosvw: zero(16),
    tscScale: 1n << 32n, launchTcb: 0n, launchMitigations: 0n,
  }
}

/** Takes an ASID from a guest: nobody may have it before all caches were written back. */
export function deactivate({ state, platform }: Firmware, guest: GuestContext): void {
  if (guest.asid === 0) return
  state.dirtyAsids.add(guest.asid)
  for (let p = 0; p < platform.processors; p++) state.unflushed.add(p)
  guest.asid = 0
}

/** Gives a guest an ASID, and with it its key to the memory controllers. */
function activate(firmware: Firmware, gctxPaddr: bigint, asid: number): number {
  const { state, facts, memory } = firmware
  const guest = guestAt(firmware, gctxPaddr)
  if (typeof guest === 'number') return guest
  if (guest.state === SnpGuestState.INIT) return PspStatus.INVALID_GUEST_STATE
  const last = state.maxSnpAsid === 0 ? facts.minSevAsid - 1 : state.maxSnpAsid
  if (asid === 0 || asid > Math.min(last, facts.maxAsid)) return PspStatus.INVALID_ASID
  if (guest.asid !== 0) return PspStatus.ACTIVE
  if ([...state.guests.values()].some((other) => other.asid === asid)) return PspStatus.ASID_OWNED
  if (state.allAsidsDirty || state.dirtyAsids.has(asid)) return PspStatus.DFFLUSH_REQUIRED
  guest.asid = asid
  memory.keys.install(asid, guest.vek)
  return PspStatus.SUCCESS
}

export const snpActivate: PspHandler = {
  id: PspCommand.SNP_ACTIVATE, name: 'SNP_ACTIVATE', snp, bytes: SnpActivate.size,
  run(firmware, buffer) {
    const { gctxPaddr, asid } = SnpActivate.read(buffer)
    return activate(firmware, gctxPaddr, asid)
  },
}

export const snpActivateEx: PspHandler = {
  id: PspCommand.SNP_ACTIVATE_EX, name: 'SNP_ACTIVATE_EX', snp, bytes: SnpActivateEx.size,
  run(firmware, buffer) {
    const { length, reserved, gctxPaddr, asid, numIds, idPaddr } = SnpActivateEx.read(buffer)
    if (length !== SnpActivateEx.size) return PspStatus.INVALID_LENGTH
    // One APIC id for each core complex that may run the guest.
    if (reserved !== 0 || numIds === 0 || numIds > firmware.platform.processors) return PspStatus.INVALID_PARAM
    if (idPaddr % 4n !== 0n || !isRam(firmware, idPaddr, 4 * numIds)) return PspStatus.INVALID_ADDRESS
    return activate(firmware, gctxPaddr, asid)
  },
}

export const snpGuestStatus: PspHandler = {
  id: PspCommand.SNP_GUEST_STATUS, name: 'SNP_GUEST_STATUS', snp, bytes: SnpGuestStatus.size,
  run(firmware, buffer) {
    const { gctxPaddr, statusPaddr } = SnpGuestStatus.read(buffer)
    const guest = guestAt(firmware, gctxPaddr)
    if (typeof guest === 'number') return guest
    const status = writableStatus(firmware, statusPaddr, SnpGuestStatusResult.size)
    if (status !== PspStatus.SUCCESS) return status
    firmware.memory.write(Number(statusPaddr), SnpGuestStatusResult.create({
      policy: guest.policy, asid: guest.asid, state: guest.state,
      flags: SnpGuestStatusFlags.pack({ VCEK_DIS: guest.vcekDisabled ? 1 : 0 }),
    }))
    return PspStatus.SUCCESS
  },
}

export const snpDecommission: PspHandler = {
  id: PspCommand.SNP_DECOMMISSION, name: 'SNP_DECOMMISSION', snp, bytes: SnpAddress.size,
  run(firmware, buffer) {
    const guest = guestAt(firmware, SnpAddress.get(buffer, 'address'))
    if (typeof guest === 'number') return guest
    deactivate(firmware, guest)
    firmware.state.guests.delete(guest.page)
    changePage(firmware, guest.page, { vmsa: false })
    return PspStatus.SUCCESS
  },
}

/** Whether a page's entry has the size that a command names. */
export const sizeFits = (large: boolean, pageSize: number): boolean =>
  large === (pageSize === RmpPageSize.SIZE_2M)
