/** Symbols from files: System.map, or the symbol table of an ELF file (vmlinux). */
import { createSymbolTable, KERNEL_BASE } from './table.ts'
import type { SymbolTable } from './table.ts'

/** A file that holds no symbols. The message is `FILE: FIELD: what is wrong`. */
export class SymbolsError extends Error {
  readonly file: string
  readonly field: string

  constructor(file: string, field: string, problem: string) {
    super(`${file}: ${field}: ${problem}`)
    this.name = 'SymbolsError'
    this.file = file
    this.field = field
  }
}

interface Entry {
  readonly address: bigint
  /** Type and name. */
  readonly text: string
}

/** More symbols than any kernel has. */
const MOST = 4 * 2 ** 20
const SHT_SYMTAB = 2
const SHF_EXECINSTR = 4n
const SYMBOL_BYTES = 24
const SECTION_BYTES = 64

function tableOf(file: string, entries: Entry[]): SymbolTable {
  const kernel = entries.filter(({ address }) => address >= KERNEL_BASE)
    .sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0))
  if (kernel.length === 0) {
    throw new SymbolsError(file, 'symbols', 'none at kernel addresses; expected System.map or vmlinux')
  }
  return createSymbolTable({
    offsets: Float64Array.from(kernel, ({ address }) => Number(address - KERNEL_BASE)), typeAndName: (i) =>
      kernel[i].text,
  })
}

/** Lines as `nm` and the kernel's build write them: address, type, name. */
function parseMap(file: string, bytes: Uint8Array): SymbolTable {
  const entries: Entry[] = []
  for (const line of new TextDecoder('latin1').decode(bytes).split('\n')) {
    const [, address, type, name] = /^([\da-f]{16}) ([A-Za-z]) (\S{1,255})/.exec(line) ?? []
    if (name !== undefined && entries.length < MOST) {
      entries.push({ address: BigInt(`0x${address}`), text: type + name })
    }
  }
  return tableOf(file, entries)
}

/** A text up to its NUL. */
function textAt(bytes: Uint8Array, at: number): string {
  const end = bytes.indexOf(0, at)
  return new TextDecoder('latin1').decode(bytes.subarray(at, Math.min(end < 0 ? at : end, at + 255)))
}

/** ELF-64: the section of type SYMTAB and its strings. */
function parseElf(file: string, bytes: Uint8Array): SymbolTable {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const within = (at: number, length: number, field: string): number => {
    if (at + length <= bytes.length) return at
    throw new SymbolsError(file, field, `ends at ${at + length}, behind the file's ${bytes.length} bytes`)
  }
  if (bytes.length < 64 || bytes[4] !== 2 || bytes[5] !== 1) {
    throw new SymbolsError(file, 'header', 'expected a 64-bit little-endian ELF file')
  }
  const count = view.getUint16(60, true)
  const headers = within(Number(view.getBigUint64(40, true)), count * SECTION_BYTES, 'section headers')
  const section = (i: number) => {
    if (i >= count) throw new SymbolsError(file, 'section headers', `there is no section ${i}`)
    const at = headers + i * SECTION_BYTES
    const [offset, size] = [Number(view.getBigUint64(at + 24, true)), Number(view.getBigUint64(at + 32, true))]
    return {
      type: view.getUint32(at + 4, true), flags: view.getBigUint64(at + 8, true), offset, size,
      link: view.getUint32(at + 40, true),
    }
  }
  const sections = Array.from({ length: count }, (_, i) => section(i))
  const symbols = sections.find(({ type }) => type === SHT_SYMTAB)
  if (symbols === undefined) {
    throw new SymbolsError(file, 'symbol table', 'the file has none; expected an unstripped vmlinux')
  }
  within(symbols.offset, symbols.size, 'symbol table')
  const strings = section(symbols.link)
  const names = bytes.subarray(within(strings.offset, strings.size, 'string table'), strings.offset + strings.size)
  const entries: Entry[] = []
  for (let i = 0; i < Math.min(Math.floor(symbols.size / SYMBOL_BYTES), MOST); i++) {
    const at = symbols.offset + i * SYMBOL_BYTES
    const index = view.getUint16(at + 6, true)
    const name = textAt(names, view.getUint32(at, true))
    if (name === '' || index === 0) continue
    const isCode = index < count && (sections[index].flags & SHF_EXECINSTR) !== 0n
    entries.push({ address: view.getBigUint64(at + 8, true), text: (isCode ? 'T' : 'D') + name })
  }
  return tableOf(file, entries)
}

/**
 * Reads a symbol file: System.map, or an ELF file with a symbol table.
 * @throws SymbolsError when it is neither, or damaged
 */
export function parseSymbols(file: string, bytes: Uint8Array): SymbolTable {
  const isElf = bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46
  return isElf ? parseElf(file, bytes) : parseMap(file, bytes)
}
