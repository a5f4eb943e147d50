/**
 * The hashstick of a VLEK, wrapped for one chip (AMD 56860 §8.29, table 106): a cloud provider gets it from AMD's key
 * server and hands it to the firmware; here `wrapVlek` is that server.
 */
import { gcm } from '@noble/ciphers/aes.js'
import { VLEK_HASHSTICK_BYTES, layout } from '@cofferdam/spec'
import { concat, viewOf } from '../bytes.ts'
import type { SevIdentity } from '../identity/machine.ts'
import type { LoadedVlek } from './types.ts'

/** AES-256-GCM: the TCB version and the reserved bytes after it are authenticated. */
const WrappedVlek = layout(VLEK_HASHSTICK_BYTES, {
  iv: [0x000, 12], reserved1: [0x00c, 4, 'bytes'], hashstick: [0x010, 384], tcb: [0x190, 8], reserved2: [0x198, 8],
  tag: [0x1a0, 16],
})
/** Bytes of an unwrapped hashstick, from which the VLEK is made. */
export const VLEK_SEED_BYTES = 384

const wrappingKey = ({ derive }: SevIdentity): Uint8Array => derive('vlek wrapping key', 32)
const aad = (bytes: Uint8Array): Uint8Array => bytes.subarray(WrappedVlek.offset.tcb, WrappedVlek.offset.tag)

/** Wraps a seed of 384 bytes for a chip. @throws RangeError for another length */
export function wrapVlek(identity: SevIdentity, seed: Uint8Array, tcb: bigint): Uint8Array {
  if (seed.length !== VLEK_SEED_BYTES) throw new RangeError(`a VLEK hashstick has ${VLEK_SEED_BYTES} bytes`)
  const iv = identity.derive(`vlek iv ${tcb.toString(16)}`, 12)
  const out = WrappedVlek.create({ iv, tcb })
  const sealed = gcm(wrappingKey(identity), iv, aad(out)).encrypt(seed)
  WrappedVlek.write(viewOf(out), {
    hashstick: sealed.slice(0, VLEK_SEED_BYTES), tag: sealed.slice(VLEK_SEED_BYTES),
  })
  return out
}

/** Unwraps a hashstick; null when it was not wrapped for this chip. */
export function unwrapVlek(identity: SevIdentity, bytes: Uint8Array): LoadedVlek | null {
  const { iv, hashstick, tcb, tag } = WrappedVlek.read(viewOf(bytes))
  try {
    return { seed: gcm(wrappingKey(identity), iv, aad(bytes)).decrypt(concat(hashstick, tag)), tcb }
  } catch {
    // The tag does not fit.
    return null
  }
}
