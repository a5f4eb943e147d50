import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { inputError, plainReason, usageError } from '../errors.ts'
import { findEntry } from '../images/catalog.ts'
import type { StoredImage } from '../images/store.ts'
import { buildInitramfs, type GuestFile } from '../initramfs/build.ts'
import { buildModules, type DriverGroup } from '../initramfs/modules.ts'
import type { NamedBytes } from '../machine-port.ts'
import type { AddedFile } from '../parse.ts'
import type { Surroundings } from '../surroundings.ts'
import { fetchModulesWithProgress, fetchWithProgress } from './fetch-with-progress.ts'

/** What the default initramfs gets besides BusyBox. */
export interface InitramfsContents {
  /** Files of this machine. */
  readonly add: readonly AddedFile[]
  /** Programs of the catalog. */
  readonly with: readonly string[]
  readonly compress: 'none' | 'gzip'
}

// A kernel unpacks an initramfs into memory: a larger file is a mistake.
const largestFile = 2 ** 30

/**
 * Reads a file that the person named.
 * @param what - what it is for, used in messages: `kernel`, `initrd`, `add`
 * @param names - of the catalog, which would have done as well
 * @throws an input error when it is missing, empty, no file, or larger than 1 GiB
 */
export const readInput = async (what: string, path: string, names: readonly string[] = []): Promise<Uint8Array> => {
  const subject = `${what} ${path}`
  const facts = await stat(path).catch((error: unknown) => {
    throw inputError(subject, plainReason(error), ['a file that can be read', ...names].join(', '))
  })
  if (!facts.isFile()) throw inputError(subject, 'it is not a file', 'a file that can be read')
  if (facts.size === 0) throw inputError(subject, 'it is empty', 'at least one byte')
  if (facts.size > largestFile) throw inputError(subject, `it has ${facts.size} bytes`, 'at most 1 GiB')
  return readFile(path).catch((error: unknown) => {
    throw inputError(subject, plainReason(error), 'a file that can be read')
  })
}

const readAdded = async ({ host, guest }: AddedFile): Promise<GuestFile> => {
  const data = await readInput('add', host)
  const { mode } = await stat(host)
  return { path: guest, data, executable: (mode & 0o111) !== 0 }
}

const readProgram = async (image: StoredImage): Promise<GuestFile[]> =>
  Promise.all(
    image.files.map(async (file) => ({
      path: file.guestPath ?? `/bin/${file.name}`,
      data: await readFile(join(image.folder, file.name)),
      executable: true,
    })),
  )

/** The archive of modules that a kernel of the catalog needs for devices; undefined when it has them built in. */
export const modulesFor = async (
  kernel: StoredImage,
  groups: readonly DriverGroup[],
  around: Surroundings,
): Promise<Uint8Array | undefined> => {
  const modules = await fetchModulesWithProgress(kernel, around)
  // Debian's cloud kernels are built without it.
  if (groups.includes('9p') && !modules.files.some(({ name }) => name === '9p.ko')) {
    around.stderr.write(`cofferdam: --share: ${kernel.name} has no driver for 9p; --kernel sid-generic has\n`)
  }
  const files = await Promise.all(
    modules.files.map(async ({ name, guestPath }) => ({
      path: guestPath ?? `/lib/modules/${name}`,
      data: await readFile(join(modules.folder, name)),
    })),
  )
  return buildModules(files, groups)
}

/** Builds the default initramfs, fetching what it is made of where that is missing. */
export const defaultInitramfs = async (contents: InitramfsContents, around: Surroundings): Promise<NamedBytes> => {
  for (const name of contents.with) {
    if (findEntry(name)?.kind === 'program') continue
    throw usageError(`--with ${name}: expected a program of the catalog, such as kexec-tools`)
  }
  const added = await Promise.all(contents.add.map(readAdded))
  const [busybox, ...programs] = await fetchWithProgress(['busybox-static', ...contents.with], around, false)
  if (!busybox) throw usageError('images: busybox-static is missing')
  const files = [...(await Promise.all(programs.map(readProgram))).flat(), ...added]
  const bytes = buildInitramfs({ busybox: await readFile(busybox.path), files, compress: contents.compress })
  return { name: 'default initramfs', bytes }
}
