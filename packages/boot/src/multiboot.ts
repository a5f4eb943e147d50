/** Enters a kernel by Multiboot 1 (Multiboot Specification 0.6.96). */
import { layout, MultibootInfo, MultibootMmapEntry, MultibootModule, MULTIBOOT_BOOT_MAGIC,
  MULTIBOOT_HEADER_MAGIC } from '@cofferdam/spec'
import { isElf, parseElf } from './elf.ts'
import { BootError, bytesText, hex } from './error.ts'
import {
  LOW, lowPlace, openWorkplace, putAcpi, putCommandLine, putElf, putInitrd, putLow, putZeroes, type Loaded,
  type LoadOptions,
  type Workplace,
} from './load.ts'
import { PC } from './memory-map.ts'
import { protectedModeState } from './pvh.ts'
import { flatGdt, flatSegments } from './start-state.ts'

/** A kernel loaded by Multiboot. */
export interface MultibootBoot extends Loaded {
  readonly kind: 'multiboot'
  readonly header: MultibootHeaderFields
}

/** §3.1.1: the header lies whole in the first 8 KiB, on a multiple of 4. */
const SEARCH = 8192
const Header = layout(32, {
  magic: [0, 4], flags: [4, 4], checksum: [8, 4], headerAddr: [12, 4], loadAddr: [16, 4], loadEndAddr: [20, 4],
  bssEndAddr: [24, 4], entryAddr: [28, 4],
})
const FLAG = { PAGE_ALIGN: 1, MEMORY_INFO: 2, VIDEO_MODE: 4, ADDRESSES: 1 << 16 } as const
/** Flags 0–15 that are not understood forbid loading (§3.1.2). */
const UNDERSTOOD = FLAG.PAGE_ALIGN | FLAG.MEMORY_INFO
const INFO = { MEMORY: 1, CMDLINE: 1 << 2, MODULES: 1 << 3, MMAP: 1 << 6, LOADER_NAME: 1 << 9 } as const

interface HeaderAddresses {
  readonly header: number
  readonly load: number
  /** 0: the whole file. */
  readonly loadEnd: number
  /** 0: no .bss. */
  readonly bssEnd: number
  readonly entry: number
}

/** The header as found. */
export interface MultibootHeaderFields {
  /** Offset in the file. */
  readonly at: number
  readonly flags: number
  /** Present with flag 16: where the file's bytes go, without regard to its own format. */
  readonly addresses: HeaderAddresses | undefined
}

/** Looks for a Multiboot header. */
export function findMultibootHeader(image: Uint8Array): MultibootHeaderFields | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  for (let at = 0; at + 12 <= Math.min(SEARCH, image.length); at += 4) {
    if (view.getUint32(at, true) !== MULTIBOOT_HEADER_MAGIC) continue
    const flags = view.getUint32(at + 4, true)
    if (((MULTIBOOT_HEADER_MAGIC + flags + view.getUint32(at + 8, true)) & 0xffff_ffff) !== 0) continue
    const withAddresses = (flags & FLAG.ADDRESSES) !== 0
    if (withAddresses && at + Header.size > image.length) continue
    const h = withAddresses ? Header.read(view, at) : undefined
    return {
      at, flags,
      addresses: h && {
        header: h.headerAddr, load: h.loadAddr, loadEnd: h.loadEndAddr, bssEnd: h.bssEndAddr, entry: h.entryAddr,
      },
    }
  }
  return undefined
}

/** Loads by the header's own addresses (§3.1.3); answers the entry. */
function putByAddresses(work: Workplace, image: Uint8Array, at: number, a: HeaderAddresses): number {
  const refuse = (field: string, problem: string) =>
    new BootError(work.kernelName, `Multiboot header field ${field}`, problem)
  if (a.load > a.header) throw refuse('load_addr', `${hex(a.load)} is above header_addr ${hex(a.header)}`)
  const offset = at - (a.header - a.load)
  if (offset < 0) throw refuse('load_addr', `${hex(a.load)} would begin before the file does`)
  const length = a.loadEnd === 0 ? image.length - offset : a.loadEnd - a.load
  if (length <= 0) throw refuse('load_end_addr', `${hex(a.loadEnd)} is not above load_addr ${hex(a.load)}`)
  if (offset + length > image.length) {
    throw refuse('load_end_addr', `${bytesText(length)} to load, the file is truncated`)
  }
  const total = Math.max(length, a.bssEnd - a.load)
  if (!work.place.free(a.load, total)) {
    throw refuse('load_addr', `no free memory for ${bytesText(total)} at ${hex(a.load)}`)
  }
  work.place.claim('kernel', a.load, total)
  work.write(a.load, image.subarray(offset, offset + length))
  putZeroes(work.write, a.load + length, total - length)
  return a.entry
}

