import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createGuestSymbols, findKallsyms, KERNEL_BASE, parseSymbols } from '../src/index.ts'
import type { ReadLinear } from '../src/index.ts'

const TEXT = 0xffff_ffff_9200_0000n
const COUNT = 700
/** `_text`, then a function every 64 bytes, after two per-CPU symbols where the format has those. */
const symbols = Array.from({ length: COUNT }, (_, i) =>
  ({ name: i === 0 ? '_text' : i === 1 ? 'startup_64' : `function_${i}`, address: TEXT + BigInt(i < 2 ? 0 : 64 * i) }))

type Layout = '6.1' | '6.1.y' | '6.12' | '6.15' | '7.2'

/** The tables as scripts/kallsyms.c writes them, at an address; every token is one character. */
function kallsyms(layout: Layout, at: bigint): Uint8Array {
  const bytes = new Uint8Array(2 ** 16)
  const view = new DataView(bytes.buffer)
  const unit = layout === '7.2' ? 4 : 8
  let next = 64
  const align = (to = unit): void => { next = Math.ceil(next / to) * to }
  const offsets = (): void => {
    align()
    symbols.forEach(({ address }, i) => {
      const value = layout === '7.2' ? address - (
        at + BigInt(next + 4 * i)
      ) : layout === '6.15' ? address - TEXT : TEXT - 1n - address
      view.setInt32(next + 4 * i, Number(BigInt.asIntN(32, value)), true)
    })
    next += 4 * COUNT
    if (layout === '7.2') return
    align(8)
    view.setBigUint64(next, TEXT, true)
    next += 8
  }
  const seqs = (): void => {
    align()
    bytes.fill(0x11, next, next + 3 * COUNT)
    next += 3 * COUNT
  }
  if (layout.startsWith('6.1') && layout.length < 6 && layout !== '6.12' && layout !== '6.15') offsets()
  align()
  view.setUint32(next, COUNT, true)
  next += 4
  align()
  const names = next
  const markers: number[] = []
  symbols.forEach(({ name }, i) => {
    if (i % 256 === 0) markers.push(next - names)
    bytes[next] = name.length + 1
    bytes.set(new TextEncoder().encode(`T${name}`), next + 1)
    next += name.length + 2
  })
  align()
  for (const marker of markers) {
    view.setUint32(next, marker, true)
    next += 4
  }
  if (layout === '6.1.y') seqs()
  align()
  const tokens = next
  const index: number[] = []
  for (let token = 0; token < 256; token++) {
    index.push(next - tokens)
    bytes[next] = token > 0x20 && token < 0x7f ? token : 0x7a
    next += 2
  }
  align()
  for (const offset of index) {
    view.setUint16(next, offset, true)
    next += 2
  }
  if (layout === '6.12' || layout === '6.15' || layout === '7.2') {
    offsets()
    seqs()
  }
  return bytes
}

/** Linear memory with some bytes in it; everything below `end` that is not there is not mapped. */
const memoryOf = (at: bigint, bytes: Uint8Array): ReadLinear => (address, out) => {
  const from = Number(address - at)
  if (from < 0 || from + out.length > bytes.length) return false
  out.set(bytes.subarray(from, from + out.length))
  return true
}

const at = TEXT + 0x120_0000n

describe('the symbols that a kernel carries', () => {
  it.each([
    '6.1', '6.1.y', '6.12', '6.15', '7.2',
  ] as const)('are found in memory as Linux %s lays them out', (layout) => {
    const table = findKallsyms(memoryOf(at, kallsyms(layout, at)), TEXT + 0x1234n)
    expect(table?.count).toBe(COUNT)
    expect(table?.find('_text')).toBe(TEXT)
    expect(table?.locate(TEXT + 64n * 300n + 5n)).toEqual({ name: 'function_300', offset: 5, size: 64, code: true })
    expect(table?.locate(TEXT + 1n)).toMatchObject({ name: '_text', size: 128 })
    expect(table?.locate(TEXT + 2n ** 29n)).toBeNull()
  })

  it('are not believed, and take no time without end, whatever the guest writes there', () => {
    const good = kallsyms('7.2', at)
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 40 }), (changes) => {
      const bytes = good.slice()
      for (const [index, value] of changes) bytes[index] = value
      const located = findKallsyms(memoryOf(at, bytes), TEXT)?.locate(TEXT + 64n * 300n)
      expect(located?.name ?? '').toMatch(/^[\x20-\x7e]{0,255}$/)
    }), { numRuns: 60 })
  })

  it('are looked for from a place in the kernel only', () => {
    expect(findKallsyms(() => { throw new Error('read') }, 0x1000n)).toBeUndefined()
  })
})

