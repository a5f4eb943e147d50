import type { GdbAddress } from '../run/gdb-server.ts'
import { kernelKind } from '@cofferdam/boot'
import { parseSymbols, SymbolsError, type SymbolTable } from '@cofferdam/findings'
import { inputError, usageError } from '../errors.ts'
import { driversOf, openDevices, type DeviceArgument } from '../devices.ts'
import { openDisks } from '../disks/open-disk.ts'
import type { DiskArgument } from '../disks/parse-disk.ts'
import { catalog, findEntry } from '../images/catalog.ts'
import type { StoredImage } from '../images/store.ts'
import type { DriverGroup } from '../initramfs/modules.ts'
import type {
  CpuVendor, DeviceOption, DiskOption, Engine, Erratum, HostileOption, NamedBytes,
} from '../machine-port.ts'
import type { AddedFile } from '../parse.ts'
import { openForwards, type Forwards } from '../net/forwards.ts'
import { openNet } from '../net/open-net.ts'
import type { ForwardArgument, NetArgument } from '../net/parse-net.ts'
import { checkWritable } from '../run/writable.ts'
import { readSnapshot, type RestoredRun } from '../snapshot/file.ts'
import { fixedBy, type Asked, type SnapshotChoice } from '../snapshot/options.ts'
import { checkPlain } from './confidential.ts'
import { openShare } from '../share/open-share.ts'
import type { ShareArgument } from '../share/parse-share.ts'
import type { Surroundings } from '../surroundings.ts'
import { openSwtpm, type Swtpm } from '../tpm/swtpm.ts'
import { readFile } from 'node:fs/promises'
import { loadFirmware, type FirmwareChoice, type FirmwareImages } from './boot-firmware.ts'
import { bootSession } from './boot-session.ts'
import { fetchWithProgress } from './fetch-with-progress.ts'
import { defaultInitramfs, modulesFor, readInput } from './initramfs.ts'

/** When a confidential guest's memory is accepted. */
export type AcceptPolicy = 'lazy' | 'eager' | 'background'

/** The options of `cofferdam boot`, parsed. */
export interface BootOptions extends FirmwareChoice, SnapshotChoice {
  /** With `restore`: what the command line says of options that the snapshot decides. */
  readonly asked?: Asked
  readonly cc: 'none' | 'snp'
  readonly accept?: AcceptPolicy
  /** The guest's VMPL under an SVSM. */
  readonly svsm?: number
  readonly sevFeatures?: bigint
  readonly cpuErratum?: Erratum
  readonly hostile?: readonly HostileOption[]
  /** The SVSM has a TPM, with its state in this folder, or only for the run. */
  readonly svsmVtpm?: string | true
  /** An alias of the catalog or a path; `none` with firmware. */
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
  readonly device?: readonly DeviceArgument[]
  readonly share?: readonly ShareArgument[]
  readonly net?: NetArgument
  readonly forward?: readonly ForwardArgument[]
  readonly until?: string
  /** Wall seconds. */
  readonly timeout?: number
  readonly gdb?: GdbAddress
  readonly reboot: boolean
  readonly stats?: string
  readonly trace?: string
  readonly report?: string
  readonly symbols?: string
  readonly record?: string
  /** A file, or true for the standard error stream. */
  readonly debugConsole?: string | true
}

/** What there is to boot, and from which disks. */
export interface BootImages extends Partial<FirmwareImages>, GuestImages {
  readonly disks: readonly DiskOption[]
  readonly devices: readonly DeviceOption[]
  readonly forwards: Forwards
  readonly vtpm?: Swtpm
  readonly symbols?: SymbolTable
}

