import {
  readPscEntry, readPscHeader, writePscCurrent, writePscProgress, type PageStateEntry, type PscFact,
} from '@cofferdam/sev'
import { GhcbError, PSC_MAX_ENTRIES, PscError, PscHeader, PscInvalid, PscOperation } from '@cofferdam/spec'
import type { GuestMemory, MemoryOutcome } from '../../memory/guest-memory.ts'
import { scratchOf } from '../page.ts'
import type { GhcbServer, GuestServices } from '../types.ts'

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

/** Tells what became of a change that the guest asked for. */
export function tellChange(
  guest: GuestServices, vcpu: number,
  entry: { readonly gfn: bigint, readonly operation: number, readonly pages: number },
  answer: PscFact['answer'],
): void {
  const { gfn, operation, pages } = entry
  if (operation !== PscOperation.PRIVATE && operation !== PscOperation.SHARED) return
  guest.fact(vcpu, {
    kind: 'psc', operation: operation === PscOperation.SHARED ? 'shared' : 'private', guestPage: Number(gfn), pages,
    answer,
  })
}

/** Whether an entry makes sense: no reserved bits, a place that is a multiple of its size, a known operation. */
function isSound({ currentPage, gfn, operation, large, reserved }: ReturnType<typeof readPscEntry>): boolean {
  const pages = large ? LARGE : 1
  return reserved === 0n && currentPage <= pages && gfn % BigInt(pages) === 0n
    && operation >= PscOperation.PRIVATE && operation <= PscOperation.UNSMASH
}

/** Carries out the rest of an entry; 2 MiB that were begun go on page by page. */
function perform(memory: GuestMemory, { gfn, currentPage, operation, large }: PageStateEntry): MemoryOutcome {
  const first = Number(gfn)
  if (currentPage === 0) return changePage(memory, first, operation, large)
  for (let page = first + currentPage; page < first + (large ? LARGE : 1); page++) {
    const outcome = changePage(memory, page, operation, false)
    if (outcome !== 'done') return outcome
  }
  return 'done'
}

/**
 * PAGE_STATE_CHANGE (8000_0010h): a list in the scratch area; the header says which entries are left (56421 §4.1.6).
 * The host writes back how far it came; EXITINFO2 says why it stopped, 0 when it only had enough.
 */
export const pageStateChangeExit: GhcbServer = {
  name: 'page-state-change',
  serve(request, guest, vcpu, gpa) {
    const scratch = scratchOf(request, gpa, PscHeader.size)
    if (scratch === undefined) return { error: GhcbError.INVALID_SCRATCH_AREA }
    const { at, bytes } = scratch
    const { current: first, end } = readPscHeader(bytes)
    const room = Math.floor((bytes.length - PscHeader.size) / 8)
    // The header's reserved word is not looked at, as KVM does not (snp_begin_psc): OVMF leaves there what it has read
    // from fw_cfg through the same buffer.
    if (end >= Math.min(room, PSC_MAX_ENTRIES)) return { info2: invalid(PscInvalid.HEADER) }
    let current = first
    let failure = 0n
    const tell = (entry: PageStateEntry, answer: PscFact['answer']): void => {
      tellChange(guest, vcpu.index, { ...entry, pages: entry.large ? LARGE : 1 }, answer)
    }
    for (let n = 0; n < BATCH && current <= end && failure === 0n; n++) {
      const entry = readPscEntry(bytes, current)
      if (!isSound(entry)) failure = invalid(PscInvalid.ENTRY)
      else if (perform(guest.memory, entry) !== 'done') failure = GENERIC
      else writePscProgress(bytes, current++, entry.large ? LARGE : 1)
      tell(entry, failure === 0n ? 'done' : 'failed')
    }
    for (let rest = failure === 0n ? current : current + 1; rest <= end; rest++) tell(readPscEntry(bytes, rest), 'left')
    writePscCurrent(bytes, current)
    return { info2: failure, buffer: { at, bytes: bytes.subarray(0, PscHeader.size + 8 * (end + 1)) } }
  },
}
