/** Lists of pages in guest memory: a header of 8 bytes, then entries of 8, all in one page (58019 §7.1). */
import { SvsmPvalidateHeader } from '@cofferdam/spec'
import { refuse, type SvsmAnswer, type SvsmState } from '../../call.ts'
import { copyIn, viewOf } from '../../memory.ts'
import { isFault, type SvsmProcessor } from '../../processor.ts'
import type { GuestVcpu } from '../../vcpus.ts'

/** A list, copied. */
export interface PageList {
  readonly address: number
  readonly entries: number
  /** The first that has not been dealt with. */
  readonly next: number
  entry(index: number): bigint
}

const HEADER = SvsmPvalidateHeader.size

/** Copies the list at RCX; what is wrong with it. */
export function readPageList(
  rcx: bigint, caller: GuestVcpu, svsm: SvsmState, processor: SvsmProcessor,
): PageList | SvsmAnswer {
  const inPage = Number(rcx % 4096n)
  if (rcx % 8n !== 0n) return refuse('INVALID_PARAMETER')
  // The list may be no longer than its page: what is behind is not copied.
  const bytes = copyIn(svsm, processor, rcx, 4096 - inPage)
  if (bytes === null) return refuse('INVALID_ADDRESS')
  const view = viewOf(bytes)
  const { entries, next, reserved } = SvsmPvalidateHeader.read(view)
  if (reserved !== 0) {
    svsm.fact(caller, {
      kind: 'svsm-reserved', call: 'of the core protocol', field: 'the header of its list',
      value: view.getBigUint64(0, true),
      bits: BigInt(reserved) << BigInt(8 * SvsmPvalidateHeader.offset.reserved),
    })
  }
  const room = (bytes.length - HEADER) / 8
  if (reserved !== 0 || entries === 0 || entries > room || next >= entries) return refuse('INVALID_PARAMETER')
  return { address: Number(rcx), entries, next, entry: (index) => view.getBigUint64(HEADER + 8 * index, true) }
}

/** Tells the guest how far the list has been dealt with. */
export function writeNext({ address }: PageList, next: number, processor: SvsmProcessor): boolean {
  const at = address + SvsmPvalidateHeader.offset.next
  return !isFault(processor.store(at, Uint8Array.of(next & 0xff, next >> 8)))
}

/**
 * Deals with the entries of a list up to the first that fails, which `next` then names, or until so many pages of 4 KiB
 * were dealt with: then the call is to be made again.
 */
export function eachEntry(
  list: PageList, processor: SvsmProcessor, pages: number, act: (entry: bigint) => SvsmAnswer | null,
): SvsmAnswer | null {
  let answer: SvsmAnswer | null = null
  let index = list.next
  for (let left = pages; index < list.entries && answer === null;) {
    if (left <= 0) {
      answer = refuse('INCOMPLETE')
      break
    }
    const entry = list.entry(index)
    left -= (entry & 3n) === 0n ? 1 : 512
    answer = act(entry)
    if (answer === null) index++
  }
  return writeNext(list, index, processor) ? answer : refuse('INVALID_ADDRESS')
}
