/** What a host knows about TDX once it runs: whose memory is whose, and what kexec has to care for. */
import { Leaf, PT_NAMES } from './abi.ts'
import type { TdmrPlan } from './build.ts'
import type { ModuleInfo } from './metadata.ts'
import { gaps, merge, overlap, type Range } from './ranges.ts'
import { call, DEFAULT_RETRIES, type TdxSequence } from './seamcall.ts'

/** Memory that the next kernel must not touch before its caches are flushed. */
export interface KexecRange extends Range {
  readonly why: 'pamt' | 'private'
}

/** TDX, running. */
export interface TdxHost {
  readonly plan: TdmrPlan
  readonly info: ModuleInfo
  /** The module's own KeyID, and those for guests. */
  readonly globalKeyId: number
  readonly guestKeyIds: { readonly first: number; readonly count: number }
  /** All PAMTs, by address. */
  pamts(): readonly Range[]
  isPamt(address: number): boolean
  /** Records that pages were given to the module (a TD's memory or control structures). */
  give(start: number, end: number): void
  /** Records that pages came back, flushed and cleared. */
  takeBack(start: number, end: number): void
  /** Pages that were given and have not come back. */
  given(): readonly Range[]
  /** What is TDX private or PAMT, by address: kexec must not load a kernel there, nor run over it unflushed. */
  kexecRanges(): readonly KexecRange[]
  /** Records SEAMCALLs on a processor: its caches may hold lines of private KeyIDs. */
  entered(lp: number): void
  /** Records a WBINVD. */
  flushed(lp: number): void
  /** Processors that must execute WBINVD before another kernel runs. */
  incoherent(): readonly number[]
  /** Asks the module what a page is (TDH.PHYMEM.PAGE.RDMD): its type's name, or undefined if it cannot say. */
  pageType(lp: number, address: number): TdxSequence<string | undefined>
}

/** What {@link createTdxHost} starts from. */
export interface TdxHostOptions {
  readonly plan: TdmrPlan
  readonly info: ModuleInfo
  readonly keyIds: { readonly first: number; readonly count: number }
  /** Processors that have made SEAMCALLs. */
  readonly lps: readonly number[]
}

/** The state of a host whose module is initialised. */
export function createTdxHost(options: TdxHostOptions): TdxHost {
  const { plan, info, keyIds } = options
  const pamts = merge(plan.allocations)
  const dirty = new Set(options.lps)
  let given: Range[] = []
  return {
    plan, info,
    globalKeyId: keyIds.first,
    guestKeyIds: { first: keyIds.first + 1, count: keyIds.count - 1 },
    pamts: () => pamts,
    isPamt: (address) => pamts.some((r) => address >= r.start && address < r.end),
    give(start, end) {
      given = merge([...given, { start, end }])
    },
    takeBack(start, end) {
      given = given.flatMap((r) => (overlap(r, { start, end }) ? gaps([{ start, end }], r) : [r]))
    },
    given: () => given,
    kexecRanges: () => [
      ...pamts.map((r) => ({ ...r, why: 'pamt' as const })), ...given.map((r) => ({ ...r, why: 'private' as const })),
    ].sort((a, b) => a.start - b.start),
    entered: (lp) => void dirty.add(lp),
    flushed: (lp) => void dirty.delete(lp),
    incoherent: () => [...dirty].sort((a, b) => a - b),
    * pageType(lp, address) {
      dirty.add(lp)
      const got = yield* call(lp, Leaf.tdhPhymemPageRdmd, { rcx: BigInt(address - (address % 4096)) }, DEFAULT_RETRIES)
      return got.ok ? PT_NAMES[Number(got.regs.rcx)] : undefined
    },
  }
}
