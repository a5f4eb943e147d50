import { usageError } from '../errors.ts'
import type { BootOptions } from './boot-options.ts'

/** What only a confidential guest has, and how to ask for one. */
const ofGuests = [
  ['accept', '--accept: works with a confidential guest'], ['hostile', '--hostile: works with an SNP guest'],
  ['svsm', '--svsm: works with an SNP guest'], ['sevFeatures', '--sev-features: works with an SNP guest'],
  ['cpuErratum', '--cpu-erratum: is one of processors with SEV-SNP'],
  ['report', '--report: the rules are about confidential guests'],
  ['symbols', '--symbols: findings are about confidential guests'],
] as const satisfies readonly (readonly [keyof BootOptions, string])[]

/** Refuses what a plain machine has no use for. */
export const checkPlain = (options: BootOptions): void => {
  if (options.cc !== 'none') return
  const wrong = ofGuests.find(([name]) => options[name] !== undefined)
  const instead = options.restore === undefined ? 'add --cc snp' : `${options.restore} holds a plain machine`
  if (wrong !== undefined) throw usageError(`${wrong[1]}; ${instead}`)
}
