/**
 * What the allocator costs, as JSON on standard output:
 * `node --conditions=@cofferdam/source packages/page-alloc/bench/bench.ts [MICROSECONDS_PER_2_MIB]`.
 *
 * Rates are measured on this machine. Acceptance is in virtual time, from a stated cost model, so that it depends on
 * policies and on nothing else.
 */
import {
  bootMemory, createMemblock, createPageAllocator, Gfp, normaliseMap, type PageAllocator, type Policy,
} from '@cofferdam/page-alloc'

declare const process: { readonly argv: readonly string[] }

const MiB = 2 ** 20
const GiB = 2 ** 30

/** Virtual microseconds. */
const COST = {
  /** Accepting 2 MiB: the pages are zeroed and measured into page tables; about 10 GB/s of one processor. */
  acceptPer2MiB: Number(process.argv[2] ?? 200),
  /** Calling the accept port at all: an exit to the host and back. */
  acceptCall: 5,
  /** Using a page for the first time: its fault, and writing to it. */
  usePage: 0.5,
  /** Processors that accept at once get faster up to so many: then memory is the limit. */
  parallelLimit: 4,
}

const round = (x: number, digits = 1): number => Math.round(x * 10 ** digits) / 10 ** digits

/** Memory of `size` bytes, all accepted. */
function plain(size: number): PageAllocator {
  const memblock = createMemblock()
  memblock.add(4 * GiB, 4 * GiB + size)
  return createPageAllocator({ memblock })
}

interface Rate { readonly runs: number; readonly allocNs: number; readonly freeNs: number; readonly perSecond: number }

/** Allocates many runs of one order, then frees them: nanoseconds of each, the best of five rounds. */
function rate(order: number): Rate {
  const a = plain(32 * GiB)
  const runs = Math.min(500_000, 4 * 2 ** 20 / 2 ** order)
  const pages = new Float64Array(runs)
  let allocNs = Infinity
  let freeNs = Infinity
  for (let round = 0; round < 5; round++) {
    const t0 = performance.now()
    for (let i = 0; i < runs; i++) pages[i] = a.alloc(order, Gfp.movable)
    const t1 = performance.now()
    for (let i = 0; i < runs; i++) a.free(pages[i], order)
    const t2 = performance.now()
    allocNs = Math.min(allocNs, ((t1 - t0) * 1e6) / runs)
    freeNs = Math.min(freeNs, ((t2 - t1) * 1e6) / runs)
  }
  return { runs, allocNs: round(allocNs), freeNs: round(freeNs), perSecond: Math.round(1e9 / (allocNs + freeNs)) }
}

/** Milliseconds for a million pairs of alloc and free of one page, the best of five. */
function pairs(): number {
  const a = plain(GiB)
  let best = Infinity
  for (let round = 0; round < 5; round++) {
    const t0 = performance.now()
    for (let i = 0; i < 1_000_000; i++) a.free(a.alloc(0), 0)
    best = Math.min(best, performance.now() - t0)
  }
  return round(best)
}

interface Acceptance {
  readonly memoryGiB: number
  readonly policy: string
  readonly processors: number
  /** Virtual milliseconds from power-on until the allocator is built, 256 MiB are in use, all memory is accepted. */
  readonly bootMs: number
  readonly first256MiBMs: number
  /** Null: never, unless all of it is used. */
  readonly allAcceptedMs: number | null
  readonly acceptedMiBAtFirst256MiB: number
  /** The longest that one allocation waited. */
  readonly worstAllocUs: number
}

function acceptance(size: number, policy: Policy, processors: number): Acceptance {
  let now = 0
  let accepted = 0
  const map = normaliseMap([
    { start: MiB, end: 64 * MiB, kind: 'usable' }, { start: 64 * MiB, end: 2 * GiB, kind: 'unaccepted' },
    { start: 4 * GiB, end: 2 * GiB + size, kind: 'unaccepted' },
  ])
  const speed = policy.kind === 'eager' ? Math.min(processors, COST.parallelLimit) : 1
  const memory = bootMemory(map, {
    accept: {
      accept(start, end) {
        now += (COST.acceptCall + (COST.acceptPer2MiB * (end - start)) / (2 * MiB)) / speed
        accepted += end - start
        return undefined
      },
      isAccepted: () => true,
    },
  })
  const a = createPageAllocator({ ...memory, policy })
  const boot = now
  let worst = 0
  for (let i = 0; i < (256 * MiB) / 4096; i++) {
    const before = now
    a.alloc(0, Gfp.movable)
    worst = Math.max(worst, now - before)
    now += COST.usePage
  }
  const first = now
  const acceptedAtFirst = accepted
  // The guest is idle from here on.
  while (a.background(64 * MiB) > 0);
  const all = a.meminfo().Unaccepted === 0 ? (policy.kind === 'eager' ? boot : now) : undefined
  return {
    memoryGiB: size / GiB, policy: policy.kind, processors, bootMs: round(boot / 1000),
    first256MiBMs: round(first / 1000), allAcceptedMs: all === undefined ? null : round(all / 1000),
    acceptedMiBAtFirst256MiB: round(acceptedAtFirst / MiB), worstAllocUs: round(worst),
  }
}

/** Bytes of metadata for a terabyte: untouched, with 300 MiB in use page by page, and when that is free again. */
function memory(): Record<string, number> {
  const a = plain(2 ** 40)
  const empty = a.metadataBytes()
  const pages = Array.from({ length: (300 * MiB) / 4096 }, () => a.alloc(0))
  const used = a.metadataBytes()
  for (const pfn of pages) a.free(pfn, 0)
  return { untouchedMiB: round(empty / MiB, 2), with300MiBInUseMiB: round(used / MiB, 2), bytesPerPageInUse: 9 }
}

const policies: [Policy, number][] = [
  [{ kind: 'eager' }, 1], [{ kind: 'eager' }, 4], [{ kind: 'lazy' }, 1], [{ kind: 'background' }, 1],
]
const report = {
  millionPairsMs: pairs(),
  byOrder: Object.fromEntries(Array.from({ length: 11 }, (_, order) => [order, rate(order)])),
  costModel: { unit: 'virtual microseconds', ...COST },
  acceptance: [4, 64].flatMap((gib) => policies.map(([policy, n]) => acceptance(gib * GiB, policy, n))),
  metadataPerTiB: memory(),
}
console.log(JSON.stringify(report, null, 2))
