/** MSG_KEY_REQ: a key derived from the chip and what the guest is (AMD 56860 §7.2). */
import {
  GuestMessageStatus, GuestMessageType, KEY_REQUEST_V1_BYTES, KeyFieldSelect, KeyRequest, KeyResponse, KeySelect,
} from '@cofferdam/spec'
import { concat, toHex, viewOf } from '../../bytes.ts'
import { createDerive } from '../../identity/derive.ts'
import { tcbAtMost } from '../../identity/tcb.ts'
import type { Firmware, GuestContext } from '../types.ts'
import type { MessageHandler } from './types.ts'

const { SUCCESS, INVALID_PARAM, INVALID_KEY_SELECTION } = GuestMessageStatus
const answer = (status: number, derivedKey: Uint8Array = new Uint8Array(32)): Uint8Array =>
  KeyResponse.create({ status, derivedKey })

const qword = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(8)
  viewOf(bytes).setBigUint64(0, value, true)
  return bytes
}

/**
 * The root of the derivation: a secret of the chip, or of the loaded key; null when it is not to be had. With
 * MASK_CHIP_KEY the chip's is used neither in attestation nor here (AMD 56860 §8.6, SNP_CONFIG).
 */
function rootKey({ identity, state }: Firmware, guest: GuestContext, keySelect: number): Uint8Array | null {
  const { vlek } = state
  const loaded = keySelect === 2 || (keySelect === 0 && vlek !== null)
  if (keySelect > 2 || (!loaded && (guest.vcekDisabled || state.maskChipKey))) return null
  if (!loaded) return identity.derive('guest key root', 48)
  return vlek === null ? null : createDerive(vlek.seed)('guest key root', 48)
}

export const keyMessage: MessageHandler = {
  type: GuestMessageType.KEY_REQ, response: GuestMessageType.KEY_RSP, versions: [1, 2], bytes: KEY_REQUEST_V1_BYTES,
  run(firmware, guest, { vmpck, version, payload }) {
    const { identity, state } = firmware
    const full = new Uint8Array(KeyRequest.size)
    full.set(payload.subarray(0, version === 1 ? KEY_REQUEST_V1_BYTES : KeyRequest.size))
    const request = KeyRequest.read(viewOf(full))
    const { rootKeySelect, keySelect } = KeySelect.unpack(request.keySelect)
    const fields = KeyFieldSelect.unpack(request.guestFieldSelect)
    const wrong = (request.keySelect & ~KeySelect.used) !== 0 || request.reserved !== 0 ||
      (request.guestFieldSelect & ~KeyFieldSelect.used) !== 0n || (version === 1 && fields.LAUNCH_MIT_VECTOR !== 0n) ||
      request.vmpl > 3 || request.vmpl < vmpck || request.guestSvn > guest.guestSvn ||
      !tcbAtMost(identity.product, request.tcbVersion, state.committedTcb) ||
      (request.launchMitVector & ~guest.launchMitigations) !== 0n
    if (wrong) return answer(INVALID_PARAM)
    // A VMRK comes from a migration agent alone, and none has given one.
    const root = rootKeySelect === 1 ? null : rootKey(firmware, guest, keySelect)
    if (root === null) return answer(INVALID_KEY_SELECTION)
    const mixed = concat(
      qword(request.guestFieldSelect), qword(BigInt(request.vmpl)),
      ...(fields.GUEST_POLICY !== 0n ? [qword(guest.policy)] : []), ...(fields.IMAGE_ID !== 0n ? [guest.imageId] : []),
      ...(fields.FAMILY_ID !== 0n ? [guest.familyId] : []), ...(fields.MEASUREMENT !== 0n ? [guest.digest] : []),
      ...(fields.GUEST_SVN !== 0n ? [qword(BigInt(request.guestSvn))] : []),
      ...(fields.TCB_VERSION !== 0n ? [qword(request.tcbVersion)] : []),
      ...(fields.LAUNCH_MIT_VECTOR !== 0n ? [qword(request.launchMitVector)] : []),
      // Whoever signs the guest's ID block owns its keys.
      guest.idKeyDigest,
    )
    return answer(SUCCESS, createDerive(root)(`guest key ${toHex(mixed)}`, 32))
  },
}
