/** Loads Linux by the 64-bit boot protocol (Linux Documentation/arch/x86/boot.rst, "64-bit BOOT PROTOCOL"). */
import { createPageTables } from '@cofferdam/paging'
import { BootParams, Cr0, Cr4, E820Type, Efer, SetupDataHead, SetupHeader } from '@cofferdam/spec'
import type { AcpiPlatform } from './acpi/platform.ts'
import { createAcpiTables } from './acpi/tables.ts'
import { parseBzImage, type BzImage } from './bzimage.ts'
import { BootError, bytesText, hex } from './error.ts'
import { e820Bytes, PC, pcMemoryMap, type MemoryRegion } from './memory-map.ts'
import { createPlacement, type Placed, type Placement, type WriteMemory } from './placement.ts'
import { flatGdt, flatSegments, type StartState } from './start-state.ts'

/** Selectors of the boot protocol. */
const BOOT_CS = 0x10
const BOOT_DS = 0x18

/** Low memory, free on a PC: below the kernel's own trampolines, which go to the end of the lowest 640 KiB. */
const LOW = {
  biosData: 0x400, gdt: 0x1000, bootParams: 0x7000, stack: 0x8000, pageTables: 0x9000, cmdline: 0x2_0000, setupData: 0x4_0000,
} as const

/** A setup_data node (SetupDataType). */
export interface SetupData {
  readonly type: number
  readonly data: Uint8Array
}

export interface LinuxOptions {
  readonly kernel: Uint8Array
  readonly initrd?: Uint8Array
  readonly cmdline: string
  /** RAM in bytes. */
  readonly memory: number
  /** Writes guest memory. RAM that is not written keeps what it has. */
  readonly write: WriteMemory
  /** The platform that ACPI describes; without it the kernel gets no RSDP. */
  readonly acpi?: AcpiPlatform
  /** The memory map, when it is not that of `pcMemoryMap(memory)`. */
  readonly map?: readonly MemoryRegion[]
  readonly setupData?: readonly SetupData[]
  /** Names for error messages. */
  readonly names?: { readonly kernel?: string, readonly initrd?: string }
}

/** A loaded kernel. */
export interface LinuxBoot {
  readonly state: StartState
  readonly image: BzImage
  /** Where the protected-mode kernel lies. */
  readonly loadAddress: number
  readonly map: readonly MemoryRegion[]
  /** Everything that was put into memory, in order. */
  readonly placed: readonly Placed[]
  /** Guest-physical address of the RSDP, or 0. */
  readonly rsdp: number
}

/** Chooses where the kernel goes: its preferred address, or, when it can move, the lowest fitting one. */
function placeKernel(file: string, image: BzImage, place: Placement, lowEnd: number): number {
  const length = Math.max(image.initSize, image.kernel.length)
  let start: number | undefined = image.prefAddress
  if (!place.free(start, length)) {
    start = image.relocatable ? place.lowest(length, PC.highMemory, lowEnd, image.alignment) : undefined
  }
  if (start === undefined) {
    throw new BootError(file, 'setup header field init_size',
      `the kernel needs ${bytesText(length)} ${image.relocatable ? '' : `at ${hex(image.prefAddress)} `}to start, and the `
      + `machine has ${bytesText(lowEnd)} of memory below 4 GiB; give it more memory`)
  }
  place.claim('kernel', start, length)
  return start
}

function placeInitrd(file: string, initrd: Uint8Array, image: BzImage, place: Placement, lowEnd: number): number {
  const top = Math.min(lowEnd, image.initrdAddrMax + 1)
  const start = place.highest(initrd.length, PC.highMemory, top, 4096)
  if (start === undefined) {
    throw new BootError(file, 'size', `${bytesText(initrd.length)} find no place beside the kernel below ${hex(top)} `
      + '(end of low memory, or initrd_addr_max); give the machine more memory')
  }
  return start
}

function commandLine(text: string, image: BzImage): Uint8Array {
  if (text.includes('\0')) throw new BootError('command line', 'text', 'contains a NUL character')
  const bytes = new TextEncoder().encode(text)
  if (bytes.length > image.cmdlineSize) {
    throw new BootError('command line', 'length', `${bytes.length} bytes; this kernel takes ${image.cmdlineSize} (cmdline_size)`)
  }
  const terminated = new Uint8Array(bytes.length + 1)
  terminated.set(bytes)
  return terminated
}

/** Identity tables for the low 4 GiB with 2 MiB pages. */
function identityTables(place: Placement): number {
  const bytes = new Uint8Array(6 * 4096)
  const view = new DataView(bytes.buffer)
  let used = 0
  const tables = createPageTables({
    levels: 4,
    memory: {
      allocate: () => LOW.pageTables + (used += 4096) - 4096,
      load64: (pa) => view.getBigUint64(pa - LOW.pageTables, true),
      store64: (pa, value) => { view.setBigUint64(pa - LOW.pageTables, value, true) },
    },
  })
  // 1 GiB pages would need a CPUID bit that not every model has.
  tables.map({ from: 0, length: PC.fourGiB, largest: 21 })
  place.put('page tables', LOW.pageTables, bytes)
  return tables.root
}

