/**
 * Programs as text. A line holds bytes in hexadecimal and what they mean behind a semicolon; a word in brackets is the
 * address or distance of a label:
 *
 *     again: 48 ff c9          ; dec rcx
 *            75 [again:rel8]   ; jnz again
 *            66 ea [long:32] 08 00
 *
 * Fields: `rel8`, `rel16`, `rel32` (from the end of the field), and `8`, `16`, `32`, `64` for the label's address
 * itself.
 */
const FIELD = /^\[(\w+):(rel)?(8|16|32|64)\]$/

interface Item {
  readonly bytes: number[]
  readonly label: string
  readonly relative: boolean
}

/** Assembles for the address `origin`. @throws SyntaxError for a line that is not as above. */
export function assemble(origin: number, text: string): { bytes: Uint8Array; labels: ReadonlyMap<string, number> } {
  const labels = new Map<string, number>()
  const items: Item[] = []
  let at = origin
  for (const line of text.split('\n')) {
    for (const token of line.split(';')[0].trim().split(/\s+/)) {
      if (token === '') continue
      if (token.endsWith(':')) {
        labels.set(token.slice(0, -1), at)
        continue
      }
      const item = parse(token)
      items.push(item)
      at += item.bytes.length
    }
  }
  return { bytes: resolve(origin, items, labels), labels }
}

function parse(token: string): Item {
  const field = FIELD.exec(token)
  if (field !== null) {
    return { bytes: new Array<number>(Number(field[3]) / 8).fill(0), label: field[1], relative: field[2] === 'rel' }
  }
  if (!/^([0-9a-f]{2})+$/.test(token)) throw new SyntaxError(`"${token}" is neither bytes, nor a label, nor a field`)
  return { bytes: [...token.matchAll(/../g)].map(([byte]) => Number.parseInt(byte, 16)), label: '', relative: false }
}

function resolve(origin: number, items: readonly Item[], labels: ReadonlyMap<string, number>): Uint8Array {
  const bytes: number[] = []
  for (const { bytes: own, label, relative } of items) {
    if (label === '') {
      bytes.push(...own)
      continue
    }
    const target = labels.get(label)
    if (target === undefined) throw new SyntaxError(`no label is named ${label}`)
    let value = BigInt(relative ? target - (origin + bytes.length + own.length) : target)
    const bits = own.length * 8
    if (relative && BigInt.asIntN(bits, value) !== value) {
      throw new SyntaxError(`${label} is out of reach of ${bits} bits`)
    }
    for (let i = 0; i < own.length; i++, value >>= 8n) bytes.push(Number(value & 0xffn))
  }
  return Uint8Array.from(bytes)
}
