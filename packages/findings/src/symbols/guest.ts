/** What a place in a guest's kernel is called: by the kernel's own symbols in its memory, or by a file's. */
import type { Frame, Scene } from '../finding.ts'
import { findKallsyms } from './kallsyms.ts'
import type { ReadLinear } from './linear-memory.ts'
import { KERNEL_BASE, symbolText } from './table.ts'
import type { Located, SymbolTable } from './table.ts'

/** A processor of the guest, at one moment. */
export interface GuestCode {
  readonly rip: bigint
  readonly rsp: bigint
  /** Linear addresses in the kernel's code, where RIP is not in it: what gates and system calls lead to. */
  readonly entries: readonly bigint[]
  readonly read: ReadLinear
}

/** Where names come from. */
export interface GuestSymbolsOptions {
  /** Symbols from a file, with addresses as they were linked; the kernel's own tell where it lies now. */
  readonly file?: SymbolTable
}

/** Names code of a guest, wherever KASLR has put its kernel. */
export interface GuestSymbols {
  /** How often the kernel's symbols were looked for in vain; a snapshot keeps it, and they are found again. */
  tries: number
  describe(code: GuestCode): Pick<Scene, 'rip' | 'linked' | 'backtrace' | 'noSymbols'>
}

/** Where Linux is linked (CONFIG_PHYSICAL_START, 16 MiB unless configured otherwise). */
const LINKED_TEXT = 0xffff_ffff_8100_0000n
/** Kernels are moved by multiples of this, less than 1 GiB (CONFIG_PHYSICAL_ALIGN; Linux boot/compressed/kaslr.c). */
const STEP = 2n ** 21n
const STEPS = 512
/** Words of the stack that are looked at, and frames that are kept. */
const STACK_WORDS = 256
const FRAMES = 16
/** Times that the kernel's symbols are looked for in vain. */
const TRIES = 4

interface Known {
  readonly table: SymbolTable
  /** How far the kernel was moved from where it was linked, null when that is not known. */
  readonly slide: bigint | null
  /** What to take off an address to look it up in `table`. */
  readonly shift: bigint
}

/** The slide that puts the kernel's banner where it lies in memory. */
function slideByBanner(file: SymbolTable, read: ReadLinear): bigint | undefined {
  const banner = file.find('linux_banner')
  if (banner === undefined) return undefined
  const text = new TextEncoder().encode('Linux version ')
  const found = new Uint8Array(text.length)
  for (let i = 0; i < STEPS; i++) {
    const slide = BigInt(i) * STEP
    if (banner + slide >= 2n ** 64n) return undefined
    if (read(banner + slide, found) && found.every((byte, n) => byte === text[n])) return slide
  }
  return undefined
}

function lookFor({ rip, entries, read }: GuestCode, file: SymbolTable | undefined): Known | undefined {
  const inside = [rip, ...entries].find((address) => address >= KERNEL_BASE)
  if (inside === undefined) return undefined
  const own = findKallsyms(read, inside)
  const text = own?.find('_text')
  if (file !== undefined) {
    const linked = file.find('_text')
    const slide = text !== undefined && linked !== undefined ? text - linked : slideByBanner(file, read)
    if (slide !== undefined) return { table: file, slide, shift: slide }
  }
  return own && { table: own, slide: text === undefined ? null : text - LINKED_TEXT, shift: 0n }
}

/** Words of the stack that could be return addresses: code of the kernel's, behind the start of a symbol. */
function scanStack({ rsp, read }: GuestCode, locate: (address: bigint) => Located | null): Frame[] {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  const frames: Frame[] = []
  for (let i = 0; i < STACK_WORDS && frames.length < FRAMES; i++) {
    if (!read(BigInt.asUintN(64, (rsp & ~7n) + BigInt(8 * i)), bytes)) break
    const address = view.getBigUint64(0, true)
    const found = address >= KERNEL_BASE ? locate(address) : null
    if (found?.code === true && found.offset > 0) frames.push({ address, symbol: symbolText(found), certain: false })
  }
  return frames
}

/** Looks for the kernel's own symbols in the guest's memory when they are needed first, a few times at most. */
export function createGuestSymbols({ file }: GuestSymbolsOptions = {}): GuestSymbols {
  let known: Known | undefined
  const symbols: GuestSymbols = {
    tries: 0,
    describe(code) {
      if (known === undefined && symbols.tries < TRIES) {
        known = lookFor(code, file)
        // Before there is a kernel nothing was tried.
        if (known === undefined && [code.rip, ...code.entries].some((address) => address >= KERNEL_BASE)) {
          symbols.tries++
        }
      }
      const { rip } = code
      if (known === undefined) {
        const noSymbols = rip < KERNEL_BASE
          ? 'RIP is in firmware, a boot stage, or a kernel that does not run at its own addresses yet'
          : 'the kernel carries no symbol table that was found (CONFIG_KALLSYMS); --symbols System.map names it'
        return { rip: { address: rip, symbol: null }, linked: null, backtrace: [], noSymbols }
      }
      const { table, slide, shift } = known
      const locate = (address: bigint): Located | null => table.locate(address - shift)
      const found = rip >= KERNEL_BASE ? locate(rip) : null
      return {
        rip: { address: rip, symbol: found && symbolText(found) },
        linked: slide === null || rip < KERNEL_BASE ? null : rip - slide,
        backtrace: scanStack(code, locate),
        noSymbols: found === null && rip < KERNEL_BASE ? 'RIP is not in the kernel' : '',
      }
    },
  }
  return symbols
}
