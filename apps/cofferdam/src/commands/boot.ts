import { parseSymbols, SymbolsError, type SymbolTable } from '@cofferdam/findings'
import { driversOf, openDevices } from '../devices.ts'
import { openDisks } from '../disks/open-disk.ts'
import { usageError } from '../errors.ts'
import { findEntry } from '../images/catalog.ts'
import type { DeviceOption } from '../machine-port.ts'
import { openForwards, type Forwards } from '../net/forwards.ts'
import { openNet } from '../net/open-net.ts'
import { checkWritable } from '../run/writable.ts'
import { openShare } from '../share/open-share.ts'
import { readSnapshot, type RestoredRun } from '../snapshot/file.ts'
import { fixedBy } from '../snapshot/options.ts'
import type { Surroundings } from '../surroundings.ts'
import { openSwtpm, type Swtpm } from '../tpm/swtpm.ts'
import { loadFirmware } from './boot-firmware.ts'
import { commandLine, loadGuest } from './boot-guest.ts'
import type { BootImages, BootOptions, GuestImages } from './boot-options.ts'
import { bootSession } from './boot-session.ts'
import { checkPlain } from './confidential.ts'
import { readInput } from './initramfs.ts'

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
