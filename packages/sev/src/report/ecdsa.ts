/** ECDSA with P-384 and SHA-384 in the firmware's format: numbers of 72 bytes, little-endian (AMD 56860 §10). */
import { p384 } from '@noble/curves/nist.js'
import { sha384 } from '@noble/hashes/sha2.js'
import { CURVE_P384, SnpEcdsaKey, SnpEcdsaSignature } from '@cofferdam/spec'
import { concat, isZero, viewOf } from '../bytes.ts'

const NUMBER = 48

/** 48 bytes, big-endian, in a field of 72, little-endian; and back, or null when the field holds more. */
const toField = (bytes: Uint8Array): Uint8Array => {
  const field = new Uint8Array(72)
  field.set(bytes.slice().reverse())
  return field
}
const fromField = (field: Uint8Array): Uint8Array | null =>
  (isZero(field.subarray(NUMBER)) ? field.slice(0, NUMBER).reverse() : null)

/** Signs; the same message gives the same signature (RFC 6979). 512 bytes. */
export function ecdsaSign(privateKey: Uint8Array, message: Uint8Array): Uint8Array {
  const signature = p384.sign(sha384(message), privateKey, { prehash: false, lowS: false, format: 'compact' })
  return SnpEcdsaSignature.create({
    r: toField(signature.slice(0, NUMBER)), s: toField(signature.slice(NUMBER)),
  })
}

/** Verifies a signature of 512 bytes with an uncompressed or compressed point. */
export function ecdsaVerify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const { r, s } = SnpEcdsaSignature.read(viewOf(signature))
  const [left, right] = [fromField(r), fromField(s)]
  if (left === null || right === null) return false
  try {
    return p384.verify(concat(left, right), sha384(message), publicKey, {
      prehash: false, lowS: false, format: 'compact',
    })
  } catch {
    // A point that is not on the curve, or numbers out of range.
    return false
  }
}

/** A public key in the firmware's format, 1028 bytes. */
export function encodeEcdsaKey(publicKey: Uint8Array): Uint8Array {
  const point = p384.Point.fromBytes(publicKey).toBytes(false)
  return SnpEcdsaKey.create({
    curve: CURVE_P384, qx: toField(point.slice(1, 1 + NUMBER)), qy: toField(point.slice(1 + NUMBER)),
  })
}

/** The uncompressed point of such a key, or null when it is none of P-384. */
export function decodeEcdsaKey(bytes: Uint8Array): Uint8Array | null {
  const { curve, qx, qy, reserved } = SnpEcdsaKey.read(viewOf(bytes))
  const [x, y] = [fromField(qx), fromField(qy)]
  if (curve !== CURVE_P384 || x === null || y === null || !isZero(reserved)) return null
  const point = concat(Uint8Array.of(4), x, y)
  try {
    p384.Point.fromBytes(point).assertValidity()
    return point
  } catch {
    return null
  }
}
