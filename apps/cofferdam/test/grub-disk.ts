/** A disk from which firmware boots GRUB, and GRUB Debian's kernel, for tests. */
import { readFileSync } from 'node:fs'
import { fetchImages } from '../src/images/fetch.ts'
import { openStore } from '../src/images/store.ts'
import { buildInitramfs } from '../src/initramfs/build.ts'
import { espDisk } from './esp.ts'

/** @param run what the kernel runs; then it powers off */
export async function grubDisk(run: string): Promise<Buffer> {
  const names = ['trixie-cloud', 'grub-efi', 'busybox-static']
  const images = await fetchImages(names, { store: openStore(), refresh: false, onProgress: () => undefined })
  const [kernel, grub, busybox] = images.map(({ path }) => readFileSync(path))
  if (!kernel || !grub || !busybox) throw new Error('images are missing')
  const config = `linux /VMLINUZ console=ttyS0,115200 panic=-1 cryptomgr.notests=1 cofferdam.run="${run}"\n`
    + 'initrd /INITRD.IMG\nboot\n'
  return espDisk(40, {
    'VMLINUZ': kernel, 'INITRD.IMG': buildInitramfs({ busybox }),
    'EFI': { BOOT: { 'BOOTX64.EFI': grub }, DEBIAN: { 'GRUB.CFG': Buffer.from(config) } },
  })
}
