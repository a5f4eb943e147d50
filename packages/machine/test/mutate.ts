/** Snapshots with something wrong in them, as a broken program might write them: well sealed, and nonsense inside. */
import type { PhysicalMemory } from '@cofferdam/memory'
import type { SnapshotData } from '../src/index.ts'
import { crc32 } from '../src/snapshot/crc32.ts'
import { pack, unpack } from '../src/snapshot/pack.ts'

/** A stream of random numbers below `n`, the same for the same seed. */
export type Draw = (n: number) => number

/** xorshift32. */
export function createDraw(seed: number): Draw {
  let state = (Math.imul(seed, 0x9e37_79b1) ^ 0x5bd1_e995) >>> 0 || 1
  return (n) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % n
  }
}

const PAGE = 4096
const WORDS = [0n, 1n, 7n, 0x67n, 0xe7n, 1n << 51n, 0x8000_0000n, (1n << 64n) - 1n]
/** Words of the reverse map from behind its bookkeeping on. */
const ENTRIES = { start: 0x4000, words: 2 ** 16 } as const

/** Changes words where the host of an SNP guest keeps what is its own: nested tables, VMCBs, VMSAs, the reverse map. */
export function damageHost(memory: PhysicalMemory, { snp }: SnapshotData['state'], draw: Draw): void {
  if (snp === null) return
  const { guest, silicon } = snp
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  const load = (at: number): bigint => {
    memory.read(at, bytes)
    return view.getBigUint64(0, true)
  }
  const tables = [guest.npt.root]
  for (let level = 0; level < 3; level++) tables.push(Number(load(tables[level]) & 0xf_ffff_ffff_f000n))
  const levels = guest.vcpus.flatMap(({ vmpls }) => vmpls.levels.map(({ vmsa }) => vmsa)).filter((page) => page >= 0)
  const pages = [...guest.vmcbs, ...levels, guest.context, guest.requestPage, guest.responsePage, guest.msrpm[0]]
  const reverseMap = Number.parseInt(silicon.rmp.base, 16) + ENTRIES.start
  for (let n = 1 + draw(6); n > 0; n--) {
    const kind = draw(3)
    const at = kind === 0 ? tables[draw(tables.length)] + 8 * draw(draw(2) === 0 ? 8 : 512)
      : kind === 1 ? pages[draw(pages.length)] * PAGE + 8 * draw(512) : reverseMap + 8 * draw(ENTRIES.words)
    const values = [
      WORDS[draw(WORDS.length)], load(at) ^ (1n << BigInt(draw(64))), BigInt(tables[draw(tables.length)]) | 0x67n,
      BigInt(pages[draw(pages.length)] * PAGE + draw(PAGE)),
    ]
    view.setBigUint64(0, values[draw(values.length)], true)
    memory.write(at, bytes)
  }
}

type Holder = Record<string | number, unknown>

const isHolder = (value: unknown): value is Holder => typeof value === 'object' && value !== null

/** Numbers that programs stumble over. */
const NUMBERS = [
  0, 1, -1, 2, 7, 8, 0x7f, 0xff, 0x1000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 2 ** 32, 2 ** 40, 2 ** 52,
  Number.MAX_SAFE_INTEGER, -(2 ** 31), -Number.MAX_SAFE_INTEGER, 0.5, 1e300, Number.NaN, Infinity, -0,
]
const OTHERS = [null, true, false, '', 'x', [], {}, new Uint8Array(3), new Uint32Array(4)]

function mutateValue(value: unknown, draw: Draw): unknown {
  if (draw(12) === 0) return OTHERS[draw(OTHERS.length)]
  if (typeof value === 'boolean') return !value
  if (typeof value === 'string') {
    const at = draw(value.length + 1)
    return draw(2) === 0 ? value.slice(0, at) : value.slice(0, at) + 'f0Z'[draw(3)] + value.slice(at + 1)
  }
  if (typeof value !== 'number') return OTHERS[draw(OTHERS.length)]
  return draw(2) === 0 ? NUMBERS[draw(NUMBERS.length)] : value ^ (1 << draw(32))
}

