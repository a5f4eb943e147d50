/** Guest memory as a device's DMA sees it, by guest-physical address. */
export interface DmaMemory {
  /** Fills `target`. False, and `target` is not to be used, when any of the range is not memory. */
  read(address: number, target: Uint8Array): boolean
  /** Writes `bytes`. False, with nothing written, when any of the range is not memory. */
  write(address: number, bytes: Uint8Array): boolean
}
