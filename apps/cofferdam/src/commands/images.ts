import { writeFile } from 'node:fs/promises'
import { inputError, plainReason } from '../errors.ts'
import { catalog, defaultImages, findEntry } from '../images/catalog.ts'
import { isWhole, sha256 } from '../images/store.ts'
import type { AddedFile } from '../parse.ts'
import { createPaint, type Surroundings } from '../surroundings.ts'
import { fetchModulesWithProgress, fetchWithProgress } from './fetch-with-progress.ts'
import { defaultInitramfs } from './initramfs.ts'

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
