/** An ELF file with nothing but symbols, from the lines of a System.map, for debuggers. */

const SECTIONS = { text: 1, symtab: 2, strtab: 3, names: 4 } as const
const HEADER = 64
const SYMBOL = 24
const SECTION = 64

interface Symbol {
  readonly name: string
  readonly address: bigint
  /** STT_FUNC or STT_OBJECT. */
  readonly type: 1 | 2
}

const parse = (map: string, wanted: ReadonlySet<string>): Symbol[] => map.split('\n').flatMap((line) => {
  const [address, type, name] = line.split(' ')
  if (name === undefined || !wanted.has(name)) return []
  return [{ name, address: BigInt(`0x${address}`), type: type.toLowerCase() === 't' ? 1 : 2 }]
})

/** Builds the file for some symbols of a map. */
export function symbolFile(map: string, names: readonly string[]): Uint8Array {
  const symbols = parse(map, new Set(names))
  const text = symbols.reduce((low, { address }) => (address < low ? address : low), 2n ** 64n - 1n) & ~0xfffffn
  const strings = `\0${symbols.map(({ name }) => `${name}\0`).join('')}`
  const sectionNames = '\0.text\0.symtab\0.strtab\0.shstrtab\0'
  const symbolsAt = HEADER
  const stringsAt = symbolsAt + (symbols.length + 1) * SYMBOL
  const namesAt = stringsAt + strings.length
  const sectionsAt = Math.ceil((namesAt + sectionNames.length) / 8) * 8
  const bytes = new Uint8Array(sectionsAt + 5 * SECTION)
  const view = new DataView(bytes.buffer)
  const put = (at: number, ...words: readonly (readonly [size: 1 | 2 | 4 | 8, value: number | bigint])[]): void => {
    let to = at
    for (const [size, value] of words) {
      if (size === 8) view.setBigUint64(to, BigInt(value), true)
      else if (size === 4) view.setUint32(to, Number(value), true)
      else if (size === 2) view.setUint16(to, Number(value), true)
      else view.setUint8(to, Number(value))
      to += size
    }
  }
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  // An executable for x86-64, with five sections and no program headers.
  put(
    16, [2, 2], [2, 62], [4, 1], [8, 0], [8, 0], [8, sectionsAt], [4, 0], [2, HEADER], [2, 0], [2, 0], [2, SECTION],
    [2, 5], [2, 4],
  )
  symbols.forEach(({ name, address, type }, i) => {
    const at = symbolsAt + (i + 1) * SYMBOL
    put(
      at, [4, strings.indexOf(`\0${name}\0`) + 1], [1, (1 << 4) | type], [1, 0], [2, SECTIONS.text], [8, address],
      [8, 0],
    )
  })
  bytes.set(new TextEncoder().encode(strings), stringsAt)
  bytes.set(new TextEncoder().encode(sectionNames), namesAt)
  const section = (
    number: number, name: string, [type, flags, address, at, size]: readonly (number | bigint)[],
    [link, info, entry]: readonly number[],
  ): void => {
    put(sectionsAt + number * SECTION, [4, sectionNames.indexOf(name)], [4, type], [8, flags], [8, address], [8, at],
      [8, size], [4, link], [4, info], [8, 8], [8, entry])
  }
  // SHT_NOBITS with ALLOC and EXECINSTR: the code itself is read from the guest.
  section(SECTIONS.text, '.text', [8, 6, text, 0, 0x400_0000], [0, 0, 0])
  section(SECTIONS.symtab, '.symtab', [2, 0, 0, symbolsAt, stringsAt - symbolsAt], [SECTIONS.strtab, 1, SYMBOL])
  section(SECTIONS.strtab, '.strtab', [3, 0, 0, stringsAt, strings.length], [0, 0, 0])
  section(SECTIONS.names, '.shstrtab', [3, 0, 0, namesAt, sectionNames.length], [0, 0, 0])
  return bytes
}
