/**
 * A naive model of address translation, written from the manuals' text (SDM vol. 3, chapter 4; APM vol. 2, §5 and
 * §15.25) with bigints and no thought of speed. The walker must agree with it on everything.
 */
export interface ModelMemory { load64(pa: number): bigint, store64(pa: number, v: bigint): void }

export interface ModelState {
  levels: 'none' | '32' | 'pae' | 4 | 5
  cr3: bigint
  wp: boolean; nxe: boolean; smep: boolean; smap: boolean; pke: boolean; pse: boolean; pge: boolean; ac: boolean
  pkru: bigint
  maxphyaddr: bigint
  cBit: bigint | undefined
  gigabyte: boolean
  pdptes: bigint[]
}

export interface ModelAccess { write: boolean, fetch: boolean, user: boolean, implicit: boolean }

export type ModelAnswer =
  | { page: bigint, size: bigint, user: boolean, writable: boolean, executable: boolean, dirty: boolean,
    global: boolean, pkey: bigint, key: bigint }
  | { error: bigint }
  | { nested: { gpa: bigint, error: bigint, final: boolean } }

const bit = (v: bigint, n: bigint): boolean => ((v >> n) & 1n) === 1n
const range = (v: bigint, high: bigint, low: bigint): bigint => (v >> low) & ((1n << (high - low + 1n)) - 1n)

/** Translates an address of the first dimension's tables into one of memory; throws a nested answer. */
type Locate = (gpa: bigint, write: boolean, fetch: boolean, final: boolean) => bigint

class NestedAnswer extends Error {
  readonly answer: ModelAnswer
  constructor(answer: ModelAnswer) { super('nested'); this.answer = answer }
}

export function translate(mem: ModelMemory, s: ModelState, va: bigint, access: ModelAccess,
  nested?: ModelState): ModelAnswer {
  try {
    if (nested === undefined) return oneDimension(mem, s, va, access, (pa) => pa, false)
    const locate: Locate = (gpa, write, fetch, final) => {
      const reach = nested.levels === 4 ? 48n : nested.levels === 5 ? 57n : 32n
      const answer: ModelAnswer = gpa >> reach !== 0n
        ? { error: errorCode(nested, { write, fetch, user: true, implicit: false }, 0n) }
        : oneDimension(mem, nested, gpa, { write, fetch, user: true, implicit: false }, (pa) => pa, false)
      if ('error' in answer) throw new NestedAnswer({ nested: { gpa, error: answer.error, final } })
      if ('nested' in answer) throw new Error('never')
      return answer.page + (gpa & 0xfffn)
    }
    const answer = oneDimension(mem, s, va, access, (gpa) => locate(gpa, true, false, false), true)
    if (!('page' in answer)) return answer
    const page = locate(answer.page, access.write && !access.fetch, access.fetch, true)
    return { ...answer, page }
  } catch (e) {
    if (e instanceof NestedAnswer) return e.answer
    throw e
  }
}

function errorCode(s: ModelState, a: ModelAccess, found: bigint): bigint {
  let e = found
  if (a.write) e |= 2n
  if (a.user) e |= 4n
  // §4.7: I/D is set for fetches with SMEP, or with PAE paging or wider and NXE.
  if (a.fetch && (s.smep || (s.nxe && s.levels !== '32' && s.levels !== 'none'))) e |= 16n
  return e
}

function oneDimension(mem: ModelMemory, s: ModelState, va: bigint, a: ModelAccess,
  at: (pa: bigint) => bigint, nested: boolean): ModelAnswer {
  if (s.levels === 'none') {
    return { page: va & ~0xfffn, size: 12n, user: true, writable: true, executable: true, dirty: true, global: false,
      pkey: 0n, key: 0n }
  }
  if (s.levels === '32') return walk32(mem, s, va & 0xffff_ffffn, a, at)
  return walk64(mem, s, va, a, at, nested)
}

function load32(mem: ModelMemory, pa: bigint): bigint {
  return (mem.load64(Number(pa & ~7n)) >> (8n * (pa & 4n))) & 0xffff_ffffn
}
function or64(mem: ModelMemory, pa: bigint, bits: bigint): void {
  const word = Number(pa & ~7n)
  mem.store64(word, mem.load64(word) | (bits << (8n * (pa & 4n))))
}

function walk32(mem: ModelMemory, s: ModelState, va: bigint, a: ModelAccess, at: (pa: bigint) => bigint): ModelAnswer {
  const pdeAt = at((s.cr3 & 0xffff_f000n) | (range(va, 31n, 22n) << 2n))
  const pde = load32(mem, pdeAt)
  if (!bit(pde, 0n)) return { error: errorCode(s, a, 0n) }
  if (s.pse && bit(pde, 7n)) {
    // Table 4-4: M is the lesser of 40 and MAXPHYADDR; bits 20:13 hold address bits M-1:32, the rest to 21 is reserved.
    const m = s.maxphyaddr < 40n ? s.maxphyaddr : 40n
    for (let n = m - 32n + 13n; n <= 21n; n++) if (bit(pde, n)) return { error: errorCode(s, a, 9n) }
    const page = (range(pde, 20n, 13n) << 32n) | (range(pde, 31n, 22n) << 22n) | (va & 0x3f_f000n)
    return finish(mem, s, a, [pde], pdeAt, page, 22n)
  }
  if (!bit(pde, 5n)) or64(mem, pdeAt, 0x20n)
  const pteAt = at((pde & 0xffff_f000n) | (range(va, 21n, 12n) << 2n))
  const pte = load32(mem, pteAt)
  if (!bit(pte, 0n)) return { error: errorCode(s, a, 0n) }
  return finish(mem, s, a, [pde, pte], pteAt, pte & 0xffff_f000n, 12n)
}

