/**
 * The ICH9's LPC bridge, 8086:2918: places the power-management ports, routes the PIRQs, and says where the root
 * complex's registers are. Source: Intel ICH9 data sheet (316972), section 13.1.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { ACPI_PM } from '../acpi-pm.ts'
import { merge, wordHandlers } from '../byte-ports.ts'
import { restorePlain } from '../snapshot.ts'
import { createPciFunction, littleEndian, type PciFunctionCore } from './function.ts'
import type { PirqRouter } from './interrupts.ts'
import type { Mapper } from './mapper.ts'

/** Registers of the LPC bridge. */
export const LPC = { PMBASE: 0x40, ACPI_CNTL: 0x44, GPIOBASE: 0x48, PIRQ_A: 0x60, PIRQ_E: 0x68, RCBA: 0xf0 } as const
const ACPI_ENABLE = 0x80
const RCBA_LENGTH = 0x4000
/** Chipset registers that are kept: interrupt pins and routes of devices 25–31, and general control. */
const KEPT_FIRST = 0x3100
const KEPT_LAST = 0x3150
const GENERAL_CONTROL = 0x3410

/** Options of {@link createIch9Lpc}. */
export interface Ich9LpcOptions {
  readonly mapper: Mapper
  /** The power-management block, `createAcpiPm().handlers`. */
  readonly pm: IoHandlers
  readonly pirq: PirqRouter
  /** Where firmware has put the block (a multiple of 128); undefined: off until software turns it on. */
  readonly pmBase?: number
  /** Other functions share the device (SATA, SMBus). */
  readonly multiFunction?: boolean
}

/** The root complex's register block: a few words are kept, the others read 0. */
function createChipsetRegisters() {
  const words: number[] = Array.from({ length: (KEPT_LAST - KEPT_FIRST) / 4 + 1 }, () => 0)
  const place = (offset: number): number =>
    offset === GENERAL_CONTROL ? words.length - 1
      : offset >= KEPT_FIRST && offset < KEPT_LAST ? (offset - KEPT_FIRST) >> 2 : -1
  return {
    words,
    handlers: wordHandlers({
      read: (offset) => (place(offset) < 0 ? 0 : words[place(offset)]),
      write(offset, value, mask) {
        const at = place(offset)
        if (at >= 0) words[at] = merge(words[at], value, mask)
      },
    }),
  }
}

/** Creates the bridge, for slot 1F.0. */
export function createIch9Lpc(options: Ich9LpcOptions): PciFunctionCore {
  const pm = options.mapper.region('ACPI power management', options.pm)
  const chipset = createChipsetRegisters()
  const rcba = options.mapper.region('root complex registers', chipset.handlers)
  const on = options.pmBase !== undefined

  const apply = (): void => {
    const base = lpc.get(LPC.PMBASE, 4) & 0xff80
    const enabled = (lpc.get(LPC.ACPI_CNTL, 1) & ACPI_ENABLE) !== 0 && base !== 0
    pm.place(enabled ? { space: 'ports', start: base, length: ACPI_PM.LENGTH } : undefined)
    const root = lpc.get(LPC.RCBA, 4)
    rcba.place((root & 1) !== 0
      ? { space: 'memory', start: (root & 0xffff_c000) >>> 0, length: RCBA_LENGTH } : undefined)
    for (let i = 0; i < 8; i++) options.pirq.setRoute(i, lpc.get(i < 4 ? LPC.PIRQ_A + i : LPC.PIRQ_E + i - 4, 1))
  }

  const routes = { bytes: [0x80, 0x80, 0x80, 0x80], writable: [0x8f, 0x8f, 0x8f, 0x8f] }
  const lpc = createPciFunction({
    name: 'LPC bridge',
    vendor: 0x8086,
    device: 0x2918,
    classCode: 0x06_0100,
    revision: 0x02,
    multiFunction: options.multiFunction,
    registers: [
      { offset: LPC.PMBASE, bytes: littleEndian((options.pmBase ?? 0) | 1, 4), writable: [0x80, 0xff, 0, 0] },
      { offset: LPC.ACPI_CNTL, bytes: [on ? ACPI_ENABLE : 0], writable: [0x87] },
      { offset: LPC.GPIOBASE, bytes: [1, 0, 0, 0, 0], writable: [0x80, 0xff, 0, 0, 0x10] },
      { offset: LPC.PIRQ_A, ...routes },
      { offset: LPC.PIRQ_E, ...routes },
      // LPC I/O decode ranges and enables: kept; the ports are always decoded.
      { offset: 0x80, bytes: [0, 0, 0, 0], writable: [0x77, 0x13, 0x0f, 0x3f] },
      // General power management 1: no reset after G3, no power failure.
      { offset: 0xa0, bytes: [0, 0, 0, 0], writable: [0xff, 0xff, 0xff, 0xff] },
      { offset: 0xdc, bytes: [0], writable: [0x03] },
      { offset: LPC.RCBA, bytes: [0, 0, 0, 0], writable: [0x01, 0xc0, 0xff, 0xff] },
    ],
    onWrite: () => { apply() },
    capabilities: [],
  })
  apply()
  return {
    ...lpc,
    snapshot: () => ({ ...lpc.snapshot(), capabilities: [chipset.words.slice()] }),
    restore(saved) {
      restorePlain('LPC bridge', { capabilities: [chipset.words] }, saved)
      lpc.restore({ ...saved, capabilities: [] })
    },
  }
}
