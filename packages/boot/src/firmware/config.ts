/**
 * What firmware asks of the machine through fw_cfg: memory, processors, ACPI and SMBIOS tables, and a kernel to boot.
 * Sources: QEMU docs/specs/fw_cfg.rst for items and files; edk2 OvmfPkg/Library/PlatformInitLib and
 * OvmfPkg/QemuKernelLoaderFsDxe for what is read. The data fit `createFwCfg` of the devices package, and any other
 * implementation of the device.
 */
import { E820Entry, E820Type, SetupHeader } from '@cofferdam/spec'
import { ACPI_FILES, acpiLoaderSizes, createAcpiLoader } from '../acpi/loader.ts'
import type { AcpiPlatform } from '../acpi/platform.ts'
import { parseBzImage } from '../bzimage.ts'
import { BootError } from '../error.ts'
import { checkInitrd } from '../initrd.ts'
import { kernelKind } from '../kernel.ts'
import { createSmbiosParts, type SmbiosInfo } from '../smbios.ts'

/** A file of the device; `onSelect` brings `data` up to date in place. */
export interface ConfigFile {
  readonly name: string
  readonly data: Uint8Array
  readonly onSelect?: () => void
}

/** Items by number, and files. */
export interface FirmwareConfig {
  readonly items: readonly (readonly [key: number, data: Uint8Array])[]
  readonly files: readonly ConfigFile[]
}

/** What the machine is, and what it shall boot. */
export interface FirmwareConfigOptions {
  /** RAM by ranges. */
  readonly ram: readonly { readonly start: number, readonly length: number }[]
  readonly vcpus: number
  /**
   * The platform as it is when the guest reads the tables: firmware has placed the configuration space by then. Without
   * it there are no ACPI tables, as for a kernel that is loaded by the machine itself.
   */
  readonly acpi?: () => AcpiPlatform
  readonly smbios?: SmbiosInfo
  /** A kernel with an EFI stub, or another EFI program. */
  readonly kernel?: Uint8Array
  readonly initrd?: Uint8Array
  readonly cmdline?: string
  /** Slots of bus 0 with disks, in the order in which firmware shall try them. */
  readonly bootSlots?: readonly number[]
  /** Further files; a name that is here too replaces ours. */
  readonly files?: readonly ConfigFile[]
  readonly names?: { readonly kernel?: string, readonly initrd?: string }
}

/** Numbers of the items. */
const ITEM = {
  RAM_SIZE: 0x03, NOGRAPHIC: 0x04, CPUS: 0x05, KERNEL_SIZE: 0x08, INITRD_SIZE: 0x0b, BOOT_MENU: 0x0e, MAX_CPUS: 0x0f,
  KERNEL_DATA: 0x11, INITRD_DATA: 0x12, COMMAND_LINE_SIZE: 0x14, COMMAND_LINE_DATA: 0x15, SETUP_SIZE: 0x17,
  SETUP_DATA: 0x18,
} as const

const littleEndian = (value: number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256)

/** RAM as `etc/e820` has it: 20 bytes for each range. */
export function e820File(ram: FirmwareConfigOptions['ram']): Uint8Array {
  const bytes = new Uint8Array(ram.length * E820Entry.size)
  const view = new DataView(bytes.buffer)
  ram.forEach(({ start, length }, i) => {
    const entry = { addr: BigInt(start), size: BigInt(length), type: E820Type.RAM }
    E820Entry.write(view, entry, i * E820Entry.size)
  })
  return bytes
}

/** The ACPI tables and their script, made anew whenever the guest starts to read one of them. */
export function acpiFiles(platform: () => AcpiPlatform): ConfigFile[] {
  const sizes = acpiLoaderSizes(platform())
  const made = createAcpiLoader(platform(), sizes)
  const onSelect = (): void => {
    const now = createAcpiLoader(platform(), sizes)
    for (const part of ['tables', 'rsdp', 'loader'] as const) made[part].set(now[part])
  }
  return [
    { name: ACPI_FILES.loader, data: made.loader, onSelect },
    { name: ACPI_FILES.rsdp, data: made.rsdp, onSelect },
    { name: ACPI_FILES.tables, data: made.tables, onSelect },
  ]
}

