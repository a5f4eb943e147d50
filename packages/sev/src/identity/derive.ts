/** Secrets and numbers that a machine derives from its seed: the same seed, the same machine. */
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha384 } from '@noble/hashes/sha2.js'

const encoder = new TextEncoder()

/** Derives as many bytes as wanted from a secret, apart by label (HKDF with SHA-384, RFC 5869). */
export type Derive = (label: string, length: number) => Uint8Array

/** Derivation from a seed of any length. */
export function createDerive(seed: Uint8Array): Derive {
  const salt = encoder.encode('cofferdam sev')
  return (label, length) => hkdf(sha384, seed, salt, encoder.encode(label), length)
}
