/** What the ACPI tables say of a machine. The defaults are those of the machine that this project builds. */
import { PC } from '../memory-map.ts'

/** Memory and processors that are near each other. */
export interface NumaNode {
  readonly ranges: readonly { readonly start: number, readonly length: number }[]
  readonly apicIds: readonly number[]
}

/** What ACPI tables tell of a machine; what is left out is that of the PC. */
export interface AcpiPlatform {
  /** APIC ids of the processors, in the order of their numbers. Ids from 255 on get x2APIC entries. */
  readonly apicIds: readonly number[]
  /** NUMA nodes; SRAT and SLIT are there when this is. */
  readonly nodes?: readonly NumaNode[]
  /** Distances from node to node for the SLIT; default 10 inside and 20 outside. */
  readonly distances?: readonly (readonly number[])[]
  /** Power-management ports (ICH9: 0x600), absent for none. */
  readonly pmBase?: number
  /** The PM timer counts 32 bits. Default false: 24. */
  readonly pmTimer32?: boolean
  readonly sci?: number
  /** SLP_TYP that powers the machine off. */
  readonly s5Type?: number
  readonly ioapic?: { readonly id: number, readonly address: number }
  /** Address of the HPET, or null for none. */
  readonly hpet?: number | null
  /** PCI Express configuration space, or null for none. */
  readonly ecam?: { readonly base: number, readonly buses: number } | null
  /** Window for 32-bit BARs. */
  readonly pci32?: { readonly first: number, readonly last: number }
  /** Window for 64-bit BARs; none by default. */
  readonly pci64?: { readonly first: number, readonly last: number }
  /** GSI of pin 0–3 (INTA–INTD) of a device of bus 0. */
  readonly pciGsi?: (slot: number, pin: number) => number
  /** Serial ports: first one COM1. */
  readonly serial?: readonly { readonly port: number, readonly irq: number }[]
  /** RTC at port 0x70. Default true. */
  readonly rtc?: boolean
  /** 8042 keyboard controller. Default false. */
  readonly keyboardController?: boolean
  /** Mailbox of the multiprocessor wakeup structure (TDX guests). */
  readonly wakeupMailbox?: number
  /** Further complete tables (CCEL, TPM2, SVKL); their checksums are set here. */
  readonly extra?: readonly Uint8Array[]
}

export type FullPlatform = Required<Omit<AcpiPlatform, 'nodes' | 'distances' | 'pci64' | 'wakeupMailbox'>>
  & Pick<AcpiPlatform, 'nodes' | 'distances' | 'pci64' | 'wakeupMailbox'>

/** ICH9 on Q35: slots 0–24 use PIRQ E–H (GSI 20–23), slots 25–31 PIRQ A–D (GSI 16–19). */
const q35Gsi = (slot: number, pin: number): number => (slot < 25 ? 20 + ((slot + pin) & 3) : 16 + (pin & 3))

export function completePlatform(p: AcpiPlatform): FullPlatform {
  return {
    pmBase: 0x600, pmTimer32: false, sci: 9, s5Type: 7, ioapic: { id: 0, address: PC.ioapic }, hpet: PC.hpet,
    ecam: { base: PC.ecam, buses: PC.ecamLength >> 20 }, pci32: { first: PC.pciWindow, last: PC.ioapic - 1 },
    pciGsi: q35Gsi,
    serial: [{ port: 0x3f8, irq: 4 }], rtc: true, keyboardController: false, extra: [], ...p,
  }
}
