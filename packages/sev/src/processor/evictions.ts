/**
 * Processors that keep lines of a page from before it changed hands: software has to evict them when it has validated
 * the page. A read of its first and of its last line with the guest's key does that (Linux 7b306dfa326f); until then
 * nothing else of the page may be used, for a line of the host's key may be written back over it.
 */
import type { AccessObserver } from '@cofferdam/x86'
import type { SevProcessor, SevShared } from './context.ts'

/** Pages that wait to be touched, at most; the oldest are forgotten first. */
const MOST = 2 ** 18
const PAGE = 4096
const LINE = 64
const [FIRST, LAST] = [1, 2]

interface Waiting {
  /** Which of the two lines were touched. */
  lines: number
  /** RIP of the PVALIDATE. */
  readonly validatedAt: bigint
}

/** A page that waits, as data: its system page, the lines of it that were touched, and RIP of the PVALIDATE. */
export type WaitingPage = readonly [page: number, lines: number, validatedAt: bigint]

export interface Evictions {
  /** A guest has validated pages; the processor is resident. */
  validated(sev: SevProcessor, page: number, pages: number): void
  /** A guest has taken its validation back. */
  rescinded(page: number, pages: number): void
  observer(sev: SevProcessor): AccessObserver
  /** Pages that wait, in their order. */
  snapshot(): readonly WaitingPage[]
  restore(pages: readonly WaitingPage[]): void
}

export function createEvictions(shared: Pick<SevShared, 'rmp' | 'fact'>): Evictions {
  const waiting = new Map<number, Waiting>()

  const forgetOldest = (): void => {
    for (const page of waiting.keys()) {
      if (waiting.size <= MOST) return
      waiting.delete(page)
    }
  }

  /** Lines that an access touches, −1 when it touches others. */
  const linesOf = (offset: number, length: number): number => {
    if (offset + length <= LINE) return FIRST
    return offset >= PAGE - LINE ? LAST : -1
  }

  const tell = (sev: SevProcessor, page: number, offset: number, { validatedAt }: Waiting): void => {
    const { rmp, fact } = shared
    if (!rmp.find(page)) return
    fact?.(sev.processor, { kind: 'unevicted', gpa: BigInt(rmp.found.guestPage * PAGE + offset), page, validatedAt })
  }

  return {
    validated(sev, page, pages) {
      const validatedAt = BigInt.asUintN(64, sev.processor.cpu.rip())
      for (let i = page; i < page + pages; i++) {
        waiting.delete(i)
        waiting.set(i, { lines: 0, validatedAt })
      }
      forgetOldest()
    },
    rescinded(page, pages) {
      if (waiting.size > 0) for (let i = page; i < page + pages; i++) waiting.delete(i)
    },
    observer: (sev) => ({
      sees: (page) => waiting.has(page),
      accessed(address, length) {
        const page = Math.floor(address / PAGE)
        const entry = waiting.get(page)
        // The host's own accesses are made with its own key.
        if (entry === undefined || sev.guest === null) return
        const lines = linesOf(address % PAGE, length)
        if (lines < 0) tell(sev, page, address % PAGE, entry)
        else entry.lines |= lines
        if (lines < 0 || entry.lines === (FIRST | LAST)) waiting.delete(page)
      },
    }),
    snapshot: () => [...waiting].map(([page, { lines, validatedAt }]) => [page, lines, validatedAt] as const),
    restore(pages) {
      for (const [page, lines, validatedAt] of pages) waiting.set(page, { lines: lines & (FIRST | LAST), validatedAt })
      forgetOldest()
    },
  }
}