/** The kernel and what belongs to it. */
interface GuestImages {
  readonly kernel?: NamedBytes
  readonly initrd?: NamedBytes
  /** The initrd is ours, which knows `poweroff` and says when its shell is ready. */
  readonly ownInitramfs: boolean
  /** The kernel is Linux, for all that is known, and no flat test kernel. */
  readonly isLinux: boolean
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

/**
 * The kernel's command line.
 * @param isLinux - whether Linux's own parameters come first; a test kernel gets what the person wrote, and no more
 */
export const commandLine = (
  { append, run, accept }: Pick<BootOptions, 'append' | 'run' | 'accept'>,
  isLinux = true,
): string => {
  const background = accept === 'background' ? 'cofferdam.accept=background' : ''
  const parts = [
    isLinux ? standardParameters : '', background, run === undefined ? '' : runParameter(run), append ?? '',
  ]
  const text = parts.filter(Boolean).join(' ')
  const length = new TextEncoder().encode(text).length
  if (length >= commandLineSize) {
    throw usageError(`--append: expected at most ${commandLineSize - 1} bytes in all, got ${length}`)
  }

  if (/[\x00-\x1f]/.test(text)) throw usageError('--append: expected no control characters')
  return text
}

interface LoadedKernel {
  readonly kernel: NamedBytes
  /** Where it came from, for a kernel of the catalog. */
  readonly image?: StoredImage
}

const kernelNames = catalog.filter(({ kind }) => kind === 'kernel').map(({ name }) => name)

const loadKernel = async (name: string, around: Surroundings): Promise<LoadedKernel> => {
  const entry = findEntry(name)
  if (!entry) return { kernel: { name, bytes: await readInput('kernel', name, kernelNames) } }
  if (entry.kind !== 'kernel') throw inputError(`kernel ${name}`, `it is a ${entry.kind}`, 'a kernel image')
  const [image] = await fetchWithProgress([name], around, false)
  if (!image) throw usageError(`kernel ${name}: it is missing`)
  return { kernel: { name: `${name} ${image.version}`, bytes: await readFile(image.path) }, image }
}

type Drivers = readonly DriverGroup[]

/**
 * The modules for some drivers. Nobody asked for those of a confidential guest: without them it has no
 * /dev/sev-guest.
 */
const modulesOf = async (
  image: StoredImage, drivers: Drivers, around: Surroundings,
): Promise<Uint8Array | undefined> => {
  try {
    return await modulesFor(image, drivers, around)
  } catch (error) {
    if (drivers.some((group) => group !== 'coco')) throw error
    const reason = error instanceof Error ? error.message : String(error)
    around.stderr.write(`cofferdam: no /dev/sev-guest: ${reason}\n`)
    return undefined
  }
}

const ownInitrd = async (
  { add = [], with: programs = [] }: BootOptions,
  drivers: Drivers,
  around: Surroundings,
  image?: StoredImage,
): Promise<NamedBytes> => {
  const initramfs = await defaultInitramfs({ add, with: programs, compress: 'none' }, around)
  // A kernel of the person's own has its drivers built in, or comes with an initramfs.
  const modules = image && drivers.length > 0 ? await modulesOf(image, drivers, around) : undefined
  return modules ? { name: initramfs.name, bytes: Buffer.concat([initramfs.bytes, modules]) } : initramfs
}

const loadInitrd = async (
  options: BootOptions,
  drivers: Drivers,
  around: Surroundings,
  image?: StoredImage,
): Promise<NamedBytes | undefined> => {
  const { initrd } = options
  if (initrd === undefined) return ownInitrd(options, drivers, around, image)
  const refused = ownInitramfsOption(options)
  if (refused !== undefined) throw usageError(`${refused}: works with the default initramfs only; leave --initrd away`)
  return initrd === 'none' ? undefined : { name: initrd, bytes: await readInput('initrd', initrd) }
}

/** The first option that was given and that only the default initramfs serves. */
const ownInitramfsOption = ({ add = [], with: programs = [], run, accept }: BootOptions): string | undefined => {
  if (add.length > 0) return '--add'
  if (programs.length > 0) return '--with'
  if (run !== undefined) return '--run'
  return accept === 'background' ? '--accept background' : undefined
}

/** Says what a kernel of the catalog will not find a driver for. */
const warnOfDrivers = (name: string, drivers: Drivers, { stderr }: Surroundings): void => {
  const missing = findEntry(name)?.without?.filter((group) => drivers.includes(group)) ?? []
  if (missing.length === 0) return
  stderr.write(`cofferdam: ${name} is built without drivers for ${missing.join(', ')}; --kernel sid-generic has them\n`)
}

/** Firmware alone finds what it boots: nothing of ours reaches it. */
const refuseWithoutKernel = (options: BootOptions): void => {
  const given = options.initrd !== undefined ? '--initrd'
    : options.append !== undefined ? '--append'
    : ownInitramfsOption(options)
  if (given !== undefined) {
    throw usageError(`${given}: works with a kernel of --kernel only, and --kernel none has none`)
  }
}

/** Kernel and initramfs; neither when firmware shall find something itself. */
const loadGuest = async (options: BootOptions, drivers: Drivers, around: Surroundings): Promise<GuestImages> => {
  if (options.kernel === 'none') {
    refuseWithoutKernel(options)
    return { ownInitramfs: false, isLinux: true }
  }
  const { kernel, image } = await loadKernel(options.kernel, around)
  warnOfDrivers(options.kernel, drivers, around)
  const kind = kernelKind(kernel.bytes)
  // A Multiboot kernel is no Linux; one with a PVH entry is, unless it wants no initramfs.
  const isLinux = kind !== 'multiboot' && (kind !== 'pvh' || options.initrd !== 'none')
  const refused = isLinux ? undefined : ownInitramfsOption(options)
  if (refused !== undefined) {
    throw usageError(
      `${refused}: works with the default initramfs only, and the ${kind} kernel ${options.kernel} gets none`,
    )
  }
  const initrd = isLinux || options.initrd !== undefined ? await loadInitrd(options, drivers, around, image) : undefined
  return { kernel, ...(initrd && { initrd }), ownInitramfs: isLinux && options.initrd === undefined, isLinux }
}

/**
 * What a machine says of an image or an option that it can't use: its message is `FILE: FIELD: …`, and the same file
 * and field stand apart.
 */
const badInput = (error: unknown, images: BootImages, { restore }: BootOptions): Error | undefined => {
  if (!(error instanceof Error) || !('file' in error) || !('field' in error)) return undefined
  const kind = (['kernel', 'initrd', 'firmware', 'vars'] as const).find((name) => images[name]?.name === error.file)
  const subject = kind ?? (restore !== undefined && error.file === restore ? 'restore' : undefined)
  return usageError(`${subject === undefined ? '' : `${subject} `}${error.message}`)
}

/** The devices that options ask for, in the order of their slots. */
const openAll = (options: BootOptions, forwards: Forwards, around: Surroundings): DeviceOption[] => {
  const warn = (text: string): boolean => around.stderr.write(`\ncofferdam: ${text}\n`)
  const shares = (options.share ?? []).map((share) => openShare(share, warn))
  const cards = options.net ? [openNet(options.net, forwards, warn)] : []
  return [...openDevices(options.device ?? [], around), ...shares, ...cards]
}

/** Symbols that findings are named by. */
const loadSymbols = async ({ symbols }: BootOptions): Promise<SymbolTable | undefined> => {
  if (symbols === undefined) return undefined
  const bytes = await readInput('symbols', symbols)
  try {
    return parseSymbols(symbols, bytes)
  } catch (error) {
    throw error instanceof SymbolsError ? usageError(`symbols ${error.message}`) : error
  }
}

/** What a restored machine has been booted from: firmware may still read it, and nobody else. */
const guestOf = (restored: RestoredRun): GuestImages => ({ ownInitramfs: restored.attachment.ownShell, isLinux: true })

const bootWith = async (
  given: BootOptions, { forwards, vtpm }: { forwards: Forwards, vtpm: Swtpm | undefined }, around: Surroundings,
): Promise<number> => {
  const restored = given.restore === undefined ? undefined : await readSnapshot(given.restore)
  const options = restored === undefined ? given : { ...given, ...fixedBy(restored.snapshot), ...given.asked }
  checkPlain(options)
  const firmware = await loadFirmware(options, around)
  if (options.kernel === 'none' && !firmware) throw usageError('--kernel none: works with firmware only')
  const devices = openAll(options, forwards, around)
  const disks = openDisks(options.disk ?? [])
  const drivers = driversOf(devices, disks.length, options.cc)
  const needsKernel = restored === undefined || firmware !== undefined
  const guest = needsKernel ? await loadGuest(options, drivers, around) : guestOf(restored)
  const symbols = await loadSymbols(options)
  const images = { ...guest, ...firmware, disks, devices, forwards, ...(vtpm && { vtpm }), ...(symbols && { symbols }) }
  const append = needsKernel ? commandLine(options, images.isLinux) : restored.attachment.commandLine
  try {
    return await bootSession(options, images, append, around, restored)
  } catch (error) {
    throw badInput(error, images, options) ?? error
  }
}

/** What can be refused before anything is fetched or read. */
const checkOptions = (options: BootOptions): void => {
  const { firmware = 'direct' } = options
  if (options.kernel === 'none' && findEntry(firmware)?.bootsKernelOnly === true) {
    throw usageError(`--kernel none: ${firmware} starts a kernel of --kernel and nothing else, because it looks at no `
      + 'disk and Debian builds it without its GRUB; --firmware ovmf boots from disks')
  }
  if (options.forward && !options.net) throw usageError('--forward: works with --net user only')
  const outputs = {
    'stats': options.stats, 'report': options.report, 'save-vars': options.saveVars, 'snapshot': options.snapshot,
  }
  for (const [what, path] of Object.entries(outputs)) if (path !== undefined) checkWritable(what, path)
}

/**
 * `cofferdam boot`: fetches what is missing, boots, and stays until the guest ends.
 * @returns the exit code
 */
export const boot = async (options: BootOptions, around: Surroundings): Promise<number> => {
  checkOptions(options)
  const say = (text: string): boolean => around.stderr.write(`cofferdam: ${text}\n`)
  const forwards = await openForwards(options.forward ?? [], say)
  try {
    const { svsmVtpm } = options
    const vtpm = svsmVtpm === undefined ? undefined
      : openSwtpm({ warn: say, ...(svsmVtpm !== true && { state: svsmVtpm }) })
    try {
      return await bootWith(options, { forwards, vtpm }, around)
    } finally {
      vtpm?.close()
    }
  } finally {
    forwards.close()
  }
}
