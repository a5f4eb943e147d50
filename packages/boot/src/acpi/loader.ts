/**
 * ACPI tables for firmware that puts them where it likes: the tables with addresses relative to their file, and a
 * script that says how to allocate, link and checksum them. Source: the linker/loader format of QEMU's fw_cfg, as edk2
 * states it in OvmfPkg/Include/IndustryStandard/QemuLoader.h.
 */
import { layout, Rsdp, SdtHeader } from '@cofferdam/spec'
import { BootError, bytesText } from '../error.ts'
import type { AcpiPlatform } from './platform.ts'
import { buildAcpiBlock, buildRsdp, RSDP_FIRST_PART } from './tables.ts'

/** Names of the files. */
export const ACPI_FILES = { tables: 'etc/acpi/tables', rsdp: 'etc/acpi/rsdp', loader: 'etc/table-loader' } as const

/** The three files. */
export interface AcpiLoaderFiles {
  readonly tables: Uint8Array
  readonly rsdp: Uint8Array
  readonly loader: Uint8Array
}

const NAME = 56
const Command = { ALLOCATE: 1, ADD_POINTER: 2, ADD_CHECKSUM: 3 } as const
const Allocate = layout(128, { command: [0, 4], file: [4, NAME], alignment: [60, 4], zone: [64, 1] })
const AddPointer = layout(128, {
  command: [0, 4], pointerFile: [4, NAME], pointeeFile: [60, NAME], offset: [116, 4],
  size: [120, 1],
})
const AddChecksum = layout(128, {
  command: [0, 4], file: [4, NAME], result: [60, 4], start: [64, 4], length: [68, 4],
})
/** Where a file may go: anywhere below 4 GiB, or the F segment. */
const ZONE = { HIGH: 1, F_SEGMENT: 2 } as const

const nameBytes = (name: string): Uint8Array => {
  const bytes = new Uint8Array(NAME)
  bytes.set(new TextEncoder().encode(name))
  return bytes
}
const TABLES = nameBytes(ACPI_FILES.tables)
const RSDP = nameBytes(ACPI_FILES.rsdp)

const allocate = (file: Uint8Array, alignment: number, zone: number): Uint8Array =>
  Allocate.create({ command: Command.ALLOCATE, file, alignment, zone })
const addPointer = (pointerFile: Uint8Array, offset: number, size: number): Uint8Array =>
  AddPointer.create({ command: Command.ADD_POINTER, pointerFile, pointeeFile: TABLES, offset, size })
const addChecksum = (file: Uint8Array, result: number, start: number, length: number): Uint8Array =>
  AddChecksum.create({ command: Command.ADD_CHECKSUM, file, result, start, length })

/** A file of a size that is known before its contents are. @throws BootError when they need more */
function fileOf(size: number, needed: number, what: string): Uint8Array {
  if (needed > size) {
    throw new BootError('ACPI', 'size', `${what} take ${needed} bytes, their file has ${bytesText(size)}`)
  }
  return new Uint8Array(size)
}

/** Sizes of the files: tables may grow while firmware sets the machine up, their files may not. */
export interface AcpiLoaderSizes {
  readonly tables: number
  readonly loader: number
}

/** Sizes that hold any tables of this platform, with or without configuration space and windows. */
export function acpiLoaderSizes(platform: AcpiPlatform): AcpiLoaderSizes {
  const { end, tables } = buildAcpiBlock({ ...platform, ecam: { base: 0, buses: 256 } }, 0)
  // Each table has up to three links and may have a checksum; windows are descriptors of some 50 bytes.
  const commands = 4 + 4 * tables.length + 8
  return { tables: Math.ceil((end + 512) / 4096) * 4096, loader: Math.ceil(commands * Allocate.size / 4096) * 4096 }
}

/**
 * Makes the files.
 * @throws BootError when the platform makes no sense or something exceeds `sizes`
 */
export function createAcpiLoader(platform: AcpiPlatform, sizes = acpiLoaderSizes(platform)): AcpiLoaderFiles {
  const block = buildAcpiBlock(platform, 0)
  const tables = fileOf(sizes.tables, block.end, 'the tables')
  for (const t of block.tables) tables.set(t.bytes, t.address)
  const script = [allocate(RSDP, 16, ZONE.F_SEGMENT), allocate(TABLES, 64, ZONE.HIGH)]
  const linked = new Set<number>()
  for (const { at, size } of block.links) {
    script.push(addPointer(TABLES, at, size))
    const owner = block.tables.findIndex((t) => at >= t.address && at < t.address + t.bytes.length)
    linked.add(owner)
  }
  for (const index of linked) {
    const { address, bytes } = block.tables[index]
    // The sum is taken with the field as it is: it must be 0.
    tables[address + SdtHeader.offset.checksum] = 0
    script.push(addChecksum(TABLES, address + SdtHeader.offset.checksum, address, bytes.length))
  }
  const rsdp = buildRsdp(block)
  rsdp[Rsdp.offset.checksum] = 0
  rsdp[Rsdp.offset.extendedChecksum] = 0
  script.push(
    addPointer(RSDP, Rsdp.offset.rsdtAddress, 4), addPointer(RSDP, Rsdp.offset.xsdtAddress, 8),
    addChecksum(RSDP, Rsdp.offset.checksum, 0, RSDP_FIRST_PART),
    addChecksum(RSDP, Rsdp.offset.extendedChecksum, 0, Rsdp.size))
  const loader = fileOf(sizes.loader, script.length * Allocate.size, 'the loader\'s commands')
  script.forEach((command, i) => { loader.set(command, i * Allocate.size) })
  return { tables, rsdp, loader }
}
