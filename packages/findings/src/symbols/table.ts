/** Symbols by address. */

/** Where an address is. */
export interface Located {
  readonly name: string
  readonly offset: number
  /** Bytes to the next symbol; 0 when there is none. */
  readonly size: number
  /** The symbol is code. */
  readonly code: boolean
}

/** Symbols of one kernel, as it lies in memory. */
export interface SymbolTable {
  /** How many there are. */
  readonly count: number
  locate(address: bigint): Located | null
  /** The lowest address of a symbol's name. */
  find(name: string): bigint | undefined
}

/** Kernel code and data lie above this (Linux Documentation/arch/x86/x86_64/mm.rst: kernel text mapping). */
export const KERNEL_BASE = 0xffff_ffff_8000_0000n
/** Addresses farther than this behind a symbol belong to no symbol. */
const FAR = 2 ** 20
/** A name that shows nothing but what a linker takes, and not for ever. */
const NAME = /^[\x21-\x7e]{1,255}$/

/** Symbols in the order of their addresses. */
export interface SymbolSource {
  /** Addresses less KERNEL_BASE, ascending; negative ones are left out. */
  readonly offsets: Float64Array
  /** Type (as `nm` has it) and name of a symbol by its index. */
  readonly typeAndName: (index: number) => string
}

/** Answers which symbol an address belongs to. */
export function createSymbolTable({ offsets, typeAndName }: SymbolSource): SymbolTable {
  const nameAt = (index: number): string => {
    const name = typeAndName(index).slice(1)
    return NAME.test(name) ? name : '(no name)'
  }
  return {
    count: offsets.length,
    locate(address) {
      if (address < KERNEL_BASE) return null
      const wanted = Number(address - KERNEL_BASE)
      let low = 0
      let high = offsets.length
      while (low < high) {
        const middle = (low + high) >>> 1
        if (offsets[middle] <= wanted) low = middle + 1
        else high = middle
      }
      if (low === 0) return null
      const at = offsets[low - 1]
      if (wanted - at > FAR) return null
      // Of names at one address the first is taken, as the kernel does.
      let first = low - 1
      while (first > 0 && offsets[first - 1] === at) first--
      return {
        name: nameAt(first), offset: wanted - at, size: low < offsets.length ? offsets[low] - at : 0,
        code: /^[tw]/i.test(typeAndName(first)),
      }
    },
    find(name) {
      for (let i = 0; i < offsets.length; i++) {
        if (typeAndName(i).slice(1) === name) return KERNEL_BASE + BigInt(offsets[i])
      }
      return undefined
    },
  }
}

/** `name+0x12/0x40`, as kernels print it. */
export const symbolText = ({ name, offset, size }: Located): string =>
  `${name}+0x${offset.toString(16)}${size === 0 ? '' : `/0x${size.toString(16)}`}`