describe('a place in the guest', () => {
  const read = memoryOf(at, kallsyms('7.2', at))
  const stack = new DataView(new ArrayBuffer(64))
  stack.setBigUint64(8, TEXT + 64n * 10n + 4n, true)
  stack.setBigUint64(16, TEXT + 64n * 11n, true)
  stack.setBigUint64(24, 0x1234n, true)
  const withStack: ReadLinear = (address, out) =>
    memoryOf(0x1000n, new Uint8Array(stack.buffer))(address, out) || read(address, out)

  it('has its symbol, its address as linked, and what on the stack could be return addresses', () => {
    const place = createGuestSymbols().describe({
      rip: TEXT + 64n * 5n + 1n, rsp: 0x1000n, entries: [], read: withStack,
    })
    expect(place).toEqual({
      rip: { address: TEXT + 64n * 5n + 1n, symbol: 'function_5+0x1/0x40' }, linked: 0xffff_ffff_8100_0141n,
      noSymbols: '',
      backtrace: [{ address: TEXT + 64n * 10n + 4n, symbol: 'function_10+0x4/0x40', certain: false }],
    })
  })

  it('has none where it is no code of the kernel\'s, and it is said why', () => {
    const early = { rip: 0x100_0200n, rsp: 0n, entries: [], read: () => false }
    expect(createGuestSymbols().describe(early)).toMatchObject({
      rip: { symbol: null }, linked: null, backtrace: [],
      noSymbols: 'RIP is in firmware, a boot stage, or a kernel that does not run at its own addresses yet',
    })
    expect(createGuestSymbols().describe({ ...early, entries: [TEXT], read: withStack }).noSymbols)
      .toBe('RIP is not in the kernel')
    expect(createGuestSymbols().describe({ ...early, rip: TEXT }).noSymbols).toMatch(/--symbols/)
  })

  it('is named by a file where there is one, moved as the kernel was', () => {
    const map = parseSymbols('System.map', new TextEncoder().encode([
      '0000000000000000 D per_cpu', 'ffffffff81000000 T _text', 'ffffffff81000140 t from_file', '',
    ].join('\n')))
    const code = { rip: TEXT + 0x148n, rsp: 0n, entries: [], read }
    expect(createGuestSymbols({ file: map }).describe(code)).toMatchObject({
      rip: { symbol: 'from_file+0x8' }, linked: 0xffff_ffff_8100_0148n,
    })
  })

  it('is found by the banner where the kernel carries no symbols', () => {
    const slide = 0x1200_0000n
    const map = parseSymbols('System.map', new TextEncoder().encode(
      'ffffffff81000000 T _text\nffffffff81200010 D linux_banner\n'))
    const banner = memoryOf(0xffff_ffff_8120_0010n + slide, new TextEncoder().encode('Linux version 7'))
    const place = createGuestSymbols({ file: map }).describe({
      rip: 0xffff_ffff_8100_0042n + slide, rsp: 0n, entries: [], read: banner,
    })
    expect(place).toMatchObject({ rip: { symbol: '_text+0x42/0x200010' }, linked: 0xffff_ffff_8100_0042n })
  })
})

describe('a symbol file', () => {
  it('that is none is refused with its name and what was expected', () => {
    expect(() => parseSymbols('notes.txt', new TextEncoder().encode('hello')))
      .toThrow(/^notes\.txt: symbols: none at kernel addresses/)
    const elf = new Uint8Array(64)
    elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1])
    expect(() => parseSymbols('vmlinux', elf)).toThrow(/^vmlinux: symbol table: the file has none/)
    elf[60] = 9
    expect(() => parseSymbols('vmlinux', elf)).toThrow(/^vmlinux: section headers: ends at/)
  })

  it('never breaks its reader', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => {
      const bytes = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, ...tail)
      expect(() => parseSymbols('f', bytes)).toThrow(/^f: /)
    }))
  })

  it('holds addresses of the kernel alone', () => {
    const map = parseSymbols(
      'm', new TextEncoder().encode(`0000000000001000 A low\n${KERNEL_BASE.toString(16)} T high\n`),
    )
    expect(map.count).toBe(1)
  })
})