function putByElf(work: Workplace, image: Uint8Array): number {
  if (!isElf(image)) {
    throw new BootError(work.kernelName, 'Multiboot header field flags',
      'no load addresses (bit 16), and the file is no ELF')
  }
  const elf = parseElf(image, work.kernelName)
  if (elf.bits !== 32) {
    throw new BootError(work.kernelName, 'e_ident, class', '64 bits; Multiboot enters 32-bit ELF files')
  }
  putElf(work, elf)
  return Number(elf.entry)
}

/** Puts info, module list and memory map into one block; answers its address. */
function putInfo(work: Workplace, cmdline: number, initrd: number, initrdLength: number): number {
  const { map } = work
  const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`)
  const name = text('cofferdam')
  // A module's string is its name, as GRUB and QEMU give it.
  const moduleName = text(work.initrdName)
  const modules = MultibootInfo.size
  const mmap = modules + MultibootModule.size
  const nameAt = mmap + map.length * MultibootMmapEntry.size
  const moduleNameAt = nameAt + name.length
  const bytes = new Uint8Array(moduleNameAt + moduleName.length)
  const at = lowPlace(work, 'Multiboot information', bytes.length, LOW.info)
  const view = new DataView(bytes.buffer)
  const withModule = initrd !== 0
  MultibootInfo.write(view, {
    flags: INFO.MEMORY | INFO.CMDLINE | INFO.MODULES | INFO.MMAP | INFO.LOADER_NAME,
    // KiB from 0 and from 1 MiB up to the first hole (§3.3).
    memLower: 640, memUpper: (work.lowEnd - PC.highMemory) / 1024, cmdline, modsCount: withModule ? 1 : 0,
    modsAddr: at + modules, mmapLength: map.length * MultibootMmapEntry.size, mmapAddr: at + mmap,
    bootLoaderName: at + nameAt,
  })
  if (withModule) {
    const string = at + moduleNameAt
    MultibootModule.write(view, { start: initrd, end: initrd + initrdLength, string }, modules)
  }
  map.forEach((r, i) => {
    // `size` does not count itself.
    const entry = { size: MultibootMmapEntry.size - 4, addr: BigInt(r.start), length: BigInt(r.length), type: r.type }
    MultibootMmapEntry.write(view, entry, mmap + i * MultibootMmapEntry.size)
  })
  bytes.set(name, nameAt)
  bytes.set(moduleName, moduleNameAt)
  work.place.put('Multiboot information', at, bytes)
  return at
}

/**
 * Loads a Multiboot kernel; the initrd becomes its one module. The command line begins with the kernel's name, as GRUB
 * and QEMU give it.
 *
 * @throws BootError when there is no header, the image is damaged, or something does not fit
 */
export function loadMultiboot(options: LoadOptions): MultibootBoot {
  const work = openWorkplace(options)
  const header = findMultibootHeader(options.kernel)
  if (header === undefined) throw new BootError(work.kernelName, 'Multiboot header', 'none in the first 8 KiB')
  const unknown = header.flags & 0xffff & ~(UNDERSTOOD | FLAG.VIDEO_MODE)
  if (unknown !== 0) {
    throw new BootError(work.kernelName, 'Multiboot header field flags',
      `asks for ${hex(unknown)}, which is not offered`)
  }
  const entry = header.addresses === undefined
    ? putByElf(work, options.kernel)
    : putByAddresses(work, options.kernel, header.at, header.addresses)
  const gdt = flatGdt(flatSegments(0x08, 0x10, false))
  const gdtAt = putLow(work, 'GDT', gdt, LOW.gdt)
  const text = options.cmdline === '' ? work.kernelName : `${work.kernelName} ${options.cmdline}`
  const cmdline = putCommandLine(work, text, 0x1_0000, 'Multiboot')
  const initrd = putInitrd(work, options.initrd, PC.fourGiB)
  const rsdp = putAcpi(work, options.acpi)
  const info = putInfo(work, cmdline, initrd, options.initrd?.length ?? 0)
  const state = protectedModeState(entry, { rax: BigInt(MULTIBOOT_BOOT_MAGIC), rbx: BigInt(info) }, {
    at: gdtAt, length: gdt.length,
  })
  return { kind: 'multiboot', state, header, map: work.map, placed: work.place.placed, rsdp }
}
