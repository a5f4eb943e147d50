import { SvsmError } from './error.ts'

/** Memory that a guest has given to the SVSM: pages of 4 KiB and 2 MiB, last come first served. */
export interface DepositedPage {
  readonly address: number
  readonly large: boolean
}

/** Pages that are kept for a guest: this SVSM needs none, and a guest may not make it grow. */
export const MAX_DEPOSITS = 4096

export interface Deposits {
  size(): number
  add(page: DepositedPage): void
  last(): DepositedPage | undefined
  remove(page: DepositedPage): void
  /** Whether any of a range was deposited. */
  overlaps(address: number, length: number): boolean
  snapshot(): readonly DepositedPage[]
  /** @throws SvsmError for more than {@link MAX_DEPOSITS} */
  restore(saved: readonly DepositedPage[]): void
}

const LARGE = 0x20_0000
const lengthOf = ({ large }: DepositedPage): number => (large ? LARGE : 4096)

export function createDeposits(): Deposits {
  const pages: DepositedPage[] = []
  return {
    size: () => pages.length,
    add(page) { pages.push(page) },
    last: () => pages.at(-1),
    remove(page) { pages.splice(pages.lastIndexOf(page), 1) },
    overlaps: (address, length) =>
      pages.some((page) => page.address < address + length && page.address + lengthOf(page) > address),
    snapshot: () => [...pages],
    restore(saved) {
      if (saved.length > MAX_DEPOSITS) throw new SvsmError('deposits', `expected at most ${MAX_DEPOSITS}`)
      pages.splice(0, Infinity, ...saved)
    },
  }
}
