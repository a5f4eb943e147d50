/**
 * Direct boot of an SNP guest: everything that is measured and started so that an unmodified bzImage finds
 * boot_params, EFI tables, ACPI, its secrets and its CPUID page, and memory that is accepted as firmware and boot
 * loader would have left it: what they used, what the kernel needs to unpack itself, and what its bitmap of unaccepted
 * memory cannot tell.
 */
import { createPageTables } from '@cofferdam/paging'
import {
  BootParams, CC_BLOB_MAGIC, CcBlob, Cr0, Cr4, E820_MAX_ENTRIES, E820Type, Efer, EfiGuid, EfiMemoryDescriptor,
  EfiMemoryType, SetupDataHead, SetupDataType,
} from '@cofferdam/spec'
import type { AcpiPlatform } from '../acpi/platform.ts'
import { createAcpiTables } from '../acpi/tables.ts'
import { parseBzImage, type BzImage } from '../bzimage.ts'
import {
  createEfiLayout, e820OfEfi, efiMapBytes, efiMemoryMap, pages, splitFree, type EfiLayout, type EfiRange, type Piece,
} from '../efi/layout.ts'
import { putEfiTables, type ConfigurationTable } from '../efi/tables.ts'
import { takesUnacceptedMemory, UNACCEPTED_UNIT, unacceptedTable, unacceptedTableBound } from '../efi/unaccepted.ts'
import { BootError } from '../error.ts'
import { checkInitrd } from '../initrd.ts'
import { bootParams, placeKernel } from '../linux.ts'
import { commandLineBytes, placeInitrd } from '../load.ts'
import { PC, pcMemoryMap, type MemoryRegion } from '../memory-map.ts'
import { createSmbios, type SmbiosInfo } from '../smbios.ts'
import { flatGdt, flatSegments, type StartState } from '../start-state.ts'
import { VMSA_GPA, type SnpLaunch, type SnpLaunchPages, type SnpPageType } from './launch.ts'
import { snpStage } from './snp-stage.ts'
import { stageParameters, STAGE_RANGES } from './stage-parameters.ts'
import { vmsaOf } from './vmsa.ts'

/** What {@link snpDirectBoot} launches: addresses and sizes in bytes. */
export interface SnpDirectOptions {
  /** A bzImage with a 64-bit entry. */
  readonly kernel: Uint8Array
  readonly initrd?: Uint8Array
  readonly cmdline: string
  /** RAM in bytes. */
  readonly memory: number
  readonly acpi: AcpiPlatform
  readonly smbios?: SmbiosInfo
  /** Position of the C-bit in page-table entries (CPUID 8000_001F EBX[5:0]). */
  readonly cBit: number
  /** `eager` accepts all memory before the kernel; `lazy` what a kernel that knows unaccepted memory wants accepted. */
  readonly accept: 'lazy' | 'eager'
  /** Vmsa.sevFeatures of all processors. */
  readonly features?: bigint
  /** Leaves a page for the first calling area of an SVSM (58019 §4). */
  readonly callingArea?: boolean
  readonly names?: { readonly kernel?: string, readonly initrd?: string }
}

/** The launch: pages, and at last the boot processor's VMSA. Other processors are created by the guest. */
export interface SnpDirectImage extends SnpLaunch {
  readonly state: StartState
  readonly image: BzImage
  /** The e820 map that the kernel gets, and the EFI map. */
  readonly map: readonly MemoryRegion[]
  readonly efiMap: readonly EfiRange[]
  /** What the boot stage accepts. */
  readonly accepted: readonly { readonly start: number, readonly length: number }[]
  /** The kernel takes unaccepted memory; `false` and everything is accepted for it. */
  readonly unacceptedMemory: boolean
}

/** Where the block of everything movable begins; firmware for SNP guests has its own pages there too. */
const BLOCK = 0x80_0000
const PAGE = 4096
/** The linear address that maps the GHCB without C-bit: the last page of the lower half. */
const GHCB_SHARED = 0x7fff_ffff_f000
const BOOT_CS = 0x10
const BOOT_DS = 0x18

const { LOADER_CODE, LOADER_DATA, RUNTIME_SERVICES_DATA, ACPI_RECLAIM, RESERVED } = EfiMemoryType

