/** What tests of SNP guests read, and what they boot. */
import { readFileSync } from 'node:fs'
import { fetchImages } from '../src/images/fetch.ts'
import { openStore } from '../src/images/store.ts'
import { buildInitramfs } from '../src/initramfs/build.ts'

/** The part about the guest in a file of `--stats`. */
export interface SnpStatsFile {
  readonly malformed: Readonly<Record<string, number>>
  readonly exits: Readonly<Record<string, number>>
  readonly measurement: string
  readonly memory: { readonly backed: number }
}

export const readSnpStats = (path: string): SnpStatsFile =>
  (JSON.parse(readFileSync(path, 'utf8')) as { machine: { snp: SnpStatsFile } }).machine.snp

/** The default initramfs. */
export const ownInitramfs = async (): Promise<Uint8Array> => {
  const [busybox] = await fetchImages(
    ['busybox-static'], { store: openStore(), refresh: false, onProgress: () => undefined },
  )
  if (busybox === undefined) throw new Error('BusyBox is missing')
  return buildInitramfs({ busybox: readFileSync(busybox.path) })
}
