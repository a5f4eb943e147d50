/** Memory as the PSP reaches it: past all guards, and under the host's own key where an address has the C-bit (SME). */
import type { PhysicalMemory } from '@cofferdam/memory'
import { HOST_KEY } from '../processor/context.ts'

export interface PspMemory extends Pick<PhysicalMemory, 'read' | 'write' | 'fill' | 'frameWord' | 'keys'> {
  /** The page of an address, whether it has the C-bit or not. */
  pageOf(address: bigint): number
}

/** @param cBit the C-bit's position at the moment; undefined while nothing is encrypted */
export function createPspMemory(memory: PhysicalMemory, cBit: () => number | undefined): PspMemory {
  /** Where an address is, and the slot of its key. */
  const place = (address: number): readonly [at: number, key: number] => {
    const position = cBit()
    const bit = position === undefined ? Infinity : 2 ** position
    return address >= bit && address < 2 * bit ? [address - bit, HOST_KEY] : [address, 0]
  }
  return {
    keys: memory.keys,
    pageOf: (address) => place(Number(address & ~0xfffn))[0] / 4096,
    frameWord: (page) => memory.frameWord(page),
    read(address, out, key = 0) {
      const [at, own] = place(address)
      memory.read(at, out, key === 0 ? own : key)
    },
    write(address, bytes, key = 0) {
      const [at, own] = place(address)
      memory.write(at, bytes, key === 0 ? own : key)
    },
    fill(address, length, value, key = 0) {
      const [at, own] = place(address)
      memory.fill(at, length, value, key === 0 ? own : key)
    },
  }
}
