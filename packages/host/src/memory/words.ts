/** Host memory as the host's own programs use it: bytes, and 64-bit words as they stand in tables. */
import type { PhysicalMemory } from '@cofferdam/memory'

/** What the host needs of physical memory. Addresses are system physical. */
export type HostMemory = Pick<PhysicalMemory, 'read' | 'write' | 'fill'>

/** Reads and writes 8-byte words at aligned addresses. */
export interface Words {
  load(address: number): bigint
  store(address: number, value: bigint): void
}

export function createWords(memory: Pick<HostMemory, 'read' | 'write'>): Words {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  return {
    load(address) {
      memory.read(address, bytes)
      return view.getBigUint64(0, true)
    },
    store(address, value) {
      view.setBigUint64(0, value, true)
      memory.write(address, bytes)
    },
  }
}