/** A PC's memory without BIOS: no firmware lies below 1 MiB, so that the range of the old ROMs is nobody's. */
function memoryMap(memory: number): MemoryRegion[] {
  const rest = pcMemoryMap(memory).filter((r) => r.start >= PC.highMemory)
  return [{ start: 0, length: PC.videoHole, type: E820Type.RAM }, ...rest]
}

function putKernel(layout: EfiLayout, image: BzImage, name: string): number {
  const start = placeKernel({ kernelName: name, place: layout.place, lowEnd: layout.lowEnd }, image)
  const length = pages(image.kernel.length)
  const note = (piece: Pick<Piece, 'start' | 'length' | 'origin' | 'bytes'>): void => {
    layout.note({ name: 'kernel', efi: LOADER_CODE, ...piece })
  }
  note({ start, length, origin: 'measured', bytes: image.kernel })
  const room = pages(Math.max(image.initSize, image.kernel.length))
  if (room > length) note({ start: start + length, length: room - length, origin: 'accept' })
  return start
}

/** Tables that map all RAM one to one with the C-bit, and the GHCB once more without. */
function putPageTables(layout: EfiLayout, end: number, cBit: number, ghcb: number): number {
  const bit = 1n << BigInt(cBit)
  // Identity: PML4, PDPTs, four page directories; GHCB: PDPT, directory, table.
  const bytes = new Uint8Array((8 + Math.ceil(end / 2 ** 39)) * PAGE)
  const view = new DataView(bytes.buffer)
  const base = layout.put('page tables', LOADER_DATA, bytes)
  let used = 0
  const tables = createPageTables({
    levels: 4, tableBits: bit,
    memory: {
      allocate: () => base + (used += PAGE) - PAGE,
      load64: (pa) => view.getBigUint64(pa - base, true),
      store64: (pa, value) => { view.setBigUint64(pa - base, value, true) },
    },
  })
  tables.map({ from: 0, length: PC.fourGiB, largest: 21, bits: bit })
  if (end > PC.fourGiB) {
    tables.map({ from: PC.fourGiB, length: Math.ceil((end - PC.fourGiB) / 2 ** 30) * 2 ** 30, bits: bit })
  }
  tables.map({ from: GHCB_SHARED, to: ghcb, length: PAGE })
  return tables.root
}

/** Pages that only SNP has, and their addresses. */
function putSnpPages(layout: EfiLayout) {
  const secrets = layout.reserve('secrets', RESERVED, 'secrets', PAGE)
  const cpuid = layout.reserve('CPUID', RESERVED, 'cpuid', PAGE)
  const ccBlob = layout.put('CC blob', RESERVED, CcBlob.create({
    magic: CC_BLOB_MAGIC, secretsPhys: BigInt(secrets), secretsLength: PAGE, cpuidPhys: BigInt(cpuid),
    cpuidLength: PAGE,
  }))
  const parameters = new Uint8Array(PAGE)
  const at = layout.put('boot stage parameters', LOADER_DATA, parameters)
  const batch = layout.reserve('boot stage data', LOADER_DATA, 'zero', PAGE)
  const stack = layout.reserve('boot stage stack', LOADER_DATA, 'zero', PAGE)
  const ghcb = layout.reserve('boot stage GHCB', LOADER_DATA, 'zero', PAGE)
  const stage = layout.put('boot stage', LOADER_CODE, snpStage({ parameters: at, batch }))
  return { secrets, cpuid, ccBlob, parameters, stack, ghcb, stage }
}

/** setup_data with the blob's address, for kernels that look there. */
function putSetupData(layout: EfiLayout, ccBlob: number): bigint {
  const node = new Uint8Array(SetupDataHead.size + 4)
  const view = new DataView(node.buffer)
  SetupDataHead.write(view, { type: SetupDataType.CC_BLOB, len: 4 })
  view.setUint32(SetupDataHead.size, ccBlob, true)
  return BigInt(layout.put('setup_data', LOADER_DATA, node))
}