const smbiosFiles = (info: SmbiosInfo): ConfigFile[] => {
  const { entry, tables } = createSmbiosParts(info)
  return [{ name: 'etc/smbios/smbios-anchor', data: entry }, { name: 'etc/smbios/smbios-tables', data: tables }]
}

/** "MZ", with which every EFI program begins. */
const isEfi = (image: Uint8Array): boolean => image.length > 64 && image[0] === 0x4d && image[1] === 0x5a

/** Setup sectors and kernel apart, as the boot protocol has them; firmware puts them together again. */
function splitKernel(image: Uint8Array, file: string): [setup: Uint8Array, kernel: Uint8Array] {
  if (image.length === 0) throw new BootError(file, 'size', 'the file is empty')
  if (kernelKind(image) === 'linux') parseBzImage(image, file)
  if (!isEfi(image)) {
    throw new BootError(file, 'format', 'no EFI program ("MZ" at 0): firmware starts a kernel by its EFI stub')
  }
  if (kernelKind(image) !== 'linux') return [new Uint8Array(0), image]
  const sectors = SetupHeader.get(new DataView(image.buffer, image.byteOffset, image.byteLength), 'setupSects')
  const end = ((sectors === 0 ? 4 : sectors) + 1) * 512
  return [image.subarray(0, end), image.subarray(end)]
}

/** `bootorder`: Open Firmware paths, as QEMU names a virtio disk in a slot of bus 0. */
export function bootOrderFile(slots: readonly number[]): Uint8Array {
  const lines = slots.map((slot) => `/pci@i0cf8/scsi@${slot.toString(16)}/disk@0,0\n`)
  return new TextEncoder().encode(`${lines.join('')}\0`)
}

function kernelItems(options: FirmwareConfigOptions): [number, Uint8Array][] {
  const { kernel, initrd, cmdline = '', names } = options
  if (kernel === undefined) return []
  const [setup, rest] = splitKernel(kernel, names?.kernel ?? 'kernel')
  if (initrd !== undefined) checkInitrd(initrd, names?.initrd ?? 'initrd')
  if (cmdline.includes('\0')) throw new BootError('command line', 'text', 'contains a NUL character')
  const text = new TextEncoder().encode(`${cmdline}\0`)
  return [
    [ITEM.SETUP_SIZE, littleEndian(setup.length, 4)], [ITEM.SETUP_DATA, setup],
    [ITEM.KERNEL_SIZE, littleEndian(rest.length, 4)], [ITEM.KERNEL_DATA, rest],
    [ITEM.INITRD_SIZE, littleEndian(initrd?.length ?? 0, 4)], [ITEM.INITRD_DATA, initrd ?? new Uint8Array(0)],
    [ITEM.COMMAND_LINE_SIZE, littleEndian(cmdline === '' ? 0 : text.length, 4)],
    [ITEM.COMMAND_LINE_DATA, cmdline === '' ? new Uint8Array(0) : text],
  ]
}

/**
 * Everything that the firmware of a PC reads from fw_cfg.
 * @throws BootError for a kernel or an initrd that firmware cannot start
 */
export function createFirmwareConfig(options: FirmwareConfigOptions): FirmwareConfig {
  const bytes = options.ram.reduce((sum, r) => sum + r.length, 0)
  const own: ConfigFile[] = [
    { name: 'etc/e820', data: e820File(options.ram) },
    ...(options.bootSlots === undefined || options.bootSlots.length === 0 ? []
      : [{ name: 'bootorder', data: bootOrderFile(options.bootSlots) }]),
    ...(options.acpi === undefined ? [] : acpiFiles(options.acpi)),
    ...(options.smbios === undefined ? [] : smbiosFiles(options.smbios)),
  ]
  const further = options.files ?? []
  return {
    items: [
      [ITEM.RAM_SIZE, littleEndian(bytes, 8)],
      [ITEM.NOGRAPHIC, littleEndian(1, 2)],
      [ITEM.CPUS, littleEndian(options.vcpus, 2)],
      [ITEM.MAX_CPUS, littleEndian(options.vcpus, 2)],
      [ITEM.BOOT_MENU, littleEndian(0, 2)],
      ...kernelItems(options),
    ],
    files: [...own.filter(({ name }) => !further.some((file) => file.name === name)), ...further],
  }
}
