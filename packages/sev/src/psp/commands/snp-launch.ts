/** Launching a guest: start, pages, end (AMD 56860 §8.17–8.19). */
import { sha384 } from '@noble/hashes/sha2.js'
import {
  CURVE_P384, ECDSA_P384_SHA384, PspCommand, PspStatus, SevFeatures, SNP_ID_BLOCK_VERSION, SnpEcdsaKey, SnpGuestState,
  SnpIdAuth,
  SnpIdBlock, SnpLaunchFinish, SnpLaunchFinishFlags, SnpLaunchStart, SnpLaunchStartFlags, SnpLaunchUpdate,
  SnpLaunchUpdatePage, SnpLaunchUpdatePermissions, SnpPageType, SnpPlatformState, SnpPolicy, VMPL_ALL, Vmsa,
} from '@cofferdam/spec'
import { sameBytes, viewOf } from '../../bytes.ts'
import { extendLaunchDigest } from '../../measure/digest.ts'
import { decodeEcdsaKey, ecdsaVerify } from '../../report/ecdsa.ts'
import { checkCpuidPage } from '../cpuid-policy.ts'
import { PAGE, changePage, guestAt, pageAt, stateOf } from '../pages.ts'
import { secretsPage } from '../secrets.ts'
import type { Firmware, GuestContext, PspHandler } from '../types.ts'
import { sizeFits } from './snp-guest.ts'

const snp = [SnpPlatformState.INIT]
const TSC_ONE = 1n << 32n

/** Checks a policy against this firmware and its platform. */
function policyStatus({ facts, state }: Firmware, policy: bigint, migrationAgent: boolean): number {
  const p = SnpPolicy.unpack(policy)
  if (p.RESERVED_ONE !== 1n || (policy & ~SnpPolicy.used) !== 0n) return PspStatus.INVALID_PARAM
  const asked = (p.ABI_MAJOR << 8n) | p.ABI_MINOR
  const tooNew = asked > BigInt((facts.major << 8) | facts.minor)
  const forbidden = (p.SMT === 0n && facts.smt) || (migrationAgent && p.MIGRATE_MA === 0n)
  // Neither is in force on this platform, see SNP_FEATURE_INFO.
  const missing = p.RAPL_DIS === 1n || p.CIPHERTEXT_HIDING_DRAM === 1n || p.MEM_AES_256_XTS === 1n
  if (tooNew || forbidden || missing || state.snp !== SnpPlatformState.INIT) return PspStatus.POLICY_FAILURE
  return PspStatus.SUCCESS
}

export const snpLaunchStart: PspHandler = {
  id: PspCommand.SNP_LAUNCH_START, name: 'SNP_LAUNCH_START', snp, bytes: SnpLaunchStart.size,
  run(firmware, buffer) {
    const { facts, state } = firmware
    const request = SnpLaunchStart.read(buffer)
    const { MA_EN, IMI_EN } = SnpLaunchStartFlags.unpack(request.flags)
    const guest = guestAt(firmware, request.gctxPaddr)
    if (typeof guest === 'number') return guest
    if (guest.state !== SnpGuestState.INIT) return PspStatus.INVALID_GUEST_STATE
    if ((request.flags & ~SnpLaunchStartFlags.used) !== 0) return PspStatus.INVALID_PARAM
    const policy = policyStatus(firmware, request.policy, MA_EN === 1)
    if (policy !== PspStatus.SUCCESS) return policy
    if (MA_EN === 1) {
      const agent = guestAt(firmware, request.maGctxPaddr)
      if (typeof agent === 'number') return agent
      if (agent.state !== SnpGuestState.RUNNING) return PspStatus.INVALID_GUEST_STATE
      guest.reportIdMa = agent.reportId.slice()
    }
    Object.assign(guest, {
      state: SnpGuestState.LAUNCH, policy: request.policy, imi: IMI_EN === 1, gosvw: request.gosvw,
      vek: firmware.random(32), vmpck: [0, 1, 2, 3].map(() => firmware.random(32)), reportId: firmware.random(32),
      launchTcb: state.currentTcb, launchMitigations: facts.mitigations,
      tscScale: request.desiredTscKhz === 0 ? TSC_ONE : TSC_ONE * BigInt(request.desiredTscKhz) / BigInt(facts.tscKhz),
    } satisfies Partial<GuestContext>)
    return PspStatus.SUCCESS
  },
}

