/** Linear memory of a guest in long mode, read from outside: its page tables are walked, nothing is changed. */

/** Reads guest memory at a linear address; false where any of it is not mapped. */
export type ReadLinear = (address: bigint, out: Uint8Array) => boolean

/** Whose linear addresses are read, and through what. */
export interface LinearMemoryOptions {
  /** Reads guest physical memory, inside one page; false where none is. */
  readonly readPhysical: (address: number, out: Uint8Array) => boolean
  readonly cr3: bigint
  /** 4, or 5 with CR4.LA57. */
  readonly levels: 4 | 5
  /** Bits of an entry that are no address: the C-bit. */
  readonly notAddress: bigint
}

const PAGE = 4096
const PRESENT = 1n
const LARGE = 0x80n
const ADDRESS = 0xf_ffff_ffff_f000n

/** Reads memory by linear addresses through a guest's page tables of 4 or 5 levels; it changes nothing there. */
export function createLinearMemory({ readPhysical, cr3, levels, notAddress }: LinearMemoryOptions): ReadLinear {
  const entry = new Uint8Array(8)
  const view = new DataView(entry.buffer)
  /** The last 2 MiB that were translated: linear address, physical address of the page or table, and which it is. */
  let known = { at: -1n, to: 0n, level: 0 }

  const addressOf = (word: bigint): bigint => word & ADDRESS & ~notAddress

  /** Goes down to the level that maps a page of 2 MiB or more, or holds the last table. Level 0: not mapped. */
  const descend = (address: bigint): { to: bigint, level: number } => {
    let table = addressOf(cr3)
    for (let level: number = levels; level >= 2; level--) {
      const index = (address >> BigInt(12 + 9 * (level - 1))) & 511n
      if (!readPhysical(Number(table + index * 8n), entry)) return { to: 0n, level: 0 }
      const word = view.getBigUint64(0, true)
      if ((word & PRESENT) === 0n) return { to: 0n, level: 0 }
      if (level <= 3 && (word & LARGE) !== 0n) {
        const size = 1n << BigInt(12 + 9 * (level - 1))
        return { to: (addressOf(word) & ~(size - 1n)) + (address & (size - 1n) & ~0x1f_ffffn), level: 2 }
      }
      table = addressOf(word)
    }
    return { to: table, level: 1 }
  }

  /** Physical address of a byte, −1 where nothing is mapped. */
  const translate = (address: bigint): number => {
    const region = address & ~0x1f_ffffn
    if (known.at !== region) known = { at: region, ...descend(address) }
    if (known.level === 0) return -1
    if (known.level === 2) return Number(known.to + (address & 0x1f_ffffn))
    if (!readPhysical(Number(known.to + ((address >> 12n) & 511n) * 8n), entry)) return -1
    const word = view.getBigUint64(0, true)
    return (word & PRESENT) === 0n ? -1 : Number(addressOf(word) + (address & 0xfffn))
  }

  return (address, out) => {
    for (let done = 0; done < out.length;) {
      const at = BigInt.asUintN(64, address + BigInt(done))
      const n = Math.min(out.length - done, PAGE - Number(at & 0xfffn))
      const physical = translate(at)
      if (physical < 0 || !readPhysical(physical, out.subarray(done, done + n))) return false
      done += n
    }
    return true
  }
}
