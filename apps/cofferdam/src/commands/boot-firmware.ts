import { readFile } from 'node:fs/promises'
import { writeFileSync } from 'node:fs'
import { isIgvm } from '@cofferdam/boot'
import { inputError, plainReason, usageError } from '../errors.ts'
import { catalog, findEntry } from '../images/catalog.ts'
import type { Machine, NamedBytes } from '../machine-port.ts'
import type { Surroundings } from '../surroundings.ts'
import { fetchWithProgress } from './fetch-with-progress.ts'
import { readInput } from './initramfs.ts'

/** Options about firmware. */
export interface FirmwareChoice {
  /** A name of the catalog, a path, or `direct` for none. */
  readonly firmware?: string
  readonly vars?: string
  readonly saveVars?: string
}

/** Firmware and its variables, loaded. */
export interface FirmwareImages {
  readonly firmware: NamedBytes
  readonly vars?: NamedBytes
}

// One chip and what lies below it fit below 4 GiB; the machine says so too, of whatever it gets. IGVM files are no
// chips.
const largestImage = 2 ** 24

const names = catalog.filter(({ kind }) => kind === 'firmware').map(({ name }) => name)

const loadImage = async (name: string, around: Surroundings): Promise<NamedBytes> => {
  const entry = findEntry(name)
  if (!entry) {
    const bytes = await readInput('firmware', name, names)
    if (bytes.length > largestImage && !isIgvm(bytes)) {
      throw inputError(`firmware ${name}`, `it has ${bytes.length} bytes`, 'at most 16 MiB')
    }
    return { name, bytes }
  }
  if (entry.kind !== 'firmware') throw inputError(`firmware ${name}`, `it is a ${entry.kind}`, names.join(', '))
  const [image] = await fetchWithProgress([name], around, false)
  if (!image) throw usageError(`firmware ${name}: it is missing`)
  return { name: `${name} ${image.version}`, bytes: await readFile(image.path) }
}

/** Loads what `--firmware` and `--vars` name; undefined for a direct boot. */
export const loadFirmware = async (
  { firmware = 'direct', vars, saveVars }: FirmwareChoice,
  around: Surroundings,
): Promise<FirmwareImages | undefined> => {
  if (firmware === 'direct') {
    const alone = vars !== undefined ? '--vars' : saveVars !== undefined ? '--save-vars' : undefined
    if (alone !== undefined) throw usageError(`${alone}: works with firmware only; add --firmware ovmf`)
    return undefined
  }
  const image = await loadImage(firmware, around)
  return { firmware: image, ...(vars !== undefined && { vars: { name: vars, bytes: await readInput('vars', vars) } }) }
}

/** Writes the variable store as the guest has left it. */
export const writeVariables = (path: string, machine: Machine | undefined): void => {
  const bytes = machine?.variables()
  if (bytes === undefined) {
    throw inputError(`save-vars ${path}`, 'the firmware has no variable store', 'firmware with one')
  }
  try {
    writeFileSync(path, bytes)
  } catch (error) {
    throw inputError(`save-vars ${path}`, plainReason(error), 'a file that can be written')
  }
}
