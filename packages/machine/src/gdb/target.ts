/** What the gdb stub does with a machine: memory as a processor sees it, watches, steps. */
import type { PhysicalMemory } from '@cofferdam/memory'
import { ACCESS_USER, WALK_OK, createWalkResult, createWalker } from '@cofferdam/paging'
import { createQuietTablePort } from '@cofferdam/x86'
import type { AccessPolicy, HostWatch, Processor } from '@cofferdam/x86'

/** The part of a machine that a debugger needs. */
export interface Debuggable {
  readonly memory: PhysicalMemory
  readonly processors: { readonly seats: readonly { readonly processor: Processor; readonly waiting: boolean }[] }
  /** What all processors watch from now on; `run` comes back with `watch` when one is hit. */
  watch(watches: readonly HostWatch[]): void
  /** Executes one instruction of a processor, whatever waits there. */
  step(cpu: number): void
  /**
   * Where the machine's own host runs guests: puts the guest's state into the processor's registers, and answers
   * whether there is one.
   */
  reside?(cpu: number): boolean
}

const PAGE = 4096

/** Memory by linear addresses of a processor. */
export interface LinearMemory {
  /** Bytes from `address` on, up to `length`: fewer where a page is not mapped. */
  read(processor: Processor, address: bigint, length: number): Uint8Array
  /** Writes all bytes, or none and answers false. */
  write(processor: Processor, address: bigint, bytes: Uint8Array): boolean
}

/** A part of a range within one page. */
interface Part {
  readonly at: number
  readonly to: number
  readonly size: number
  readonly key: number
}

export function createLinearMemory(memory: PhysicalMemory): LinearMemory {
  let policy: AccessPolicy | null = null
  const walker = createWalker(createQuietTablePort(memory, () => policy))
  const result = createWalkResult()

  /**
   * Physical address of a linear one, or −1; the key that the processor uses there is what its policy says of
   * `result`. Rules about writing
   * are none: a debugger may.
   */
  const translate = ({ mmu }: Processor, address: bigint): number => {
    ;({ policy } = mmu)
    const low = Number(BigInt.asIntN(32, address))
    const high = Number(BigInt.asIntN(32, address >> 32n))
    // SMAP keeps a supervisor off user pages: those are read as the user would.
    for (const access of [0, ACCESS_USER]) {
      walker.walk(mmu.context, low, high, access, result)
      if (result.status === WALK_OK) return result.page + (low & (PAGE - 1))
    }
    return -1
  }

  /** Physical parts of a range, as far as it is mapped, and their keys. */
  const parts = (processor: Processor, address: bigint, length: number): Part[] => {
    processor.activate()
    const found: Part[] = []
    for (let done = 0; done < length;) {
      const linear = BigInt.asUintN(64, address + BigInt(done))
      const size = Math.min(length - done, PAGE - Number(linear % BigInt(PAGE)))
      const physical = translate(processor, linear)
      if (physical < 0) break
      found.push({ at: physical, to: done, size, key: policy?.pageKey(result, 0) ?? 0 })
      done += size
    }
    return found
  }

  return {
    read(processor, address, length) {
      const out = new Uint8Array(length)
      let end = 0
      for (const { at, to, size, key } of parts(processor, address, length)) {
        memory.read(at, out.subarray(to, to + size), key)
        end = to + size
      }
      return out.subarray(0, end)
    },
    write(processor, address, bytes) {
      const all = parts(processor, address, bytes.length)
      if (all.reduce((sum, { size }) => sum + size, 0) < bytes.length) return false
      for (const { at, to, size, key } of all) memory.write(at, bytes.subarray(to, to + size), key)
      return true
    },
  }
}