/** Address field without the C-bit. */
function address(s: ModelState, entry: bigint, low: bigint): bigint {
  let v = range(entry, 51n, low) << low
  if (s.cBit !== undefined) v &= ~(1n << s.cBit)
  return v
}

function reserved64(s: ModelState, entry: bigint, level: number, leaf: boolean): boolean {
  for (let n = s.maxphyaddr; n <= 51n; n++) if (n !== s.cBit && bit(entry, n)) return true
  if (bit(entry, 63n) && !s.nxe) return true
  if (s.levels === 'pae' && range(entry, 62n, 52n) !== 0n) return true
  if (level >= 4 && bit(entry, 7n)) return true
  if (level === 3 && leaf && (!s.gigabyte || range(entry, 29n, 13n) !== 0n)) return true
  return level === 2 && leaf && range(entry, 20n, 13n) !== 0n
}

/** A PDPTE of PAE paging: in one dimension from a register, in two from memory, checked as MOV to CR3 would. */
function pdpteOf(mem: ModelMemory, s: ModelState, va: bigint, at: (pa: bigint) => bigint, nested: boolean): bigint {
  const index = range(va, 31n, 30n)
  return nested ? mem.load64(Number(at((s.cr3 & 0xffff_ffe0n) + 8n * index))) : s.pdptes[Number(index)]
}

function reservedPdpte(s: ModelState, entry: bigint): boolean {
  for (let n = s.maxphyaddr; n <= 51n; n++) if (n !== s.cBit && bit(entry, n)) return true
  return range(entry, 63n, 52n) !== 0n || range(entry, 8n, 5n) !== 0n || range(entry, 2n, 1n) !== 0n
}

function walk64(mem: ModelMemory, s: ModelState, va: bigint, a: ModelAccess, at: (pa: bigint) => bigint,
  nested: boolean): ModelAnswer {
  const used: bigint[] = []
  let table = address(s, s.cr3, 12n)
  let level = 2
  if (s.levels === 'pae') {
    const pdpte = pdpteOf(mem, s, va, at, nested)
    if (!bit(pdpte, 0n)) return { error: errorCode(s, a, 0n) }
    if (nested && reservedPdpte(s, pdpte)) return { error: errorCode(s, a, 9n) }
    table = address(s, pdpte, 12n)
  } else level = s.levels as number
  for (;; level--) {
    const shift = 12n + 9n * BigInt(level - 1)
    const entryAt = at(table + 8n * range(va, shift + 8n, shift))
    const entry = mem.load64(Number(entryAt))
    if (!bit(entry, 0n)) return { error: errorCode(s, a, 0n) }
    const leaf = level === 1 || (level <= 3 && bit(entry, 7n))
    if (reserved64(s, entry, level, leaf)) return { error: errorCode(s, a, 9n) }
    used.push(entry)
    if (leaf) {
      const page = address(s, entry, shift) | (va & ((1n << shift) - 1n) & ~0xfffn)
      return finish(mem, s, a, used, entryAt, page, shift)
    }
    if (!bit(entry, 5n)) or64(mem, entryAt, 0x20n)
    table = address(s, entry, 12n)
  }
}

/** §4.6 access rights, then §4.8 accessed and dirty flags. */
function finish(mem: ModelMemory, s: ModelState, a: ModelAccess, used: bigint[], leafAt: bigint, page: bigint,
  size: bigint): ModelAnswer {
  const leaf = used[used.length - 1]
  const userAddress = used.every((e) => bit(e, 2n))
  const writable = used.every((e) => bit(e, 1n))
  const executable = s.levels === '32' || used.every((e) => !bit(e, 63n))
  const longMode = s.levels === 4 || s.levels === 5
  const pkey = longMode ? range(leaf, 62n, 59n) : 0n
  const keyed = longMode && s.pke && userAddress && !a.fetch
  const ad = keyed && bit(s.pkru, 2n * pkey)
  const wd = keyed && bit(s.pkru, 2n * pkey + 1n) && a.write && (a.user || s.wp)
  let allowed: boolean
  if (a.user) {
    if (a.fetch) allowed = userAddress && executable
    else if (a.write) allowed = userAddress && writable
    else allowed = userAddress
  } else if (a.fetch) {
    allowed = executable && !(userAddress && s.smep)
  } else {
    const smapStops = userAddress && s.smap && (a.implicit || !s.ac)
    allowed = !smapStops && (!a.write || writable || !s.wp)
  }
  if (!allowed || ad || wd) return { error: errorCode(s, a, ad || wd ? 0x21n : 1n) }
  const want = a.write ? 0x60n : 0x20n
  or64(mem, leafAt, want)
  const key = s.cBit !== undefined && size !== 22n && s.levels !== '32' && bit(leaf, s.cBit) ? 1n : 0n
  return {
    page, size, user: userAddress, writable, executable, dirty: bit(leaf | want, 6n), global: s.pge && bit(leaf, 8n),
    pkey, key,
  }
}