/** Chains the nodes; answers the address of the first, or 0. */
function putSetupData(nodes: readonly SetupData[], place: Placement): bigint {
  let next = 0n
  let at: number = LOW.setupData
  for (const { type, data } of [...nodes].reverse()) {
    const node = new Uint8Array(SetupDataHead.size + data.length)
    SetupDataHead.write(new DataView(node.buffer), { next, type, len: data.length })
    node.set(data, SetupDataHead.size)
    if (at + node.length > PC.ebda - 0x4000) throw new BootError('setup_data', 'size', `${bytesText(data.length)} find no place in low memory`)
    place.put('setup_data', at, node)
    next = BigInt(at)
    at = Math.ceil((at + node.length) / 16) * 16
  }
  return next
}

/** The "zero page": the kernel's own header, completed by the loader (boot.rst, field types "write" and "modify"). */
function bootParams(image: BzImage, values: {
  load: number, cmdline: number, initrd: number, initrdLength: number, rsdp: number, setupData: bigint
  map: readonly MemoryRegion[]
}): Uint8Array {
  const bytes = new Uint8Array(BootParams.size)
  bytes.set(image.headerBytes, 0x1f1)
  const view = new DataView(bytes.buffer)
  SetupHeader.write(view, {
    // 0xff: a loader without an assigned number. 0xffff: the normal video mode.
    typeOfLoader: 0xff, vidMode: 0xffff, code32Start: values.load >>> 0, ramdiskImage: values.initrd,
    ramdiskSize: values.initrdLength, cmdLinePtr: values.cmdline, setupData: values.setupData,
  })
  const e820 = e820Bytes(values.map)
  BootParams.write(view, { e820Entries: values.map.length, e820Table: e820, acpiRsdpAddr: BigInt(values.rsdp) })
  return bytes
}

/** What a BIOS leaves at 0x400 and Linux looks at: segment of the EBDA, and KiB of base memory. */
function biosData(): Uint8Array {
  const bytes = new Uint8Array(0x100)
  const view = new DataView(bytes.buffer)
  view.setUint16(0x0e, PC.ebda >> 4, true)
  view.setUint16(0x13, PC.ebda >> 10, true)
  return bytes
}

/** Long mode with flat segments, paging on, interrupts off; RSI names boot_params. */
function startState(entry: number, root: number, segments: StartState['segments'], gdtLength: number): StartState {
  return {
    registers: { rsi: BigInt(LOW.bootParams), rsp: BigInt(LOW.stack + 0xff0) },
    rip: BigInt(entry),
    rflags: 2n,
    cr0: BigInt(Cr0.pack({ PE: 1, MP: 1, ET: 1, NE: 1, WP: 1, PG: 1 })),
    cr3: BigInt(root),
    cr4: BigInt(Cr4.pack({ PAE: 1 })),
    efer: BigInt(Efer.pack({ LME: 1, LMA: 1 })),
    gdtr: { base: BigInt(LOW.gdt), limit: gdtLength - 1 },
    idtr: { base: 0n, limit: 0 },
    segments,
  }
}

/**
 * Puts a kernel, its initrd, command line, boot_params, ACPI tables, page tables and GDT into memory, and answers the
 * state in which the boot processor starts.
 *
 * @throws BootError when an image is damaged or something does not fit
 */
export function loadLinux(options: LinuxOptions): LinuxBoot {
  const file = options.names?.kernel ?? 'kernel'
  const image = parseBzImage(options.kernel, file)
  if (image.entry64 === undefined) {
    throw new BootError(file, 'setup header field xloadflags', 'the kernel has no 64-bit entry (XLF_KERNEL_64); expected an x86-64 kernel')
  }
  const map = options.map ?? pcMemoryMap(options.memory)
  const lowEnd = map.filter((r) => r.type === E820Type.RAM && r.start < PC.fourGiB)
    .reduce((end, r) => Math.max(end, Math.min(PC.fourGiB, r.start + r.length)), 0)
  const place = createPlacement(map, options.write)
  const segments = flatSegments(BOOT_CS, BOOT_DS, true)
  const gdt = flatGdt(segments)
  place.put('BIOS data', LOW.biosData, biosData())
  place.put('GDT', LOW.gdt, gdt)
  place.claim('boot_params', LOW.bootParams, BootParams.size)
  place.claim('stack', LOW.stack, 0x1000)
  const root = identityTables(place)
  place.put('command line', LOW.cmdline, commandLine(options.cmdline, image))

  const load = placeKernel(file, image, place, lowEnd)
  options.write(load, image.kernel)
  const initrd = options.initrd
  let initrdAt = 0
  if (initrd !== undefined && initrd.length > 0) {
    const name = options.names?.initrd ?? 'initrd'
    initrdAt = placeInitrd(name, initrd, image, place, lowEnd)
    place.put('initrd', initrdAt, initrd)
  }
  let rsdp = 0
  if (options.acpi !== undefined) {
    const tables = createAcpiTables(options.acpi, { address: PC.acpi, length: PC.acpiLength })
    place.put('ACPI tables', PC.acpi, tables.bytes)
    rsdp = tables.rsdp
  }
  const setupData = putSetupData(options.setupData ?? [], place)
  options.write(LOW.bootParams, bootParams(image, {
    load, cmdline: LOW.cmdline, initrd: initrdAt, initrdLength: initrd?.length ?? 0, rsdp, setupData, map,
  }))
  return {
    state: startState(load + image.entry64, root, segments, gdt.length), image, loadAddress: load, map,
    placed: place.placed, rsdp,
  }
}

