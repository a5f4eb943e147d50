/**
 * AMD silicon under a host that is machine code: processors with SEV-SNP, the PSP on PCI with its firmware behind it,
 * and what a BIOS does for both before it hands over.
 */
import type { MemoryRegion } from '@cofferdam/boot'
import type { PspFirmware } from '@cofferdam/devices'
import { readMsr, RMP_ALIGNMENT, rmpTableBytes, writeMsr } from '@cofferdam/host'
import { HOST_KEY } from '@cofferdam/sev'
import { E820Type, Msr, SysCfg } from '@cofferdam/spec'
import type { Extension, Processor } from '@cofferdam/x86'
import type { DmaEncryption } from '../devices.ts'
import { createSnpSilicon } from './silicon.ts'
import type { SnpSiliconOptions } from './silicon.ts'

/** Memory that a BIOS keeps for the reverse map. */
export interface RmpReservation {
  readonly base: number
  readonly bytes: number
}

type Common = Pick<SnpSiliconOptions, 'memory' | 'model' | 'seed' | 'processors' | 'charge'>

export interface HostSiliconOptions extends Common {
  /** The machine's memory. */
  readonly map: readonly MemoryRegion[]
  /** Memory is kept for the reverse map; a firmware image hands over a map of its own, without. */
  readonly reserve: boolean
}

export interface HostSilicon {
  readonly extensions: readonly Extension[]
  /** The firmware, for the mailbox. */
  readonly psp: PspFirmware
  /** How devices name the host's own key (SME). */
  readonly dma: DmaEncryption
  /** The memory map that is handed over. */
  readonly map: readonly MemoryRegion[]
  /** What a BIOS programs, once the processors are there. */
  start(): void
}

/**
 * Takes the reverse map's memory from the end of the highest RAM that has room for it. A table covers all RAM, itself
 * included, and begins and ends at 2 MiB (APM vol. 2, §15.36.4; Linux arch/x86/virt/svm/sev.c).
 */
export function reserveRmp(map: readonly MemoryRegion[]): { map: MemoryRegion[], rmp: RmpReservation } | undefined {
  const isRam = ({ type }: MemoryRegion): boolean => type === E820Type.RAM
  const bytes = rmpTableBytes(Math.max(...map.filter(isRam).map(({ start, length }) => start + length)))
  const baseIn = ({ start, length }: MemoryRegion): number =>
    Math.floor((start + length - bytes) / RMP_ALIGNMENT) * RMP_ALIGNMENT
  const at = map.findLastIndex((region) => isRam(region) && baseIn(region) > region.start)
  if (at < 0) return undefined
  const base = baseIn(map[at])
  const { start, length } = map[at]
  const kept = [
    { start, length: base - start, type: E820Type.RAM },
    { start: base, length: start + length - base, type: E820Type.RESERVED },
  ]
  return { map: [...map.slice(0, at), ...kept, ...map.slice(at + 1)], rmp: { base, bytes } }
}

/** Memory encryption on every processor, and where the reverse map is to lie, as AGESA does; SNP itself stays off. */
function program(processors: readonly Processor[], rmp: RmpReservation | undefined): void {
  for (const processor of processors) {
    const value = readMsr(processor, Msr.AMD_SYSCFG) | SysCfg.mask.MemEncryptionModeEn
    writeMsr(processor, Msr.AMD_SYSCFG, value)
    if (rmp === undefined) continue
    writeMsr(processor, Msr.AMD_RMP_BASE, BigInt(rmp.base))
    writeMsr(processor, Msr.AMD_RMP_END, BigInt(rmp.base + rmp.bytes - 1))
  }
}

/** Creates the silicon. There is no IOMMU: the firmware refuses to initialise SNP, as it does on such a machine. */
export function createHostSilicon(options: HostSiliconOptions): HostSilicon {
  const { memory, model, seed, processors, charge, map } = options
  const silicon = createSnpSilicon({ memory, model, seed, processors, charge, iommuReady: false })
  const reserved = options.reserve ? reserveRmp(map) : undefined
  return {
    extensions: silicon.extensions,
    psp: { command: (id, buffer) => silicon.psp.command(id, buffer) },
    dma: { bit: silicon.encryption.cBit, key: HOST_KEY },
    map: reserved?.map ?? map,
    start() { program(processors(), reserved?.rmp) },
  }
}