/** One page of 4 KiB, as it is found and as it is to be measured. */
interface LaunchPage {
  readonly page: number
  readonly gpa: bigint
  readonly type: number
}

/** What a page holds from now on; or INVALID_PARAM for a CPUID page that had to be corrected. */
function contents(firmware: Firmware, guest: GuestContext, { page, type }: LaunchPage): Uint8Array | number {
  const bytes = new Uint8Array(PAGE)
  if (type === SnpPageType.ZERO) return bytes
  if (type === SnpPageType.SECRETS) return secretsPage(firmware, guest)
  firmware.memory.read(page * PAGE, bytes)
  if (type !== SnpPageType.CPUID) return bytes
  const checked = checkCpuidPage(bytes, firmware.platform)
  if (checked.ok) return bytes
  // The hypervisor finds what would have been right in the page, once it has reclaimed it.
  firmware.memory.write(page * PAGE, checked.page)
  return PspStatus.INVALID_PARAM
}

/**
 * A VMSA with Secure TSC, as the guest starts with it: scale and offset come from the firmware, outside the
 * measurement, and are what TSC_INFO tells the guest for its other processors (56860 §7.10).
 */
function withTime(guest: GuestContext, vmsa: Uint8Array): Uint8Array {
  const view = viewOf(vmsa)
  if ((Vmsa.get(view, 'sevFeatures') & SevFeatures.mask.SecureTSC) === 0n) return vmsa
  Vmsa.write(view, { guestTscScale: guest.tscScale, guestTscOffset: 0n })
  return vmsa
}

const SMALL_TYPES: readonly number[] = [SnpPageType.VMSA, SnpPageType.SECRETS, SnpPageType.CPUID]

export const snpLaunchUpdate: PspHandler = {
  id: PspCommand.SNP_LAUNCH_UPDATE, name: 'SNP_LAUNCH_UPDATE', snp, bytes: SnpLaunchUpdate.size,
  run(firmware, buffer) {
    const request = SnpLaunchUpdate.read(buffer)
    const { pageSize, pageType, IMI_PAGE } = SnpLaunchUpdatePage.unpack(request.page)
    const { vmpl1, vmpl2, vmpl3 } = SnpLaunchUpdatePermissions.unpack(request.permissions)
    const guest = guestAt(firmware, request.gctxPaddr)
    if (typeof guest === 'number') return guest
    if (guest.state !== SnpGuestState.LAUNCH) return PspStatus.INVALID_GUEST_STATE
    const reserved = (request.page & ~SnpLaunchUpdatePage.used) | (request.permissions & 0xff) | request.reserved1 |
      request.reserved2 | ((vmpl1 | vmpl2 | vmpl3) & ~VMPL_ALL)
    const known = Object.values<number>(SnpPageType).includes(pageType)
    if (reserved !== 0 || !known || (IMI_PAGE === 1 && !guest.imi)) return PspStatus.INVALID_PARAM
    const first = pageAt(firmware, request.pagePaddr, pageSize === 1 ? 0x20_0000n : 0x1000n)
    if (first < 0) return PspStatus.INVALID_ADDRESS
    if (guest.asid === 0) return PspStatus.INACTIVE
    const entry = firmware.rmp.read(first)
    if (stateOf(firmware, first) !== 'pre-guest' || entry === null) return PspStatus.INVALID_PAGE_STATE
    if (!sizeFits(entry.large, pageSize) || (pageSize === 1 && SMALL_TYPES.includes(pageType))) {
      return PspStatus.INVALID_PAGE_SIZE
    }
    if (entry.asid !== guest.asid) return PspStatus.INVALID_PAGE_OWNER
    for (let i = 0; i < (entry.large ? 512 : 1); i++) {
      const page = { page: first + i, gpa: BigInt(entry.guestPage + i) << 12n, type: pageType }
      const bytes = contents(firmware, guest, page)
      if (typeof bytes === 'number') return bytes
      guest.digest = extendLaunchDigest(guest.digest, {
        type: pageType, gpa: page.gpa, bytes, imi: IMI_PAGE === 1, vmpls: [vmpl1, vmpl2, vmpl3],
      })
      const placed = pageType === SnpPageType.VMSA ? withTime(guest, bytes) : bytes
      firmware.memory.write(page.page * PAGE, placed, guest.asid)
    }
    changePage(firmware, first, {
      immutable: false, validated: true, vmsa: pageType === SnpPageType.VMSA,
      permissions: (VMPL_ALL | (vmpl1 << 8) | (vmpl2 << 16) | (vmpl3 << 24)) >>> 0,
    })
    return PspStatus.SUCCESS
  },
}

