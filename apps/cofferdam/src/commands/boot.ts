import { inputError, usageError } from '../errors.ts'
import { openDisks } from '../disks/open-disk.ts'
import type { DiskArgument } from '../disks/parse-disk.ts'
import { findEntry } from '../images/catalog.ts'
import type { CpuVendor, DeviceOption, DiskOption, Engine, NamedBytes } from '../machine-port.ts'
import type { AddedFile } from '../parse.ts'
import type { Surroundings } from '../surroundings.ts'
import { readFile } from 'node:fs/promises'
import { bootSession } from './boot-session.ts'
import { fetchWithProgress } from './fetch-with-progress.ts'
import { defaultInitramfs, readInput } from './initramfs.ts'

/** The options of `cofferdam boot`, parsed. */
export interface BootOptions {
  readonly cc: 'none'
  /** An alias of the catalog or a path. */
  readonly kernel: string
  readonly initrd?: string
  readonly append?: string
  readonly run?: string
  readonly add?: readonly AddedFile[]
  readonly with?: readonly string[]
  /** Bytes. */
  readonly memory: number
  readonly vcpus: number
  readonly seed: number
  readonly engine: Engine
  readonly cpu: CpuVendor
  readonly disk?: readonly DiskArgument[]
  readonly device?: readonly DeviceOption[]
  readonly until?: string
  /** Wall seconds. */
  readonly timeout?: number
  readonly reboot: boolean
  readonly stats?: string
  readonly trace?: string
}

/** What there is to boot, and from which disks. */
export interface BootImages {
  readonly disks: readonly DiskOption[]
  readonly kernel: NamedBytes
  readonly initrd?: NamedBytes
  /** The initrd is ours, which knows `poweroff` and says when its shell is ready. */
  readonly ownInitramfs: boolean
}

// panic=-1: restart at once after a panic, so that a panic ends the session instead of a silent wait
const standardParameters = 'console=ttyS0,115200 panic=-1'

// The kernel's own limit for its command line (x86 COMMAND_LINE_SIZE), with the final NUL.
const commandLineSize = 2048

const runParameter = (command: string): string =>
  // printable ASCII without quotes goes as it is; the rest in base64
  /^[\x20\x21\x23-\x7e]+$/.test(command)
    ? `cofferdam.run="${command}"`
    : `cofferdam.run64=${Buffer.from(command, 'utf8').toString('base64')}`

/** The kernel's command line. */
export const commandLine = ({ append, run }: Pick<BootOptions, 'append' | 'run'>): string => {
  const text = [standardParameters, run === undefined ? '' : runParameter(run), append ?? ''].filter(Boolean).join(' ')
  const length = new TextEncoder().encode(text).length
  if (length >= commandLineSize) {
    throw usageError(`--append: expected at most ${commandLineSize - 1} bytes in all, got ${length}`)
  }

  if (/[\x00-\x1f]/.test(text)) throw usageError('--append: expected no control characters')
  return text
}

const loadKernel = async (name: string, around: Surroundings): Promise<NamedBytes> => {
  const entry = findEntry(name)
  if (!entry) return { name, bytes: await readInput('kernel', name) }
  if (entry.kind !== 'kernel') throw inputError(`kernel ${name}`, `it is a ${entry.kind}`, 'a kernel image')
  const [image] = await fetchWithProgress([name], around, false)
  if (!image) throw usageError(`kernel ${name}: it is missing`)
  return { name: `${name} ${image.version}`, bytes: await readFile(image.path) }
}

const loadInitrd = async (options: BootOptions, around: Surroundings): Promise<NamedBytes | undefined> => {
  const { initrd, add = [], with: programs = [], run } = options
  if (initrd === undefined) return defaultInitramfs({ add, with: programs, compress: 'none' }, around)
  const only = [
    ['--add', add.length > 0],
    ['--with', programs.length > 0],
    ['--run', run !== undefined],
  ] as const
  const refused = only.find(([, given]) => given)?.[0]
  if (refused !== undefined) throw usageError(`${refused}: works with the default initramfs only; leave --initrd away`)
  return initrd === 'none' ? undefined : { name: initrd, bytes: await readInput('initrd', initrd) }
}

/**
 * What a machine says of an image or an option that it can't use: its message is `FILE: FIELD: …`, and the same file
 * and field stand apart.
 */
const badInput = (error: unknown, { kernel, initrd }: BootImages): Error | undefined => {
  if (!(error instanceof Error) || !('file' in error) || !('field' in error)) return undefined
  const kind = error.file === kernel.name ? 'kernel ' : error.file === initrd?.name ? 'initrd ' : ''
  return usageError(`${kind}${error.message}`)
}

/**
 * `cofferdam boot`: fetches what is missing, boots, and stays until the guest ends.
 * @returns the exit code
 */
export const boot = async (options: BootOptions, around: Surroundings): Promise<number> => {
  const append = commandLine(options)
  const disks = openDisks(options.disk ?? [])
  const kernel = await loadKernel(options.kernel, around)
  const initrd = await loadInitrd(options, around)
  const images = { kernel, disks, ...(initrd && { initrd }), ownInitramfs: options.initrd === undefined }
  try {
    return await bootSession(options, images, append, around)
  } catch (error) {
    throw badInput(error, images) ?? error
  }
}
