/** Options of `cofferdam boot` that only go together, or not at all. */
import { usageError } from '../errors.ts'
import type { BootOptions } from './boot-options.ts'
import { checkPlain } from './confidential.ts'

/** Options of the full design that this version refuses, with what they take. */
export const laterOptions: readonly (readonly [string, string])[] = [
  ['--host <KERNEL>', 'host'],
  ['--kexec <KERNEL>', 'kexec'],
]

/** Refuses what a later version will take. */
export const refuseLater = (given: Readonly<Record<string, unknown>>): void => {
  for (const [flags, name] of laterOptions) {
    if (given[name] === undefined) continue
    throw usageError(`${flags.split(' ')[0] ?? flags}: not in this version yet`)
  }
}

/** What a machine with a PSP can't be. */
const checkPsp = ({ cc, cpu, snapshotAt, snapshotEvery, restore }: BootOptions): void => {
  if (cc !== 'none') {
    throw usageError(
      `--device psp: the guest of --cc ${cc} has none; its host's takes its messages. Leave one of them out`,
    )
  }
  if (cpu !== 'amd') throw usageError('--device psp: the PSP is on AMD processors; add --cpu amd')
  const option = restore !== undefined ? '--restore' : snapshotAt !== undefined ? '--snapshot-at' : '--snapshot-every'
  if ((restore ?? snapshotAt ?? snapshotEvery) === undefined) return
  throw usageError(`${option}: a machine with --device psp has no snapshot yet; leave one of them out`)
}

/** What only goes together, or not at all. */
export const checkTogether = (
  given: BootOptions & Record<string, unknown>, isGiven: (name: string) => boolean,
): void => {
  const { cc, svsm, accept } = given
  if (svsm === undefined && given.svsmVtpm !== undefined) {
    throw usageError('--svsm-vtpm: the TPM is the SVSM\'s; add --svsm')
  }
  // Otherwise it is the snapshot that says what there is.
  if (given.restore === undefined || isGiven('cc')) checkPlain(given)
  if (given.device?.some(({ kind }) => kind === 'psp')) checkPsp(given)
  if (cc !== 'snp') return
  if (isGiven('cpu') && given.cpu !== 'amd') throw usageError('--cpu: SEV-SNP is on AMD processors; leave --cpu out')
  if (accept === 'eager' && given.firmware !== undefined && given.firmware !== 'direct') {
    throw usageError('--accept eager: --firmware decides itself what it accepts; leave one of them out')
  }
  for (const [name, value] of [['--vars', given.vars], ['--save-vars', given.saveVars]] as const) {
    if (value !== undefined) {
      throw usageError(
        `${name}: firmware of an SNP guest has no variable store; what it sets ends with the guest. Leave it out`,
      )
    }
  }
}
