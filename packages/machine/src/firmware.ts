/** Firmware in its flash chips, and the fw_cfg device by which it learns what machine it is on. */
import { createFirmwareConfig } from '@cofferdam/boot'
import type { AcpiPlatform, FirmwareConfigOptions, FirmwareLayout } from '@cofferdam/boot'
import {
  COST, createFwCfg, createRomShadow, mapFlash, observed, romOverhead, SHADOW_ROM, snapshotPart,
} from '@cofferdam/devices'
import type {
  DmaMemory, FwCfg, MappedFlash, Observation, PamSegment, PlacedPlatform, SnapshotPart,
} from '@cofferdam/devices'
import type { PhysicalMemory } from '@cofferdam/memory'

/** Bytes of the WebAssembly memory that the chips and the ROM below 1 MiB take. */
export const firmwareOverhead = (layout: FirmwareLayout): number =>
  layout.chips.reduce((sum, { bytes }) => sum + romOverhead(bytes.length), romOverhead(SHADOW_ROM))

/** What flash needs of the machine. */
export interface FirmwareOptions {
  readonly memory: PhysicalMemory
  readonly layout: FirmwareLayout
  /** Processors forget their translations. */
  readonly onRemap: () => void
  readonly observation: Observation
}

/** Firmware in the address space. */
export interface Firmware {
  readonly chips: readonly MappedFlash[]
  /** For the host bridge's attribute map. */
  readonly onPam: (segment: PamSegment) => void
  /** The variable store as it is now. */
  variables(): Uint8Array | undefined
  /** The chips as parts of a snapshot. */
  readonly parts: readonly SnapshotPart[]
}

/** Puts the chips below 4 GiB, and the end of the highest below 1 MiB. */
export function attachFirmware(options: FirmwareOptions): Firmware {
  const { memory, layout, onRemap } = options
  const chips = layout.chips.map(({ base, bytes, readOnly }, i) => {
    const name = `flash ${i}`
    return mapFlash({
      memory, name, base, bytes, readOnly, onRemap,
      wrap: (handlers) => observed(name, handlers, COST.memory, options.observation),
    })
  })
  const shadow = createRomShadow({ memory, rom: layout.chips[0].bytes, onRemap })
  const { variables } = layout
  return {
    chips,
    parts: chips.map(({ flash }, i) => snapshotPart(`flash ${i}`, flash)),
    onPam: (segment) => { shadow.set(segment) },
    variables: () => variables && chips[variables.chip].contents().subarray(0, variables.length),
  }
}

/**
 * The platform as firmware has set it up. BARs go between RAM and the configuration space, where firmware has put that
 * below the I/O APIC, and above RAM as far as physical addresses reach.
 */
export function placedAcpi(
  platform: AcpiPlatform, ram: PhysicalMemory['ram'], physicalBits: number, placed: PlacedPlatform,
): AcpiPlatform {
  const { ecam, pmBase } = placed
  const ends = ram.map(({ start, length }) => start + length)
  const lowEnd = Math.max(...ends.filter((end) => end <= FOUR_GIB))
  const first = Math.max(lowEnd, 2 ** 31)
  const windows = ecam !== undefined && ecam.start > first && ecam.start < IO_APIC
    ? { first, last: ecam.start - 1 } : { first, last: IO_APIC - 1 }
  const high = Math.ceil(Math.max(FOUR_GIB, ...ends) / 2 ** 30) * 2 ** 30
  return {
    ...platform, pmBase, pci32: windows, pci64: { first: high, last: 2 ** Math.min(physicalBits, 48) - 1 },
    ecam: ecam === undefined ? null : { base: ecam.start, buses: ecam.length / 2 ** 20 },
  }
}

const FOUR_GIB = 2 ** 32
const IO_APIC = 0xfec0_0000

/** A fw_cfg device with DMA; a transfer takes the time of its bytes. */
export function createMachineConfig(dma: DmaMemory, { charge }: Observation, options: FirmwareConfigOptions): FwCfg {
  const timed = (done: boolean, bytes: Uint8Array): boolean => {
    charge(Math.ceil(bytes.length / COST.dmaBytes))
    return done
  }
  return createFwCfg({
    ...createFirmwareConfig(options),
    memory: {
      read: (address, target) => timed(dma.read(address, target), target),
      write: (address, bytes) => timed(dma.write(address, bytes), bytes),
    },
  })
}
