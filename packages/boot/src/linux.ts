/** Loads Linux by the 64-bit boot protocol (Linux Documentation/arch/x86/boot.rst, "64-bit BOOT PROTOCOL"). */
import { createPageTables } from '@cofferdam/paging'
import { BootParams, Cr0, Cr4, Efer, SetupDataHead, SetupHeader } from '@cofferdam/spec'
import { parseBzImage, type BzImage } from './bzimage.ts'
import { BootError, bytesText, hex } from './error.ts'
import { checkInitrd } from './initrd.ts'
import {
  LOW, openWorkplace, putAcpi, putCommandLine, putInitrd, type Loaded, type LoadOptions, type Workplace,
} from './load.ts'
import { e820Bytes, PC, type MemoryRegion } from './memory-map.ts'
import type { Placement } from './placement.ts'
import { flatGdt, flatSegments, type StartState } from './start-state.ts'

/** Selectors of the boot protocol. */
const BOOT_CS = 0x10
const BOOT_DS = 0x18

/** A setup_data node (SetupDataType). */
export interface SetupData {
  readonly type: number
  readonly data: Uint8Array
}

/** What Linux is loaded with: what every kernel is, and entries of its setup_data list. */
export interface LinuxOptions extends LoadOptions {
  readonly setupData?: readonly SetupData[]
}

/** A loaded Linux kernel. */
export interface LinuxBoot extends Loaded {
  readonly kind: 'linux'
  readonly image: BzImage
  /** Where the protected-mode kernel lies. */
  readonly loadAddress: number
}

/** Chooses where the kernel goes: its preferred address, or, when it can move, the lowest fitting one; claims it. */
export function placeKernel(work: Pick<Workplace, 'kernelName' | 'place' | 'lowEnd'>, image: BzImage): number {
  const { kernelName, place, lowEnd } = work
  const length = Math.max(image.initSize, image.kernel.length)
  let start: number | undefined = image.prefAddress
  if (!place.free(start, length)) {
    start = image.relocatable ? place.lowest(length, PC.highMemory, lowEnd, image.alignment) : undefined
  }
  if (start === undefined) {
    throw new BootError(kernelName, 'setup header field init_size',
      `the kernel needs ${bytesText(length)}${image.relocatable ? '' : ` at ${hex(image.prefAddress)}`} to start, and `
      + `the machine has ${bytesText(lowEnd)} of memory below 4 GiB; give it more memory`)
  }
  place.claim('kernel', start, length)
  return start
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
    if (at + node.length > LOW.end) {
      throw new BootError('setup_data', 'size', `${bytesText(data.length)} find no place in low memory`)
    }
    place.put('setup_data', at, node)
    next = BigInt(at)
    at = Math.ceil((at + node.length) / 16) * 16
  }
  return next
}

/** The "zero page": the kernel's own header, completed by the loader (boot.rst, field types "write" and "modify"). */
export function bootParams(image: BzImage, values: {
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
  const work = openWorkplace(options)
  const { place, map } = work
  const image = parseBzImage(options.kernel, work.kernelName)
  if (image.entry64 === undefined) {
    throw new BootError(work.kernelName, 'setup header field xloadflags',
      'the kernel has no 64-bit entry (XLF_KERNEL_64); expected an x86-64 kernel')
  }
  const segments = flatSegments(BOOT_CS, BOOT_DS, true)
  const gdt = flatGdt(segments)
  place.put('GDT', LOW.gdt, gdt)
  place.claim('boot_params', LOW.bootParams, BootParams.size)
  place.claim('stack', LOW.stack, 0x1000)
  const root = identityTables(place)
  const cmdline = putCommandLine(work, options.cmdline, image.cmdlineSize, 'cmdline_size')
  const load = placeKernel(work, image)
  options.write(load, image.kernel)
  if (options.initrd !== undefined) checkInitrd(options.initrd, work.initrdName)
  const initrd = putInitrd(work, options.initrd, image.initrdAddrMax + 1)
  const rsdp = putAcpi(work, options.acpi)
  const setupData = putSetupData(options.setupData ?? [], place)
  options.write(LOW.bootParams, bootParams(image, {
    load, cmdline, initrd, initrdLength: options.initrd?.length ?? 0, rsdp, setupData, map,
  }))
  const state = startState(load + image.entry64, root, segments, gdt.length)
  return { kind: 'linux', state, image, loadAddress: load, map, placed: place.placed, rsdp }
}
