/** The chip of an SNP machine: who it is to verifiers follows from the machine's seed. */
import { createSevIdentity, DEFAULT_FACTS, encodeTcb } from '@cofferdam/sev'
import type { PrimalityTest, SevIdentity } from '@cofferdam/sev'

/** The processors' product: `epycGenoa`'s. */
const PRODUCT = 'Genoa'

/** The seed as the bytes that everything about the chip is derived from. */
function seedBytes(seed: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(seed)), true)
  return bytes
}

/** The chip that was asked for last: its keys take a while to find, and machines of one seed have one chip. */
let last: { readonly seed: number, readonly identity: SevIdentity } | null = null

/** The identity of the chip in a machine with this seed. @param isPrime finds its keys sooner, and no others */
export function snpIdentity(seed: number, isPrime?: PrimalityTest): SevIdentity {
  if (last?.seed !== seed) last = { seed, identity: createSevIdentity(seedBytes(seed), PRODUCT, { isPrime }) }
  return last.identity
}

/** The certificates that vouch for a machine's reports, DER: the root first. */
export interface SnpEndorsement {
  /** AMD's root key in this emulated world; a verifier trusts it or nothing. */
  readonly ark: Uint8Array
  readonly ask: Uint8Array
  /** The chip's own key, at the TCB version that its firmware reports. */
  readonly vcek: Uint8Array
}

/**
 * The certificates of the machine that `createMachine` makes of a seed, without making it. Takes some tenths of a
 * second, less with a quick test of primes.
 */
export function snpEndorsement(seed: number, isPrime?: PrimalityTest): SnpEndorsement {
  const identity = snpIdentity(seed, isPrime)
  const vcek = identity.vcekCertificate(encodeTcb(PRODUCT, DEFAULT_FACTS.tcb))
  return { ark: identity.ark(), ask: identity.ask(), vcek }
}
