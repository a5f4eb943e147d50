/** A machine at one moment: what a snapshot is, how one is taken, and how a machine goes on from one. */
import { BootError, pcMemoryMap } from '@cofferdam/boot'
import type { Plain } from '@cofferdam/devices'
import { SnapshotError } from '@cofferdam/devices'
import { MemoryImageError } from '@cofferdam/memory'
import type { MemoryImage, PhysicalMemory } from '@cofferdam/memory'
import { ApicSnapshotError, StateError } from '@cofferdam/x86'
import { SvsmError } from '@cofferdam/svsm'
import { checkOptions, MachineError } from '../options.ts'
import type { Erratum, HostileOption, MachineOptions } from '../options.ts'
import type { SnpSystemState } from '../snp/state.ts'
import { crc32 } from './crc32.ts'
import { misfit } from './shape.ts'
import type { Shape } from './shape.ts'
import { captureState, restoreState, StateMisfit } from './state.ts'
import type { MachineParts, MachineState } from './state.ts'

/** Options that a machine has from its snapshot: they decide what the guest sees. */
export interface SnapshotOptions {
  readonly memory: number
  readonly vcpus: number
  readonly cpu: 'intel' | 'amd'
  readonly seed: number
  /** What of confidential computing it has. */
  readonly cc: 'none' | 'snp'
  /** Of SNP guests, otherwise null. */
  readonly snp: {
    /** The level of a guest under an SVSM, or null. */
    readonly vmpl: number | null
    /** What its host does against the rules; null of an honest one. */
    readonly hostile: readonly HostileOption[] | null
    /** What its processors have wrong. */
    readonly errata: readonly Erratum[]
  } | null
  /** The files that firmware may still read, by option; none without firmware. */
  readonly files: Readonly<Record<string, FileMark>>
}

/** By what a file is recognised. */
export interface FileMark {
  readonly name: string
  readonly length: number
  /** CRC-32 of its bytes. */
  readonly crc32: number
}

/** Options whose files the machine goes on reading when there is firmware. */
const FILES = ['firmware', 'vars', 'kernel', 'initrd'] as const

type Files = Partial<Pick<MachineOptions, (typeof FILES)[number] | 'append'>>

/** What a machine with firmware can still be read from. */
function marksOf(options: Files): SnapshotOptions['files'] {
  if (options.firmware === undefined) return {}
  const command = { name: 'append', bytes: new TextEncoder().encode(options.append) }
  const files = [...FILES.map((option) => [option, options[option]] as const), ['append', command] as const]
  return Object.fromEntries(files.flatMap(([option, file]) => (file === undefined ? []
    : [[option, { name: file.name, length: file.bytes.length, crc32: crc32(file.bytes) }]])))
}

/** What a snapshot holds: plain data that a file can keep. */
export interface SnapshotData {
  /** What errors call it: the name of its file. */
  readonly name: string
  readonly options: SnapshotOptions
  /** What whoever took it wanted to keep with it. */
  readonly attachment: Plain
  readonly state: MachineState
  readonly image: MemoryImage
}

/**
 * Takes a snapshot of a machine that is not running.
 * @throws MachineError naming the part that can't be in one, such as a disk with too much written over it
 */
export function captureMachine(
  given: MachineOptions, attachment: Plain, memory: PhysicalMemory, parts: MachineParts,
  snp: SnpSystemState | null = null,
): SnapshotData {
  const name = 'snapshot'
  const { memory: bytes, vcpus, cpu, seed, cc = 'none', svsm, hostile, errata = [], ...files } = given
  const options: SnapshotOptions = {
    memory: bytes, vcpus, cpu: cc === 'snp' ? 'amd' : cpu, seed, cc, files: marksOf(files),
    snp: cc === 'none' ? null : {
      vmpl: svsm?.vmpl ?? null,
      hostile: hostile?.map(({ mode, at }) => ({ mode, ...(at !== undefined && { at }) })) ?? null,
      errata,
    },
  }
  return checked(name, () => ({ name, options, attachment, state: captureState(parts, snp), image: memory.capture() }))
}

/**
 * Does something with a snapshot.
 * @throws MachineError naming the snapshot and the part of it that does not fit, or that cannot be in one
 */
export function checked<T>(name: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw asMachineError(name, error)
  }
}

/**
 * Puts a fresh machine where a snapshot was taken.
 * @throws MachineError naming the snapshot and the part of it that does not fit; the machine is then of no use
 */
export function restoreInto({ name, state, image }: SnapshotData, memory: PhysicalMemory, parts: MachineParts): void {
  checked(name, () => {
    memory.restore(image)
    if (state.snp !== null) {
      throw new StateMisfit({ path: 'snp', expected: 'nothing: the machine has no confidential guest' })
    }
    restoreState(state, parts)
  })
}

/** Parts of the system around a guest, as they call themselves. */
const SNP_PARTS: readonly string[] = ['psp', 'host', 'guest']

