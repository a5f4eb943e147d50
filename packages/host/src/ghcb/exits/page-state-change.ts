import { GhcbError, PSC_MAX_ENTRIES, PscEntry, PscError, PscHeader, PscInvalid, PscOperation } from '@cofferdam/spec'
import type { GuestMemory, MemoryOutcome } from '../../memory/guest-memory.ts'
import { scratchOffset, type GhcbReply } from '../page.ts'
import type { GhcbExit } from '../types.ts'

const LARGE = 512
/** Entries that one exit processes: the guest asks again for the rest, and takes its interrupts in between. */
const BATCH = 64

const invalid = (what: number): bigint => BigInt(PscError.INVALID_REQUEST) << 32n | BigInt(what)
const GENERIC = BigInt(PscError.GENERIC) << 32n

/** Changes one page, or 2 MiB. */
export function changePage(memory: GuestMemory, guestPage: number, operation: number, large: boolean): MemoryOutcome {
  switch (operation) {
    case PscOperation.PRIVATE:
      return large ? memory.makePrivateLarge(guestPage) : memory.makePrivate(guestPage)
    case PscOperation.SHARED:
      return large ? memory.makeSharedLarge(guestPage) : memory.makeShared(guestPage)
    // Hints about the RMP entry's size: the host smashes when it must and joins nothing.
    case PscOperation.PSMASH: return memory.smash(guestPage)
    case PscOperation.UNSMASH: return 'done'
    default: return 'refused'
  }
}

/** An entry taken apart; undefined when it makes no sense (reserved bits, a place that is no multiple of its size). */
function decode(entry: bigint) {
  if ((entry & ~PscEntry.used) !== 0n) return undefined
  const { currentPage, gfn, operation, pageSize } = PscEntry.unpack(entry)
  const large = pageSize === 1n
  const pages = large ? LARGE : 1
  const guestPage = Number(gfn)
  if (Number(currentPage) > pages || guestPage % pages !== 0) return undefined
  if (operation < BigInt(PscOperation.PRIVATE) || operation > BigInt(PscOperation.UNSMASH)) return undefined
  return { done: Number(currentPage), guestPage, operation: Number(operation), large, pages }
}

/** Carries out the rest of an entry; 2 MiB that were begun go on page by page. */
function perform(memory: GuestMemory, entry: NonNullable<ReturnType<typeof decode>>): MemoryOutcome {
  const { done, guestPage, operation, large, pages } = entry
  if (done === 0) return changePage(memory, guestPage, operation, large)
  for (let page = guestPage + done; page < guestPage + pages; page++) {
    const outcome = changePage(memory, page, operation, false)
    if (outcome !== 'done') return outcome
  }
  return 'done'
}

/**
 * PAGE_STATE_CHANGE (8000_0010h): a list in the scratch area; the header says which entries are left (56421 §4.1.6).
 * The host writes back how far it came; EXITINFO2 says why it stopped, 0 when it only had enough.
 */
export const pageStateChangeExit: GhcbExit = {
  name: 'page-state-change',
  serve(request, { memory }, _vcpu, gpa) {
    const start = scratchOffset(request, gpa, PscHeader.size)
    if (start === undefined) return { error: GhcbError.INVALID_SCRATCH_AREA }
    const list = request.buffer.subarray(start)
    const view = new DataView(list.buffer, list.byteOffset, list.byteLength)
    const header = PscHeader.read(view)
    const room = Math.floor((list.length - PscHeader.size) / 8)
    if (header.endEntry >= Math.min(room, PSC_MAX_ENTRIES) || header.reserved !== 0) {
      return { info2: invalid(PscInvalid.HEADER) }
    }
    let current = header.currentEntry
    let failure = 0n
    for (let n = 0; n < BATCH && current <= header.endEntry && failure === 0n; n++) {
      const at = PscHeader.size + 8 * current
      const entry = decode(view.getBigUint64(at, true))
      if (entry === undefined) failure = invalid(PscInvalid.ENTRY)
      else if (perform(memory, entry) !== 'done') failure = GENERIC
      else {
        view.setBigUint64(at, PscEntry.set(view.getBigUint64(at, true), 'currentPage', BigInt(entry.pages)), true)
        current++
      }
    }
    PscHeader.set(view, 'currentEntry', current)
    const bytes = list.subarray(0, PscHeader.size + 8 * (header.endEntry + 1))
    return { info2: failure, buffer: { at: start, bytes } } satisfies GhcbReply
  },
}