/** ACPI and SMBIOS tables, and where they are found. */
function putFirmwareTables(layout: EfiLayout, options: SnpDirectOptions): ConfigurationTable[] {
  const acpi = new Uint8Array(PC.acpiLength)
  const acpiAt = layout.put('ACPI tables', ACPI_RECLAIM, acpi)
  const { bytes, rsdp } = createAcpiTables(options.acpi, { address: acpiAt, length: acpi.length })
  acpi.set(bytes)
  const found: ConfigurationTable[] = [[EfiGuid.ACPI_20, rsdp]]
  if (options.smbios !== undefined) {
    const smbios = new Uint8Array(PAGE)
    const at = layout.put('SMBIOS', RUNTIME_SERVICES_DATA, smbios)
    smbios.set(createSmbios(options.smbios, at))
    found.push([EfiGuid.SMBIOS3, at])
  }
  return found
}

/** Long mode, paging with the C-bit, interrupts off; RSI names boot_params. */
function startState(rip: number, root: number, cBit: number, stack: number, gdt: number): StartState {
  const segments = flatSegments(BOOT_CS, BOOT_DS, true)
  return {
    registers: { rsp: BigInt(stack + PAGE - 16) },
    rip: BigInt(rip), rflags: 2n,
    cr0: BigInt(Cr0.pack({ PE: 1, MP: 1, ET: 1, NE: 1, WP: 1, PG: 1 })),
    cr3: BigInt(root) | 1n << BigInt(cBit),
    cr4: BigInt(Cr4.pack({ PAE: 1 })),
    efer: BigInt(Efer.pack({ LME: 1, LMA: 1 })),
    gdtr: { base: BigInt(gdt), limit: flatGdt(segments).length - 1 },
    idtr: { base: 0n, limit: 0 },
    segments,
  }
}

const LAUNCH_TYPE: Readonly<Record<Exclude<Piece['origin'], 'accept'>, SnpPageType>> = {
  measured: 'normal', zero: 'zero', secrets: 'secrets', cpuid: 'cpuid',
}
const LAUNCH_ORDER: readonly SnpPageType[] = ['normal', 'zero', 'secrets', 'cpuid']

function launchPages(pieces: readonly Piece[]): SnpLaunchPages[] {
  const all = pieces.flatMap(({ name, start, length, origin, bytes }) =>
    (origin === 'accept' ? [] : [{ name, start, length, type: LAUNCH_TYPE[origin], bytes }]))
  return all.sort((a, b) => LAUNCH_ORDER.indexOf(a.type) - LAUNCH_ORDER.indexOf(b.type) || a.start - b.start)
}

const bootVmsa = (state: StartState, features?: bigint): SnpLaunchPages =>
  ({ name: 'VMSA', start: VMSA_GPA, length: PAGE, type: 'vmsa', bytes: vmsaOf(state, features), vp: 0 })

function checkedImage({ kernel, names }: SnpDirectOptions): BzImage & { readonly entry64: number } {
  const name = names?.kernel ?? 'kernel'
  const image = parseBzImage(kernel, name)
  const { entry64 } = image
  if (image.prefAddress % PAGE !== 0) {
    throw new BootError(name, 'setup header field pref_address',
      `0x${image.prefAddress.toString(16)}; expected a page's start, since an SNP guest is launched by pages`)
  }
  if (entry64 !== undefined) return { ...image, entry64 }
  throw new BootError(name, 'setup header field xloadflags',
    'the kernel has no 64-bit entry (XLF_KERNEL_64); an SNP guest cannot be entered otherwise')
}

/** Memory that nobody uses yet, by who accepts it; the table of what waits is written where there is one. */
function shareOut(map: readonly MemoryRegion[], layout: EfiLayout, table: Uint8Array | undefined) {
  const free = splitFree(map, layout.pieces, table === undefined ? 0 : UNACCEPTED_UNIT)
  if (table !== undefined && free.unaccepted.length > 0) table.set(unacceptedTable(free.unaccepted))
  const inPieces = layout.pieces.filter((p) => p.origin === 'accept')
  const accepted = [...inPieces, ...free.accepted].map(({ start, length }) => ({ start, length }))
    .sort((a, b) => a.start - b.start)
  if (accepted.length > STAGE_RANGES) {
    throw new BootError('memory', 'map', `${accepted.length} ranges to accept; the boot stage takes ${STAGE_RANGES}`)
  }
  return { free, accepted }
}

/**
 * Builds the launch of an SNP guest that boots `kernel` directly.
 * @throws BootError when an image is damaged or something does not fit
 */
