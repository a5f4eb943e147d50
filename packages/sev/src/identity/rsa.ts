/**
 * RSA keys of 4096 bits from a seed, and RSASSA-PSS with SHA-384 as AMD's certificates use it (RFC 8017). A key has
 * four primes of 1024 bits (RFC 8017 §3.2: verifiers cannot tell): two of 2048 bits take some ten times as long to
 * find, and an emulated machine's root needs no protection from factoring. The search is sieved and deterministic.
 */
import { sha384 } from '@noble/hashes/sha2.js'
import { millerRabinBaseTest } from 'micro-rsa-dsa-dh/primality.js'
import { PSS, mgf1 } from 'micro-rsa-dsa-dh/rsa.js'
import { I2OSP, OS2IP, invert, pow } from 'micro-rsa-dsa-dh/utils.js'
import { concat } from '../bytes.ts'
import type { Derive } from './derive.ts'

const MODULUS_BITS = 4096
export const RSA_BYTES = MODULUS_BITS / 8
const PRIMES = 4
const HASH_BYTES = 48
/** Salt length of AMD's certificates. */
const SALT_BYTES = 48

export interface RsaPublicKey {
  readonly n: bigint
  readonly e: bigint
}

export interface RsaPrivateKey extends RsaPublicKey {
  readonly primes: readonly bigint[]
  readonly d: bigint
}

/** Whether a number is prime; must be right but for errors that nobody lives to see. */
export type PrimalityTest = (candidate: bigint) => boolean

const E = 65537n
const SIEVE = 2048

let smallPrimes: number[] | null = null

/** Odd primes below 20000, made when first wanted. */
function sievePrimes(): readonly number[] {
  if (smallPrimes !== null) return smallPrimes
  const composite = new Uint8Array(20000)
  smallPrimes = []
  for (let i = 3; i < composite.length; i += 2) {
    if (composite[i] !== 0) continue
    smallPrimes.push(i)
    for (let j = i * i; j < composite.length; j += i) composite[j] = 1
  }
  return smallPrimes
}

/** Fermat's test to base 2, which is doubling: of numbers that are not prime, hardly any needs more than this. */
function passesFermat(n: bigint): boolean {
  let power = 1n
  for (const bit of (n - 1n).toString(2)) {
    power = power * power % n
    if (bit === '1') power <<= 1n
    if (power >= n) power -= n
  }
  return power === 1n
}

/** Of numbers that nobody chose to deceive, three bases let no composite of this size pass. */
const isProbablyPrime: PrimalityTest = (candidate) =>
  passesFermat(candidate) && [2n, 3n, 5n].every((base) => millerRabinBaseTest(candidate, base))

/** The first prime p from `start` on with p − 1 prime to 65537. */
function nextPrime(start: bigint, isPrime: PrimalityTest): bigint {
  const marks = new Uint8Array(SIEVE)
  for (let base = start | 1n; ; base += BigInt(2 * SIEVE)) {
    marks.fill(0)
    for (const p of sievePrimes()) {
      const rest = Number(base % BigInt(p))
      // base + 2k is a multiple of p.
      const gap = rest === 0 ? 0 : p - rest
      for (let k = gap % 2 === 0 ? gap / 2 : (gap + p) / 2; k < SIEVE; k += p) marks[k] = 1
    }
    for (let k = 0; k < SIEVE; k++) {
      const candidate = base + BigInt(2 * k)
      if (marks[k] === 0 && candidate % E !== 1n && isPrime(candidate)) return candidate
    }
  }
}

/** The key of a label, the same by every test of primes; takes some tenths of a second with the one that is here. */
export function rsaKeyFrom(derive: Derive, label: string, isPrime: PrimalityTest = isProbablyPrime): RsaPrivateKey {
  const bits = MODULUS_BITS / PRIMES
  // Three leading ones, so that the product has all its bits.
  const top = 7n << BigInt(bits - 3)
  const primes = Array.from({ length: PRIMES }, (_, i) =>
    nextPrime(OS2IP(derive(`${label} ${i}`, bits / 8)) | top, isPrime))
  const n = primes.reduce((product, p) => product * p, 1n)
  return { n, e: E, primes, d: invert(E, primes.reduce((phi, p) => phi * (p - 1n), 1n)) }
}

/** m^d mod n by the Chinese remainder theorem. */
function power(key: RsaPrivateKey, m: bigint): bigint {
  let result = 0n
  let modulus = 1n
  for (const p of key.primes) {
    const residue = pow(m % p, key.d % (p - 1n), p)
    const step = ((residue - result) % p + p) % p * invert(modulus % p, p) % p
    result += modulus * step
    modulus *= p
  }
  return result
}

/** Signs with a salt of 48 bytes that the caller gives, so that it can be repeated (RFC 8017 §9.1.1). */
export function rsaPssSign(key: RsaPrivateKey, message: Uint8Array, salt: Uint8Array): Uint8Array {
  const hash = sha384(concat(new Uint8Array(8), sha384(message), salt))
  const block = new Uint8Array(RSA_BYTES - HASH_BYTES - 1)
  block[block.length - SALT_BYTES - 1] = 1
  block.set(salt, block.length - SALT_BYTES)
  const mask = mgf1(sha384)(hash, { dkLen: block.length })
  const masked = block.map((byte, i) => byte ^ mask[i])
  // The encoded message has one bit less than the modulus.
  masked[0] &= 0x7f
  return I2OSP(power(key, OS2IP(concat(masked, hash, Uint8Array.of(0xbc)))), RSA_BYTES)
}

/** Verifies a signature with a salt of 48 bytes. */
export const rsaPssVerify = (key: RsaPublicKey, message: Uint8Array, signature: Uint8Array): boolean =>
  PSS(sha384, mgf1(sha384), SALT_BYTES).verify(key, message, signature)
