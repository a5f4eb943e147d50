import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { inputError, plainReason } from '../errors.ts'
import { catalog, defaultImages, findEntry } from '../images/catalog.ts'
import { isWhole, sha256 } from '../images/store.ts'
import type { AddedFile } from '../parse.ts'
import { createPaint, type Surroundings } from '../surroundings.ts'
import { fetchModulesWithProgress, fetchWithProgress } from './fetch-with-progress.ts'
import { defaultInitramfs } from './initramfs.ts'
import { addOption, withOption } from './options.ts'

interface Row {
  readonly name: string
  readonly package: string
  readonly version: string
  readonly size: number | undefined
  readonly sha256: string
  readonly path: string
  readonly state: 'fetched' | 'damaged' | 'not fetched'
  readonly about: string
}

const listRows = async ({ store }: Surroundings): Promise<Row[]> => {
  const rows: Row[] = []
  for (const entry of catalog) {
    const image = await store.find(entry.name)
    rows.push({
      name: entry.name,
      package: image?.package ?? entry.package,
      version: image?.version ?? '',
      size: image?.files[0].size,
      sha256: image?.files[0].sha256 ?? '',
      path: image?.path ?? '',
      state: image ? ((await isWhole(image)) ? 'fetched' : 'damaged') : 'not fetched',
      about: entry.about,
    })
  }
  return rows
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

const printRow = (row: Row, paint: ReturnType<typeof createPaint>): string => {
  const head = `${paint('bold', row.name.padEnd(15))} ${row.about}`
  if (row.state === 'not fetched') return `${head}\n  ${paint('dim', `not fetched (${row.package})`)}\n`
  const facts = `${row.package} ${row.version}, ${megabytes(row.size ?? 0)}`
  const state = row.state === 'damaged' ? paint('red', ', damaged: fetch it again with --refresh') : ''
  return `${head}\n  ${facts}${state}\n  ${paint('dim', row.path)}\n  ${paint('dim', `sha256 ${row.sha256}`)}\n`
}

/** `cofferdam images`: what there is. */
export const listImages = async (options: { readonly json?: boolean }, around: Surroundings): Promise<void> => {
  const rows = await listRows(around)
  const paint = createPaint(around.stdout)
  const text = options.json
    ? `${JSON.stringify(rows, null, 2)}\n`
    : rows.map((row) => printRow(row, paint)).join('')
  around.stdout.write(text)
}

/** `cofferdam images fetch`: brings images onto this machine. */
export const fetchCommand = async (
  names: readonly string[],
  options: { readonly refresh?: boolean; readonly all?: boolean; readonly modules?: boolean },
  around: Surroundings,
): Promise<void> => {
  const asked = options.all ? catalog.map((entry) => entry.name) : names.length > 0 ? names : defaultImages
  const images = await fetchWithProgress(asked, around, options.refresh ?? false)
  for (const image of images) {
    around.stdout.write(`${image.name} ${image.version} ${image.path}\n`)
    if (options.modules !== true || findEntry(image.name)?.kind !== 'kernel') continue
    const { name, version, folder } = await fetchModulesWithProgress(image, around)
    around.stdout.write(`${name} ${version} ${folder}\n`)
  }
}

/** `cofferdam images initramfs`: writes the default initramfs to a file. */
export const initramfsCommand = async (
  path: string,
  options: { readonly add?: readonly AddedFile[]; readonly with?: readonly string[]; readonly gzip?: boolean },
  around: Surroundings,
): Promise<void> => {
  const { add = [], with: programs = [], gzip = false } = options
  const contents = { add, with: programs, compress: gzip ? 'gzip' : 'none' } as const
  const { bytes } = await defaultInitramfs(contents, around)
  try {
    await writeFile(path, bytes)
  } catch (error) {
    throw inputError(`initramfs ${path}`, plainReason(error), 'a file that can be written')
  }
  around.stdout.write(`${path} ${bytes.length} bytes, sha256 ${sha256(bytes)}\n`)
}

const imagesExamples = `
Images are Debian packages, resolved by name to the newest version, verified by apt and kept in your cache folder; what
is there is used without the network.

Examples:
  cofferdam images
  cofferdam images fetch --all
  cofferdam images fetch sid-cloud --refresh
  cofferdam images initramfs initramfs.cpio --add ./hello:/bin/hello
`

/** Adds `images` and its commands. */
export const addImages = (program: Command, around: Surroundings): void => {
  const command = program
    .command('images')
    .description('Lists and fetches kernels, firmware and programs.')
    .option('--json', 'as JSON')
    .addHelpText('after', imagesExamples)
    .allowExcessArguments(false)
    .action((options: { json?: boolean }) => listImages(options, around))
  command
    .command('fetch')
    .description('Fetches images; without names those that a plain boot needs.')
    .argument('[names...]', catalog.map(({ name }) => name).join(', '))
    .option('--all', 'every image')
    .option('--refresh', 'look for newer versions of what is there')
    .option('--modules', "the kernels' modules too, which --disk, --device and --share need")
    .action((names: string[], options: Parameters<typeof fetchCommand>[1]) => fetchCommand(names, options, around))
  command
    .command('initramfs')
    .description('Writes the default initramfs to a file. The same input gives the same bytes.')
    .argument('<FILE>')
    .addOption(addOption('put a file into it; may be repeated'))
    .addOption(withOption())
    .option('--gzip', 'compress it')
    .action((path: string, options: Parameters<typeof initramfsCommand>[1]) => initramfsCommand(path, options, around))
}