/** Takes over what a guest's owner signed, once it fits the guest. */
function acceptIdBlock(firmware: Firmware, guest: GuestContext, finish: DataView): number {
  const { idBlockPaddr, idAuthPaddr, flags } = SnpLaunchFinish.read(finish)
  if (pageAt(firmware, idBlockPaddr, 16n) < 0 || pageAt(firmware, idAuthPaddr) < 0) return PspStatus.INVALID_ADDRESS
  const blockBytes = new Uint8Array(SnpIdBlock.size)
  const authBytes = new Uint8Array(SnpIdAuth.size)
  firmware.memory.read(Number(idBlockPaddr), blockBytes)
  firmware.memory.read(Number(idAuthPaddr), authBytes)
  const block = SnpIdBlock.read(viewOf(blockBytes))
  const auth = SnpIdAuth.read(viewOf(authBytes))
  const author = SnpLaunchFinishFlags.get(flags, 'AUTH_KEY_EN') === 1
  const isP384 = (key: Uint8Array): boolean => SnpEcdsaKey.get(viewOf(key), 'curve') === CURVE_P384
  if (block.version !== SNP_ID_BLOCK_VERSION || auth.idKeyAlgorithm !== ECDSA_P384_SHA384 || !isP384(auth.idKey)) {
    return PspStatus.INVALID_PARAM
  }
  if (author && (auth.authorKeyAlgorithm !== ECDSA_P384_SHA384 || !isP384(auth.authorKey))) {
    return PspStatus.INVALID_PARAM
  }
  const signed = (key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean => {
    const point = decodeEcdsaKey(key)
    return point !== null && ecdsaVerify(point, message, signature)
  }
  if (!signed(auth.idKey, blockBytes, auth.idBlockSignature)) return PspStatus.BAD_SIGNATURE
  if (author && !signed(auth.authorKey, auth.idKey, auth.idKeySignature)) return PspStatus.BAD_SIGNATURE
  if (!sameBytes(block.launchDigest, guest.digest)) return PspStatus.BAD_MEASUREMENT
  if (block.policy !== guest.policy) return PspStatus.POLICY_FAILURE
  Object.assign(guest, {
    familyId: block.familyId, imageId: block.imageId, guestSvn: block.guestSvn, idKeyDigest: sha384(auth.idKey),
    authorKeyEn: author, authorKeyDigest: author ? sha384(auth.authorKey) : new Uint8Array(48),
  } satisfies Partial<GuestContext>)
  return PspStatus.SUCCESS
}

export const snpLaunchFinish: PspHandler = {
  id: PspCommand.SNP_LAUNCH_FINISH, name: 'SNP_LAUNCH_FINISH', snp, bytes: SnpLaunchFinish.size,
  run(firmware, buffer) {
    const { gctxPaddr, flags, reserved, hostData } = SnpLaunchFinish.read(buffer)
    const { ID_BLOCK_EN, AUTH_KEY_EN, VCEK_DIS } = SnpLaunchFinishFlags.unpack(flags)
    const guest = guestAt(firmware, gctxPaddr)
    if (typeof guest === 'number') return guest
    if (guest.state !== SnpGuestState.LAUNCH) return PspStatus.INVALID_GUEST_STATE
    const wrong = (flags & ~SnpLaunchFinishFlags.used) !== 0 || reserved.some((byte) => byte !== 0)
    if (wrong || (AUTH_KEY_EN === 1 && ID_BLOCK_EN === 0)) return PspStatus.INVALID_PARAM
    if (ID_BLOCK_EN === 1) {
      const status = acceptIdBlock(firmware, guest, buffer)
      if (status !== PspStatus.SUCCESS) return status
    }
    Object.assign(guest, {
      state: SnpGuestState.RUNNING, hostData, vcekDisabled: VCEK_DIS === 1,
    } satisfies Partial<GuestContext>)
    return PspStatus.SUCCESS
  },
}