/** What a part said of a state that it can't be in. Anything else is a bug, and stays what it is. */
function asMachineError(name: string, error: unknown): unknown {
  if (error instanceof MemoryImageError) {
    return new MachineError(name, `memory.${error.field}`, error.message.slice(error.field.length + 2))
  }
  if (error instanceof SnapshotError) {
    const { device, field } = error
    const part = SNP_PARTS.includes(device) ? 'snp' : 'devices'
    return new MachineError(
      name, `${part}.${device}.${field}`, error.message.slice(`${device}: snapshot field '${field}': `.length),
    )
  }
  if (error instanceof SvsmError) {
    return new MachineError(name, `snp.svsm.${error.field}`, error.message.slice(`svsm: ${error.field}: `.length))
  }
  if (error instanceof ApicSnapshotError) return new MachineError(name, 'seats.apic', error.message)
  if (error instanceof StateError) {
    return new MachineError(name, `seats.processor.${error.field}`, error.message.slice(error.field.length + 2))
  }
  return error instanceof StateMisfit ? new MachineError(name, error.field, `expected ${error.expected}`) : error
}

/** What an option `snp` must be. */
const SNP_OPTIONS: Shape = {
  orNull: {
    vmpl: { orNull: 'count' }, hostile: { orNull: { list: { mode: 'string' } } }, errata: { list: 'string' },
  },
}

/** Checks options that come from outside. @throws MachineError naming the snapshot and the option */
export function checkSnapshotOptions(name: string, options: SnapshotOptions): void {
  const found = misfit(
    Object.values(options.files), { list: { name: 'string', length: 'count', crc32: 'count' } }, 'files',
  )
    ?? misfit(options.snp, SNP_OPTIONS, 'snp')
  if (found !== undefined) throw new MachineError(name, found.path, `expected ${found.expected}`)
  if (options.cc !== (options.snp === null ? 'none' : 'snp')) {
    throw new MachineError(name, 'cc', 'expected none, or snp with its options')
  }
  try {
    const { files: _files, snp: _snp, ...plain } = options
    checkOptions({ append: '', engine: 'auto', ...plain, ...snpOptionsOf(options), restore: options })
    pcMemoryMap(options.memory)
  } catch (error) {
    if (!(error instanceof MachineError) && !(error instanceof BootError)) throw error
    throw new MachineError(name, error.file, error.message.slice(error.file.length + error.field.length + 4))
  }
}

/** Options of the machine that only SNP guests have. */
function snpOptionsOf({ snp }: SnapshotOptions): Pick<MachineOptions, 'svsm' | 'hostile' | 'errata'> {
  if (snp === null) return {}
  const { vmpl, hostile, errata } = snp
  return { ...(vmpl !== null && { svsm: { vmpl } }), ...(hostile !== null && { hostile }), errata }
}

type SettledOptions = Pick<MachineOptions, 'memory' | 'vcpus' | 'cpu' | 'seed' | 'cc' | 'svsm' | 'hostile' | 'errata'>

/**
 * The options of a machine that goes on from a snapshot. @throws MachineError for one that the snapshot has otherwise
 */
export function optionsOf({ name, options }: SnapshotData, given: Partial<MachineOptions>): SettledOptions {
  for (const key of ['memory', 'vcpus', 'cpu', 'seed', 'cc'] as const) {
    if (given[key] === undefined || given[key] === options[key]) continue
    throw new MachineError(name, key, `it has ${options[key]}; asked for ${given[key]}`)
  }
  checkSnpOptions(name, options, given)
  const marks = marksOf(given)
  for (const option of [...FILES, 'append']) {
    const [had, has] = [options.files[option] as FileMark | undefined, marks[option] as FileMark | undefined]
    if (had?.length === has?.length && had?.crc32 === has?.crc32) continue
    throw new MachineError(name, option, `it has ${describe(had)}; given ${describe(has)}`)
  }
  const { memory, vcpus, cpu, seed, cc } = options
  return { memory, vcpus, cpu, seed, cc, ...snpOptionsOf(options) }
}

/** @throws MachineError for options of SNP guests that the snapshot has otherwise */
function checkSnpOptions(
  name: string, { snp }: SnapshotOptions, { svsm, hostile, errata }: Partial<MachineOptions>,
): void {
  const level = (vmpl: number | null | undefined): string =>
    (typeof vmpl === 'number' ? `the guest at VMPL${vmpl}` : 'none')
  if (svsm !== undefined && svsm.vmpl !== snp?.vmpl) {
    throw new MachineError(name, 'svsm', `it has ${level(snp?.vmpl)}; asked for ${level(svsm.vmpl)}`)
  }
  if (svsm?.vtpm !== undefined) throw new MachineError(name, 'svsm', 'it has no TPM; leave the TPM out')
  const names = (list: readonly Erratum[] = []): string => (list.length === 0 ? 'none' : [...list].sort().join(', '))
  if (errata !== undefined && names(errata) !== names(snp?.errata)) {
    throw new MachineError(name, 'errata', `it has ${names(snp?.errata)}; asked for ${names(errata)}`)
  }
  const attacks = (list: readonly HostileOption[] | null | undefined): string =>
    list?.map(({ mode, at }) => (at === undefined ? mode : `${mode}@${at}`)).join(', ') ?? 'none'
  if (hostile !== undefined && attacks(hostile) !== attacks(snp?.hostile)) {
    throw new MachineError(name, 'hostile', `it has ${attacks(snp?.hostile)}; asked for ${attacks(hostile)}`)
  }
}

const describe = (mark: FileMark | undefined): string =>
  mark === undefined
    ? 'none'
    : `${mark.name} of ${mark.length} bytes with CRC-32 ${mark.crc32.toString(16).padStart(8, '0')}`
