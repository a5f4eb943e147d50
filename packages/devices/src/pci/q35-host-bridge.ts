/**
 * The memory controller hub's host bridge, 8086:29C0. Source: Intel 3 Series Express Chipset Family data sheet
 * (316966), section 5.1. PCIEXBAR places the memory-mapped configuration space, the PAM registers say who answers
 * between C0000h and 1 MiB; the SMRAM registers keep what they are given: there is no SMM.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { createPciFunction, littleEndian, type PciFunctionCore } from './function.ts'
import type { Mapper } from './mapper.ts'
import { PAM, pamSegments, type PamSegment } from './pam.ts'

const PCIEXBAR = 0x60
const PCIEXBAR_WRITABLE = [0x07, 0x00, 0x00, 0xfc, 0x0f, 0x00, 0x00, 0x00]

/** Options of {@link createQ35HostBridge}. */
export interface Q35HostBridgeOptions {
  readonly mapper: Mapper
  readonly ecam: IoHandlers
  /** Address of the configuration space as firmware leaves it (256 MiB); undefined: off until software turns it on. */
  readonly ecamBase?: number
  /**
   * A segment of the attribute map may have changed. Without it all is RAM, as firmware leaves it, and the registers
   * say so; with it all is ROM at first.
   */
  readonly onPam?: (segment: PamSegment) => void
}

/** The host bridge with what its registers say. */
export interface Q35HostBridge extends PciFunctionCore {
  /** The memory-mapped configuration space, undefined while it is off. */
  ecam(): { readonly start: number, readonly length: number } | undefined
}

/** Creates the bridge, for slot 00.0. */
export function createQ35HostBridge(options: Q35HostBridgeOptions): Q35HostBridge {
  const region = options.mapper.region('PCI ECAM', options.ecam)
  const initial = options.ecamBase === undefined ? 0 : options.ecamBase + 1
  const ecam = (): ReturnType<Q35HostBridge['ecam']> => {
    const low = bridge.get(PCIEXBAR, 4)
    const high = bridge.get(PCIEXBAR + 4, 4)
    // Bits 2:1: 256, 128 or 64 MiB; 3 is reserved.
    const length = [0x1000_0000, 0x0800_0000, 0x0400_0000, 0][low >> 1 & 3]
    const start = high * 2 ** 32 + ((low & 0xfc00_0000 & -(length || 1)) >>> 0)
    return (low & 1) !== 0 && length > 0 ? { start, length } : undefined
  }
  const apply = (): void => {
    const space = ecam()
    region.place(space && { space: 'memory', ...space })
    if (options.onPam === undefined) return
    pamSegments(pam.map((_, i) => bridge.get(PAM.FIRST + i, 1))).forEach(options.onPam)
  }
  const pam = options.onPam === undefined ? [0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33] : [0, 0, 0, 0, 0, 0, 0]
  const bridge = createPciFunction({
    name: 'host bridge',
    vendor: 0x8086,
    device: 0x29c0,
    classCode: 0x06_0000,
    revision: 0x02,
    registers: [
      { offset: PCIEXBAR, bytes: littleEndian(initial, 8), writable: PCIEXBAR_WRITABLE },
      // PAM0–PAM6, then SMRAM, ESMRAMC.
      { offset: PAM.FIRST, bytes: pam, writable: [0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33] },
      { offset: 0x9d, bytes: [0x02, 0x38], writable: [0x58, 0x87] },
    ],
    onWrite: apply,
  })
  apply()
  return { ...bridge, ecam }
}
