/** Any kernel that this package can enter, by what the file is. */
import { BOOT_FLAG, HEADER_MAGIC } from '@cofferdam/spec'
import { isElf } from './elf.ts'
import { BootError } from './error.ts'
import { loadLinux, type LinuxBoot, type LinuxOptions } from './linux.ts'
import { findMultibootHeader, loadMultiboot, type MultibootBoot } from './multiboot.ts'
import { loadPvh, type PvhBoot } from './pvh.ts'

/** What a kernel file is. */
export type KernelKind = 'linux' | 'pvh' | 'multiboot'

/**
 * Tells the formats apart as QEMU does: a setup header, then a Multiboot header, then ELF with PVH.
 * Answers undefined for none of them.
 */
export function kernelKind(image: Uint8Array): KernelKind | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  const isLinux = image.length >= 0x206
    && view.getUint16(0x1fe, true) === BOOT_FLAG && view.getUint32(0x202, true) === HEADER_MAGIC
  if (isLinux) return 'linux'
  if (findMultibootHeader(image) !== undefined) return 'multiboot'
  return isElf(image) ? 'pvh' : undefined
}

/**
 * Loads a bzImage, a Multiboot kernel or an ELF kernel with a PVH entry.
 * @throws BootError that names the file, the field and what was expected
 */
export function loadKernel(options: LinuxOptions): LinuxBoot | PvhBoot | MultibootBoot {
  switch (kernelKind(options.kernel)) {
    case 'linux': return loadLinux(options)
    case 'multiboot': return loadMultiboot(options)
    case 'pvh': return loadPvh(options)
    case undefined: break
  }
  const file = options.names?.kernel ?? 'kernel'
  if (options.kernel.length === 0) throw new BootError(file, 'size', 'the file is empty')
  throw new BootError(file, 'format',
    `${options.kernel.length} bytes that are neither a Linux bzImage ("HdrS" at 0x202), nor a Multiboot `
    + 'kernel, nor an ELF file')
}
