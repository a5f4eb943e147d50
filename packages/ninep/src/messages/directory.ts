/** Treaddir: entries of a directory, in the same order every time. */
import { failed, type Answer } from '../errno.ts'
import type { Fid } from '../fids.ts'
import { MODE, type Qid } from '../files.ts'
import { message } from '../message.ts'
import { fail } from '../errno.ts'
import { DATA_HEADER } from './data.ts'

/** An entry without its name: qid[13] offset[8] type[1] length[2]. */
const ENTRY = 24

/** The kind of a file as getdents(2) has it (DT_*): the mode's upper four bits. */
const entryType = (mode: number): number => (mode & MODE.KIND) >> 12

const encoder = new TextEncoder()

interface Entry {
  readonly qid: Qid
  readonly mode: number
}

/** Entry `index` of a directory: itself, the one above it, then its names. A name that has gone is a failure. */
function entryAt(fid: Fid, names: readonly string[], index: number): readonly [string, Answer<Entry>] {
  if (index === 0) return ['.', { qid: fid.node.qid, mode: MODE.DIRECTORY }]
  if (index === 1) return ['..', { qid: fid.parent, mode: MODE.DIRECTORY }]
  const name = names[index - 2]
  return [name, fid.node.lookAt(name)]
}

/** Fills `into` with entries from `index` on; answers how many bytes they take. */
function fill(fid: Fid, names: readonly string[], index: number, into: Uint8Array): Answer<number> {
  const view = new DataView(into.buffer)
  let at = 0
  for (let i = index; i < names.length + 2; i++) {
    const [name, entry] = entryAt(fid, names, i)
    if (failed(entry)) continue
    const bytes = encoder.encode(name)
    if (at + ENTRY + bytes.length > into.length) return at > 0 ? at : fail('EINVAL')
    const { qid, mode } = entry
    view.setUint8(at, qid.type)
    view.setUint32(at + 1, qid.version, true)
    view.setBigUint64(at + 5, qid.path, true)
    view.setBigUint64(at + 13, BigInt(i + 1), true)
    view.setUint8(at + 21, entryType(mode))
    view.setUint16(at + 22, bytes.length, true)
    into.set(bytes, at + ENTRY)
    at += ENTRY + bytes.length
  }
  return at
}

/**
 * Treaddir: as many whole entries as fit. An entry's offset is its place in the sorted listing, which is read anew at
 * offset 0; getdents(2)'s EINVAL when not even one fits.
 */
export const treaddir = message({
  type: 40,
  name: 'Treaddir',
  request: { fid: 'u32', offset: 'u64', count: 'u32' },
  reply: { data: 'data' },
  serve({ fids, room }, { fid: number, offset, count }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    const names = fids.names(fid, offset === 0n)
    if (failed(names)) return names
    if (offset > BigInt(names.length + 1)) return { data: new Uint8Array() }
    const data = new Uint8Array(Math.max(0, Math.min(count, room - DATA_HEADER)))
    const filled = fill(fid, names, Number(offset), data)
    return failed(filled) ? filled : { data: data.subarray(0, filled) }
  },
})
