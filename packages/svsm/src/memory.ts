/** A guest's memory as calls use it: copied once, within bounds, and with a result for whatever goes wrong. */
import type { SvsmState } from './call.ts'
import { isFault, type SvsmProcessor } from './processor.ts'

/** Copies a range out; null where the guest has no memory that may be read. */
export function copyIn(
  svsm: SvsmState, processor: SvsmProcessor, address: bigint, length: number,
): Uint8Array<ArrayBuffer> | null {
  if (address >= 1n << 52n || !svsm.vcpus.isGuests(Number(address), length)) return null
  const bytes = new Uint8Array(length)
  return isFault(processor.load(Number(address), bytes)) ? null : bytes
}

/** Copies bytes to the guest, page by page; false where it has no memory for them. */
export function copyOut(svsm: SvsmState, processor: SvsmProcessor, address: bigint, bytes: Uint8Array): boolean {
  if (address >= 1n << 52n || !svsm.vcpus.isGuests(Number(address), bytes.length)) return false
  const start = Number(address)
  for (let at = 0; at < bytes.length;) {
    const n = Math.min(bytes.length - at, 4096 - (start + at) % 4096)
    if (isFault(processor.store(start + at, bytes.subarray(at, at + n)))) return false
    at += n
  }
  return true
}

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
