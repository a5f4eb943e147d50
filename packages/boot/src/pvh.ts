/** Enters an ELF kernel by PVH: 32-bit protected mode, EBX names hvm_start_info (Xen docs/misc/pvh.pandoc). */
import { Cr0, HvmMemmapEntry, HvmModule, HvmStartInfo, HVM_START_MAGIC,
  XEN_ELFNOTE_PHYS32_ENTRY } from '@cofferdam/spec'
import { parseElf, type ElfImage } from './elf.ts'
import { BootError, hex } from './error.ts'
import {
  LOW, lowPlace, openWorkplace, putAcpi, putCommandLine, putElf, putInitrd, putLow, type Loaded, type LoadOptions,
} from './load.ts'
import { PC } from './memory-map.ts'
import { flatGdt, flatSegments, type StartState } from './start-state.ts'

/** A kernel loaded for its PVH entry. */
export interface PvhBoot extends Loaded {
  readonly kind: 'pvh'
  readonly image: ElfImage
}

/** Physical address of the PVH entry, from the note XEN_ELFNOTE_PHYS32_ENTRY; undefined without one. */
export function pvhEntry(image: ElfImage, file = 'kernel'): number | undefined {
  const note = image.notes.find((n) => n.name === 'Xen' && n.type === XEN_ELFNOTE_PHYS32_ENTRY)
  if (note === undefined) return undefined
  if (note.data.length !== 4 && note.data.length !== 8) {
    throw new BootError(file, 'note XEN_ELFNOTE_PHYS32_ENTRY', `${note.data.length} bytes, expected 4 or 8`)
  }
  const view = new DataView(note.data.buffer, note.data.byteOffset, note.data.byteLength)
  const entry = note.data.length === 8 ? Number(view.getBigUint64(0, true)) : view.getUint32(0, true)
  if (entry >= PC.fourGiB) {
    throw new BootError(file, 'note XEN_ELFNOTE_PHYS32_ENTRY', `${hex(entry)}, expected an address below 4 GiB`)
  }
  return entry
}

/** Flat 32-bit protected mode without paging, as PVH and Multiboot ask for. */
export function protectedModeState(
  entry: number, registers: StartState['registers'], gdt: { readonly at: number, readonly length: number },
): StartState {
  return {
    registers, rip: BigInt(entry), rflags: 2n, cr0: BigInt(Cr0.pack({ PE: 1, ET: 1 })), cr3: 0n, cr4: 0n, efer: 0n,
    gdtr: { base: BigInt(gdt.at), limit: gdt.length - 1 }, idtr: { base: 0n, limit: 0 },
    segments: flatSegments(0x08, 0x10, false),
  }
}

/** The longest command line: PVH states no limit of its own, this is that of x86 Linux. */
const CMDLINE_LIMIT = 2047

/**
 * Loads an ELF kernel for its PVH entry.
 * @throws BootError when the image is damaged, has no PVH entry, or something does not fit
 */
export function loadPvh(options: LoadOptions): PvhBoot {
  const work = openWorkplace(options)
  const { place, map } = work
  const image = parseElf(options.kernel, work.kernelName)
  const entry = pvhEntry(image, work.kernelName)
  if (entry === undefined) {
    throw new BootError(work.kernelName, 'notes',
      'an ELF file without PVH entry (XEN_ELFNOTE_PHYS32_ENTRY) or Multiboot header')
  }
  putElf(work, image)
  const gdt = flatGdt(flatSegments(0x08, 0x10, false))
  const gdtAt = putLow(work, 'GDT', gdt, LOW.gdt)
  const cmdline = putCommandLine(work, options.cmdline, CMDLINE_LIMIT, 'x86 Linux')
  const initrd = putInitrd(work, options.initrd, PC.fourGiB)
  const rsdp = putAcpi(work, options.acpi)

  const modules = HvmStartInfo.size
  const memmap = modules + HvmModule.size
  const info = new Uint8Array(memmap + map.length * HvmMemmapEntry.size)
  const at = lowPlace(work, 'start information', info.length, LOW.info)
  const view = new DataView(info.buffer)
  const withInitrd = initrd !== 0
  HvmStartInfo.write(view, {
    magic: HVM_START_MAGIC, version: 1, nrModules: withInitrd ? 1 : 0,
    modlistPaddr: withInitrd ? BigInt(at + modules) : 0n,
    cmdlinePaddr: BigInt(cmdline), rsdpPaddr: BigInt(rsdp), memmapPaddr: BigInt(at + memmap),
    memmapEntries: map.length,
  })
  if (withInitrd) HvmModule.write(view, { paddr: BigInt(initrd), size: BigInt(options.initrd?.length ?? 0) }, modules)
  map.forEach((r, i) => {
    HvmMemmapEntry.write(view, { addr: BigInt(r.start), size: BigInt(r.length), type: r.type },
      memmap + i * HvmMemmapEntry.size)
  })
  place.put('hvm_start_info', at, info)
  const state = protectedModeState(entry, { rbx: BigInt(at) }, { at: gdtAt, length: gdt.length })
  return { kind: 'pvh', state, image, map, placed: place.placed, rsdp }
}
