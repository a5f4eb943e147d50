/** Where a PC's memory lies: RAM below the PCI hole, the rest above 4 GiB, and what is reserved between. */
import { E820Entry, E820_MAX_ENTRIES, E820Type } from '@cofferdam/spec'
import { BootError, bytesText } from './error.ts'

/** One range of the memory map; addresses and lengths in bytes. */
export interface MemoryRegion {
  readonly start: number
  readonly length: number
  /** An E820Type. */
  readonly type: number
}

/** Where things lie below 4 GiB, as on QEMU's Q35. */
export const PC = {
  /** Extended BIOS data area: the last KiB of the lowest 640 KiB. */
  ebda: 0x9_fc00,
  /** VGA and option ROMs. */
  videoHole: 0xa_0000,
  /** ACPI tables: the upper part of the BIOS area. */
  acpi: 0xe_0000,
  acpiLength: 0x1_f000,
  /** SMBIOS tables: the rest of it. */
  smbios: 0xf_f000,
  highMemory: 0x10_0000,
  /** PCI Express configuration space: 256 buses of 1 MiB. */
  ecam: 0xb000_0000,
  ecamLength: 0x1000_0000,
  /** Window for 32-bit BARs: up to the IOAPIC. */
  pciWindow: 0xc000_0000,
  ioapic: 0xfec0_0000,
  hpet: 0xfed0_0000,
  lapic: 0xfee0_0000,
  /** Firmware ROM below 4 GiB. */
  flash: 0xffc0_0000,
  fourGiB: 0x1_0000_0000,
} as const

/** The smallest machine: room for a kernel and its unpacking. */
const SMALLEST = 16 * 2 ** 20
/** The largest: physical addresses must stay below 2^46 with room for PCI above. */
const LARGEST = 2 ** 44

/** RAM below 4 GiB: all of it when it ends below the ECAM, else 2 GiB, so that the rest starts on a GiB boundary. */
export function lowMemory(memory: number): number {
  return memory >= PC.ecam ? 0x8000_0000 : memory
}

/**
 * The e820 map of a machine with `memory` bytes of RAM (the lowest MiB counts as RAM with its holes, as on a PC).
 * @throws BootError when the size is not a multiple of 4 KiB or outside 16 MiB to 16 TiB
 */
export function pcMemoryMap(memory: number): MemoryRegion[] {
  if (!Number.isSafeInteger(memory) || memory < SMALLEST || memory > LARGEST || memory % 4096 !== 0) {
    throw new BootError('memory', 'size',
      `${bytesText(memory)}; expected ${bytesText(SMALLEST)} to ${bytesText(LARGEST)} in whole pages of 4 KiB`)
  }
  const low = lowMemory(memory)
  const map: MemoryRegion[] = [
    { start: 0, length: PC.ebda, type: E820Type.RAM },
    { start: PC.ebda, length: PC.videoHole - PC.ebda, type: E820Type.RESERVED },
    { start: PC.acpi, length: PC.highMemory - PC.acpi, type: E820Type.ACPI },
    { start: PC.highMemory, length: low - PC.highMemory, type: E820Type.RAM },
    { start: PC.ecam, length: PC.ecamLength, type: E820Type.RESERVED },
    { start: PC.flash, length: PC.fourGiB - PC.flash, type: E820Type.RESERVED },
  ]
  if (memory > low) map.push({ start: PC.fourGiB, length: memory - low, type: E820Type.RAM })
  return map
}

/** RAM of a map in bytes. */
export const ramBytes = (map: readonly MemoryRegion[]): number =>
  map.reduce((sum, r) => (r.type === E820Type.RAM ? sum + r.length : sum), 0)

/**
 * The map as a table of e820 entries (20 bytes each).
 * @throws BootError when it has more entries than boot_params holds
 */
export function e820Bytes(map: readonly MemoryRegion[]): Uint8Array {
  if (map.length > E820_MAX_ENTRIES) {
    throw new BootError('memory', 'e820 map', `${map.length} entries; boot_params holds ${E820_MAX_ENTRIES}`)
  }
  const bytes = new Uint8Array(map.length * E820Entry.size)
  const view = new DataView(bytes.buffer)
  map.forEach((r, i) => {
    E820Entry.write(view, { addr: BigInt(r.start), size: BigInt(r.length), type: r.type }, i * E820Entry.size)
  })
  return bytes
}
