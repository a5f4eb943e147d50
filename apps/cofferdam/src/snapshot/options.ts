import type { SnapshotData } from '@cofferdam/machine'
import { InvalidArgumentError, Option, type Command } from 'commander'
import type { BootOptions } from '../commands/boot-options.ts'
import { usageError } from '../errors.ts'
import { parseText } from '../parse.ts'

/** How often a snapshot is taken, in the machine's own time or instructions. */
export interface Interval {
  readonly unit: 'nanoseconds' | 'instructions'
  readonly every: number
}

/** The options of snapshots. */
export interface SnapshotChoice {
  /** The file to write. */
  readonly snapshot?: string
  readonly snapshotAt?: string
  readonly snapshotStop?: boolean
  readonly snapshotEvery?: Interval
  /** The file to go on from. */
  readonly restore?: string
}

const units = { s: ['nanoseconds', 1e9], M: ['instructions', 1e6], G: ['instructions', 1e9] } as const

/** `10s` of the machine's time, `500M` or `2G` instructions. */
export const parseInterval = (text: string): Interval => {
  const [, digits, name] = /^(\d{1,9}(?:\.\d{1,3})?)([sMG])$/.exec(text) ?? []
  const [unit, factor] = units[(name ?? 's') as keyof typeof units]
  const every = digits === undefined ? NaN : Math.round(Number(digits) * factor)
  if (!(every >= 1e6 && every <= Number.MAX_SAFE_INTEGER)) {
    throw new InvalidArgumentError('expected seconds of the machine such as 10s, or instructions such as 500M or 2G')
  }
  return { unit, every }
}

/** Adds the options to `boot`. */
export const addSnapshotOptions = (command: Command): void => {
  command
    .optionsGroup('Snapshots:')
    .option('--snapshot <FILE>', 'where --snapshot-at and --snapshot-every write the machine as it is', parseText)
    .option('--snapshot-at <TEXT>', 'write it when the console shows this text, and go on', parseText)
    .option('--snapshot-stop', 'stop when it is written')
    .addOption(
      new Option(
        '--snapshot-every <TIME>', 'write it over and over: after 10s of its own time, or 500M or 2G instructions',
      )
        .argParser(parseInterval),
    )
    .option('--restore <FILE>', 'go on from there; the same disks and devices must be given, and no kernel', parseText)
}

/** What the file of an SNP guest is to its owner. */
export const snapshotHelp = `
A snapshot of an SNP guest is one of the whole emulated system: the guest, its host, the firmware and the silicon. What
stands in memory stands in the file, with the keys that memory is encrypted by and the firmware's secrets: keep the file
as you would keep the guest's own disk. A guest whose SVSM has a TPM (--svsm-vtpm) has no snapshots.
`

/** Options that a restored machine has from its snapshot. */
const fixed = ['memory', 'vcpus', 'cpu', 'seed', 'cc', 'svsm', 'hostile', 'cpuErratum'] as const
/** What would start the machine, which has started already; firmware may start it anew. */
const starters = ['kernel', 'initrd', 'append', 'run', 'add', 'with'] as const
/** What decides how a confidential guest starts: it never does again. */
const launchers = [['accept', '--accept'], ['sevFeatures', '--sev-features'], ['svsmVtpm', '--svsm-vtpm']] as const

/** The options that a snapshot decides, as the command line has them. */
export const fixedBy = ({ options }: Pick<SnapshotData, 'options'>): Asked => {
  const { memory, vcpus, cpu, seed, cc, snp } = options
  const { vmpl, hostile, errata } = snp ?? { vmpl: null, hostile: null, errata: [] }
  const cpuErratum = errata.at(0)
  return {
    memory, vcpus, cpu, seed, cc, ...(vmpl !== null && { svsm: vmpl }), ...(hostile !== null && { hostile }),
    ...(cpuErratum !== undefined && { cpuErratum }),
  }
}

/** What of the options that a snapshot decides was given, to be compared. */
export type Asked = Partial<Pick<BootOptions, (typeof fixed)[number]>>

export const askedOf = (given: BootOptions, isGiven: (name: string) => boolean): Asked =>
  Object.fromEntries(fixed.filter(isGiven).map((name) => [name, given[name]]))

const checkWriting = (given: BootOptions): void => {
  const { snapshot, snapshotAt, snapshotEvery, snapshotStop, disk = [] } = given
  const when = snapshotAt === undefined ? '--snapshot-every' : '--snapshot-at'
  if (snapshotAt === undefined && snapshotEvery === undefined) {
    if (snapshot !== undefined) throw usageError('--snapshot: says where; add --snapshot-at or --snapshot-every')
    if (snapshotStop) throw usageError('--snapshot-stop: works with --snapshot-at')
    return
  }
  if (snapshot === undefined) throw usageError(`${when}: says when; add --snapshot FILE`)
  if (snapshotAt !== undefined && snapshotEvery !== undefined) {
    throw usageError('--snapshot-every: one file holds one snapshot; leave --snapshot-at out')
  }
  if (snapshotStop && snapshotAt === undefined) throw usageError('--snapshot-stop: works with --snapshot-at')
  const written = disk.find(({ mode, overlay }) => mode === 'rw' || overlay !== undefined)
  if (written !== undefined && snapshotStop !== true) {
    const file = written.mode === 'rw' ? written.file : written.overlay ?? ''
    const instead = snapshotAt === undefined ? '' : ', or stop with --snapshot-stop'
    throw usageError(
      `${when}: what the guest goes on to write to ${file} would not fit the snapshot; `
      + `use overlay without a file${instead}`,
    )
  }
}

/**
 * What of the options of snapshots goes together, with each other and with the rest.
 * @param isGiven - whether an option stands in the command line
 */
export const checkSnapshotOptions = (given: BootOptions, isGiven: (name: string) => boolean): void => {
  checkWriting(given)
  if (given.snapshot !== undefined && given.svsmVtpm !== undefined) {
    throw usageError('--snapshot: not with --svsm-vtpm: the TPM is a program of its own, which no snapshot holds')
  }
  if (given.restore === undefined) return
  const launcher = launchers.find(([name]) => isGiven(name))?.[1]
  if (launcher !== undefined) {
    throw usageError(`${launcher}: the guest of a snapshot was launched already; leave it out`)
  }
  const firmware = given.firmware !== undefined && given.firmware !== 'direct'
  const starter = firmware ? undefined : starters.find(isGiven)
  if (starter === 'run') {
    throw usageError(
      '--run: the machine of a snapshot has started; type the command: echo COMMAND | cofferdam boot --restore FILE'
    )
  }
  if (starter !== undefined) throw usageError(`--${starter}: the machine of a snapshot has started; leave it out`)
}
