import type { MemoryRegion } from '../memory-map.ts'

/** The platform that ACPI tables describe. */
export interface AcpiPlatform {
  /** Processors, by APIC id in order of their numbers. */
  readonly apicIds: readonly number[]
}

/** Finished tables. */
export interface AcpiTables {
  /** The whole block, to be put at `address`. */
  readonly bytes: Uint8Array
  /** Address of the RSDP. */
  readonly rsdp: number
}

/** Builds all tables for `place`. */
export function createAcpiTables(
  _platform: AcpiPlatform, place: { address: number, length: number, map: readonly MemoryRegion[] },
): AcpiTables {
  return { bytes: new Uint8Array(0), rsdp: place.address }
}
