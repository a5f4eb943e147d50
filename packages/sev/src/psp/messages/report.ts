/** MSG_REPORT_REQ: an attestation report (AMD 56860 §7.3). */
import {
  AttestationReport, ECDSA_P384_SHA384, GuestMessageStatus, GuestMessageType, REPORT_SIGNED_BYTES, ReportKeyInfo,
  ReportPlatformInfo, ReportRequest, ReportRequestFlags, ReportResponseHeader, ReportSigningKey,
} from '@cofferdam/spec'
import { concat, isZero, viewOf } from '../../bytes.ts'
import { ecdsaSign } from '../../report/ecdsa.ts'
import { familyModelStepping } from '../secrets.ts'
import type { Firmware, GuestContext } from '../types.ts'
import type { MessageHandler } from './types.ts'

/** Which key signs. */
interface Signer {
  /** A number of `ReportSigningKey`. */
  readonly kind: number
  readonly key: Uint8Array
}

/** KEY_SEL: 0 the VLEK when there is one, 1 the VCEK, 2 the VLEK; null when that key is not to be had. */
export function selectSigner(firmware: Firmware, guest: GuestContext, keySelect: number): Signer | null {
  const { identity, state } = firmware
  const { vlek } = state
  const useVlek = keySelect === 2 || (keySelect === 0 && vlek !== null)
  if ((useVlek && vlek === null) || (!useVlek && guest.vcekDisabled)) return null
  if (useVlek && vlek !== null) {
    return { kind: ReportSigningKey.VLEK, key: identity.vlek(vlek.seed, vlek.tcb).privateKey }
  }
  return { kind: ReportSigningKey.VCEK, key: identity.vcek(state.reportedTcb).privateKey }
}

/** A report, signed. `vmpl` and `reportData` are the guest's. */
export function buildReport(
  firmware: Firmware, guest: GuestContext, vmpl: number, reportData: Uint8Array, signer: Signer,
): Uint8Array {
  const { facts, state, identity } = firmware
  const { family, model, stepping } = familyModelStepping(facts.signature)
  const version = facts.reportVersion
  const loaded = signer.kind === ReportSigningKey.VLEK
  const masked = state.maskChipKey
  const report = AttestationReport.create({
    version, guestSvn: guest.guestSvn, policy: guest.policy, familyId: guest.familyId, imageId: guest.imageId, vmpl,
    signatureAlgorithm: ECDSA_P384_SHA384, currentTcb: state.currentTcb,
    platformInfo: ReportPlatformInfo.pack({
      SMT_EN: facts.smt ? 1n : 0n, ALIAS_CHECK_COMPLETE: version >= 3 ? 1n : 0n,
    }),
    keyInfo: ReportKeyInfo.pack({
      AUTHOR_KEY_EN: guest.authorKeyEn ? 1 : 0, MASK_CHIP_KEY: masked ? 1 : 0,
      signingKey: masked ? ReportSigningKey.NONE : signer.kind,
    }),
    reportData, measurement: guest.digest, hostData: guest.hostData, idKeyDigest: guest.idKeyDigest,
    authorKeyDigest: guest.authorKeyDigest, reportId: guest.reportId, reportIdMa: guest.reportIdMa,
    reportedTcb: loaded && state.vlek !== null ? state.vlek.tcb : state.reportedTcb,
    ...(version >= 3 && { cpuidFamily: family, cpuidModel: model, cpuidStepping: stepping }),
    // Whichever key signs: only MaskChipId hides it (virtee/sev, AttestationReport.chip_id).
    chipId: state.maskChipId ? new Uint8Array(64) : identity.chipId,
    committedTcb: state.committedTcb, currentBuild: facts.build, currentMinor: facts.minor, currentMajor: facts.major,
    committedBuild: facts.build, committedMinor: facts.minor, committedMajor: facts.major, launchTcb: guest.launchTcb,
    ...(version >= 5 && { launchMitVector: guest.launchMitigations, currentMitVector: facts.mitigations }),
  })
  if (!masked) {
    report.set(ecdsaSign(signer.key, report.subarray(0, REPORT_SIGNED_BYTES)), AttestationReport.offset.signature)
  }
  return report
}

const answer = (status: number, report: Uint8Array = new Uint8Array()): Uint8Array =>
  concat(ReportResponseHeader.create({ status, reportSize: report.length }), report)

export const reportMessage: MessageHandler = {
  type: GuestMessageType.REPORT_REQ, response: GuestMessageType.REPORT_RSP, versions: [1], bytes: ReportRequest.size,
  run(firmware, guest, { vmpck, payload }) {
    const { reportData, vmpl, flags, reserved } = ReportRequest.read(viewOf(payload))
    // Nobody speaks for a VMPL that is more privileged than his key.
    if (vmpl > 3 || vmpl < vmpck || (flags & ~ReportRequestFlags.used) !== 0 || !isZero(reserved)) {
      return answer(GuestMessageStatus.INVALID_PARAM)
    }
    const keySelect = ReportRequestFlags.get(flags, 'keySelect')
    // A reserved value names no key that could be missing (56860 §7.3 has three causes of an invalid selection).
    if (keySelect > 2) return answer(GuestMessageStatus.INVALID_PARAM)
    const signer = selectSigner(firmware, guest, keySelect)
    if (signer === null) return answer(GuestMessageStatus.INVALID_KEY_SELECTION)
    return answer(GuestMessageStatus.SUCCESS, buildReport(firmware, guest, vmpl, reportData, signer))
  },
}
