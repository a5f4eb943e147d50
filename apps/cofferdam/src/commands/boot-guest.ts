/** The kernel that is booted, its initramfs and its command line. */
import { readFile } from 'node:fs/promises'
import { kernelKind } from '@cofferdam/boot'
import { inputError, usageError } from '../errors.ts'
import { catalog, findEntry } from '../images/catalog.ts'
import type { StoredImage } from '../images/store.ts'
import type { DriverGroup } from '../initramfs/modules.ts'
import type { NamedBytes } from '../machine-port.ts'
import type { Surroundings } from '../surroundings.ts'
import type { BootOptions, GuestImages } from './boot-options.ts'
import { fetchWithProgress } from './fetch-with-progress.ts'
import { defaultInitramfs, modulesFor, readInput } from './initramfs.ts'

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
export const loadGuest = async (options: BootOptions, drivers: Drivers, around: Surroundings): Promise<GuestImages> => {
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
