import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { snpEndorsement } from '@cofferdam/machine'
import { toPem } from '@cofferdam/sev'
import { inputError, plainReason } from '../errors.ts'
import { isPrime } from '../primes.ts'

/** Options of `cofferdam certs`. */
export interface CertsOptions {
  readonly seed: number
}

/**
 * `cofferdam certs`: writes the certificates that vouch for the reports of a machine's guests, under the names that
 * verifiers look for.
 * @throws an input error when the folder can't be written
 */
export const certs = (folder: string, { seed }: CertsOptions): void => {
  const { ark, ask, vcek } = snpEndorsement(seed, isPrime)
  try {
    mkdirSync(folder, { recursive: true })
    for (const [name, bytes] of Object.entries({ ark, ask, vcek })) {
      writeFileSync(join(folder, `${name}.pem`), toPem(bytes))
    }
    writeFileSync(join(folder, 'cert_chain.pem'), toPem(ask, ark))
  } catch (error) {
    throw inputError(`certs ${folder}`, plainReason(error), 'a folder that can be written')
  }
}