export function snpDirectBoot(options: SnpDirectOptions): SnpDirectImage {
  const { memory, cBit, initrd } = options
  const image = checkedImage(options)
  const map = memoryMap(memory)
  const end = Math.max(...map.map((r) => r.start + r.length))
  const layout = createEfiLayout(map, BLOCK)
  const load = putKernel(layout, image, options.names?.kernel ?? 'kernel')
  const { secrets, cpuid, ccBlob, parameters, stack, ghcb, stage } = putSnpPages(layout)
  const callingArea = options.callingArea === true
    ? layout.reserve('SVSM calling area', RESERVED, 'zero', PAGE) : undefined

  const unacceptedMemory = takesUnacceptedMemory(options.kernel)
  const table = unacceptedMemory && options.accept === 'lazy' ? new Uint8Array(unacceptedTableBound(end)) : undefined
  const tables: ConfigurationTable[] = [...putFirmwareTables(layout, options), [EfiGuid.CC_BLOB, ccBlob]]
  const tableAt = table === undefined ? -1 : layout.put('unaccepted memory', ACPI_RECLAIM, table)
  if (tableAt >= 0) tables.push([EfiGuid.LINUX_UNACCEPTED_MEMORY, tableAt])
  const systemTable = putEfiTables(layout, tables)
  const root = putPageTables(layout, end, cBit, ghcb)
  const gdt = layout.put('GDT', LOADER_DATA, flatGdt(flatSegments(BOOT_CS, BOOT_DS, true)))
  const setupData = putSetupData(layout, ccBlob)
  const cmdline = layout.put('command line', LOADER_DATA,
    commandLineBytes(options.cmdline, image.cmdlineSize, 'cmdline_size'))
  const zeroPage = new Uint8Array(PAGE)
  const zeroPageAt = layout.put('boot_params', LOADER_DATA, zeroPage)
  const efiMapPages = new Uint8Array(2 * PAGE)
  const efiMapAt = layout.put('EFI memory map', LOADER_DATA, efiMapPages)
  const initrdAt = putInitrdPages(layout, options, image)

  const { free, accepted } = shareOut(map, layout, table)
  const efiMap = efiMemoryMap(map, layout.pieces, free)
  const e820 = e820OfEfi(efiMap)
  const descriptors = efiMapBytes(efiMap)
  if (descriptors.length > efiMapPages.length || e820.length > E820_MAX_ENTRIES) {
    throw new BootError('memory', 'map', `${efiMap.length} ranges are more than the EFI and e820 maps hold`)
  }
  efiMapPages.set(descriptors)
  zeroPage.set(bootParams(image, {
    load, cmdline, initrd: initrdAt, initrdLength: initrd?.length ?? 0, rsdp: tables[0][1], setupData, map: e820,
  }))
  BootParams.write(new DataView(zeroPage.buffer), {
    // "EL64".
    efiLoaderSignature: 0x3436_4c45, efiSystab: systemTable, efiMemdescSize: EfiMemoryDescriptor.size,
    efiMemdescVersion: 1, efiMemmap: efiMapAt, efiMemmapSize: descriptors.length,
  })
  parameters.set(stageParameters({
    entry: BigInt(load + image.entry64), bootParams: BigInt(zeroPageAt), secrets: BigInt(secrets), cpuid: BigInt(cpuid),
    ghcb: BigInt(ghcb), ghcbShared: BigInt(GHCB_SHARED),
  }, accepted))
  const state = startState(stage, root, cBit, stack, gdt)
  return {
    launch: [...launchPages(layout.pieces), bootVmsa(state, options.features)], state, image, map: e820, efiMap,
    accepted, unacceptedMemory, callingArea,
    ...(table && { unacceptedTable: { start: tableAt, length: table.length } }),
  }
}

/** The initrd, as high as it may lie; answers where, 0 without one. */
function putInitrdPages(layout: EfiLayout, { initrd, names }: SnpDirectOptions, image: BzImage): number {
  if (initrd === undefined || initrd.length === 0) return 0
  const name = names?.initrd ?? 'initrd'
  checkInitrd(initrd, name)
  const length = pages(initrd.length)
  const start = placeInitrd({ ...layout, initrdName: name }, length, image.initrdAddrMax + 1)
  layout.note({ name: 'initrd', start, length, efi: LOADER_DATA, origin: 'measured', bytes: initrd })
  return start
}
