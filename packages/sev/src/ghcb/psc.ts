/** The list of a page state change in the shared buffer (AMD 56421 §4.1.6). */
import { PSC_MAX_ENTRIES, PscEntry, PscHeader, PscOperation } from '@cofferdam/spec'

/** One entry. Frame numbers are guest physical addresses / 4096. */
export interface PageStateEntry {
  readonly gfn: bigint
  /** A number of `PscOperation`; others are reserved. */
  readonly operation: number
  readonly large: boolean
  /** 4 KiB pages of this entry that are done already. */
  readonly currentPage: number
}

/** The list's head: entries `current` to `end` are to be done. */
export interface PageStateHeader {
  readonly current: number
  readonly end: number
}

/** Reads the head. `bytes` starts with it. */
export function readPscHeader(bytes: Uint8Array): PageStateHeader {
  const { currentEntry, endEntry } = PscHeader.read(new DataView(bytes.buffer, bytes.byteOffset))
  return { current: currentEntry, end: endEntry }
}

/** Reads entry `index` once. @throws RangeError past the last entry that a buffer can hold. */
export function readPscEntry(bytes: Uint8Array, index: number): PageStateEntry & { readonly reserved: bigint } {
  if (index < 0 || index >= PSC_MAX_ENTRIES) throw new RangeError(`no page state entry ${index}`)
  const value = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(PscHeader.size + 8 * index, true)
  const { currentPage, gfn, operation, pageSize } = PscEntry.unpack(value)
  return {
    currentPage: Number(currentPage), gfn, operation: Number(operation), large: pageSize === 1n,
    reserved: value & ~PscEntry.used,
  }
}

/** Writes how far the hypervisor got: the entry it is at, and the pages of an entry that are done. */
export function writePscProgress(bytes: Uint8Array, index: number, currentPage: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const at = PscHeader.size + 8 * index
  view.setBigUint64(at, PscEntry.set(view.getBigUint64(at, true), 'currentPage', BigInt(currentPage)), true)
}
/** Puts the entry that is next into a list's header, where the guest looks how far the host came. */
export function writePscCurrent(bytes: Uint8Array, current: number): void {
  PscHeader.set(new DataView(bytes.buffer, bytes.byteOffset), 'currentEntry', current)
}

/** A list as a guest makes it. @throws RangeError for more than 253 entries. */
export function encodePsc(entries: readonly Partial<PageStateEntry>[]): Uint8Array {
  if (entries.length === 0 || entries.length > PSC_MAX_ENTRIES) throw new RangeError('1 to 253 entries')
  const bytes = new Uint8Array(PscHeader.size + 8 * entries.length)
  const view = new DataView(bytes.buffer)
  PscHeader.write(view, { currentEntry: 0, endEntry: entries.length - 1 })
  entries.forEach(({ gfn = 0n, operation = PscOperation.PRIVATE, large = false, currentPage = 0 }, i) => {
    view.setBigUint64(PscHeader.size + 8 * i, PscEntry.pack({
      gfn, operation: BigInt(operation), pageSize: large ? 1n : 0n, currentPage: BigInt(currentPage),
    }), true)
  })
  return bytes
}
