/**
 * The PCI function of the PSP as fourth-generation EPYC processors have it: registers in BAR 2, MSI-X in BAR 5, MSI.
 * Source: Linux drivers/crypto/ccp/sp-pci.c.
 */
import { createPciFunction } from '../pci/function.ts'
import type { PciCapability, PciFunctionCore } from '../pci/function.ts'
import type { Mapper } from '../pci/mapper.ts'
import { createMsiCapability, createMsixCapability, msixHandlers } from '../pci/msi.ts'
import type { SendMsi } from '../pci/msi.ts'
import type { Plain } from '../snapshot.ts'
import { createPspMailbox } from './mailbox.ts'
import type { PspMailboxOptions, PspMailboxSnapshot } from './mailbox.ts'

/** Options of {@link createPspPci}. */
export interface PspPciOptions extends Omit<PspMailboxOptions, 'interrupt'> {
  readonly mapper: Mapper
  readonly send: SendMsi
}

/** Vendor AMD, the PSP of family 19h models 10h to 1Fh; class "encryption controller". */
export const PSP_PCI = { vendor: 0x1022, device: 0x14ca, classCode: 0x10_8000 } as const

const REGISTERS = { index: 2, kind: 'memory32', size: 0x10_0000 } as const
const MESSAGES = { index: 5, kind: 'memory32', size: 0x2000 } as const
const PENDING_AT = 0x1000
/** One for the PSP, one for the cryptographic engine, which is not there. */
const VECTORS = 2
const PSP_VECTOR = 0

/** Creates the function, for a slot of a bus. Its interrupts are messages only. */
export function createPspPci(options: PspPciOptions): PciFunctionCore {
  const msix = createMsixCapability({
    vectors: VECTORS, bar: MESSAGES.index, tableOffset: 0, pendingOffset: PENDING_AT, send: options.send,
  })
  const msi = createMsiCapability({ vectors: VECTORS, send: options.send })
  const mailbox = createPspMailbox({
    clock: options.clock,
    firmware: options.firmware,
    interrupt: () => { (msix.enabled() ? msix : msi).notify(PSP_VECTOR) },
  })
  /** MSI's state is its registers; the mailbox's is kept in its stead. */
  const stateful: PciCapability = {
    ...msi,
    reset() { mailbox.reset() },
    snapshot: () => mailbox.snapshot() as unknown as Plain,
    restore(saved) { mailbox.restore(saved as unknown as PspMailboxSnapshot) },
  }
  return createPciFunction({
    name: 'PSP',
    ...PSP_PCI,
    subsystemVendor: PSP_PCI.vendor,
    subsystem: PSP_PCI.device,
    mapper: options.mapper,
    bars: [{ ...REGISTERS, handlers: mailbox.handlers }, { ...MESSAGES, handlers: msixHandlers(msix, PENDING_AT) }],
    capabilities: [stateful, msix],
  })
}