/** Changes bytes or words of a typed array, or cuts it. */
function mutateArray(array: Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array, draw: Draw): unknown {
  if (draw(8) === 0) return array.slice(0, draw(array.length + 1))
  const copy = array.slice()
  for (let n = 1 + draw(3); n > 0 && copy.length > 0; n--) {
    const at = draw(copy.length)
    copy[at] = draw(2) === 0 ? NUMBERS[draw(NUMBERS.length)] : copy[at] ^ (1 << draw(32))
  }
  return copy
}

/** Changes one thing somewhere below `root`, which is plain data and typed arrays. */
function mutateTree(root: Holder, draw: Draw): void {
  let holder = root
  for (;;) {
    const keys = Array.isArray(holder) ? [...holder.keys()] : Object.keys(holder)
    if (keys.length === 0) return
    const key = keys[draw(keys.length)]
    const value = holder[key]
    if (draw(60) === 0) {
      // Never `delete` in a list: that leaves a hole.
      if (Array.isArray(holder)) holder.splice(Number(key), 1)
      else Reflect.deleteProperty(holder, key)
      return
    }
    if (ArrayBuffer.isView(value)) {
      holder[key] = mutateArray(value as Uint8Array, draw)
      return
    }
    if (!isHolder(value) || draw(50) === 0) {
      holder[key] = mutateValue(value, draw)
      return
    }
    holder = value
  }
}

/** A snapshot with up to four things wrong. */
export function mutateSnapshot(snapshot: SnapshotData, seed: number): SnapshotData {
  const draw = createDraw(seed)
  const { name, options, attachment, state, image } = snapshot
  const { contents, ...rest } = image
  const copy = structuredClone({ options, attachment, state, rest })
  // Devices and registers hold most of what can be wrong; memory's contents are any bytes.
  for (let n = 1 + draw(4); n > 0; n--) mutateTree(copy, draw)
  return {
    name, options: copy.options, attachment: copy.attachment, state: copy.state, image: { ...copy.rest, contents },
  }
}

/** Changes up to four places of MessagePack, where its structure is rather than in the middle of arrays. */
function mutateBytes(bytes: Uint8Array<ArrayBuffer>, draw: Draw): Uint8Array<ArrayBuffer> {
  let copy = bytes.slice()
  for (let n = 1 + draw(4); n > 0; n--) {
    // Most of a state's bytes are zeros of empty translation buffers.
    let at = draw(copy.length)
    for (let tries = 0; tries < 20 && copy[at] === 0; tries++) at = draw(copy.length)
    const choice = draw(4)
    if (choice === 0) copy[at] ^= 1 << draw(8)
    else if (choice === 1) copy[at] = 0x80 + draw(0x80)
    else if (choice === 2) copy = copy.slice(0, at)
    else copy.copyWithin(at, draw(copy.length), draw(copy.length))
    if (copy.length === 0) return copy
  }
  return copy
}

const HEADER = 28

/** A file (without compression) whose directory or state has other bytes, and checksums that fit. */
export function mutateSealed(file: Uint8Array, seed: number): Uint8Array {
  const draw = createDraw(seed)
  const end = HEADER + new DataView(file.buffer, file.byteOffset).getUint32(20, true)
  const directory = unpack(file.subarray(HEADER, end)) as { sections: [number, number, number][] }
  const [[stateLength]] = directory.sections
  let state = file.slice(end, end + stateLength)
  let packed: Uint8Array
  if (draw(4) === 0) {
    packed = mutateBytes(file.slice(HEADER, end), draw)
  } else {
    state = mutateBytes(state, draw)
    directory.sections[0] = [state.length, state.length, crc32(state)]
    packed = pack(directory)
  }
  const parts = [file.subarray(0, HEADER), packed, state, file.subarray(end + stateLength)]
  const made = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  parts.reduce((at, part) => {
    made.set(part, at)
    return at + part.length
  }, 0)
  const view = new DataView(made.buffer)
  view.setUint32(20, packed.length, true)
  view.setUint32(24, crc32(packed), true)
  return made
}
