import { checkPrimeSync } from 'node:crypto'

/** Whether a number is prime, by OpenSSL: with it the certificates of an SNP machine take some 0.2 seconds. */
export const isPrime = (candidate: bigint): boolean => checkPrimeSync(candidate)
