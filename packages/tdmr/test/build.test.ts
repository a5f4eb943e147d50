import { describe, expect, it } from 'vitest'
import {
  type BuildOptions, buildTdmrs, createModelMemory, describeTdmrError, formatTdmrs, freePamts, type MemoryRegion,
  pamtSizes, pamtTotal, type TdmrError, type TdmrPlan,
} from '../src/index.ts'
import { cmrsOf, GiB, LIMITS, MiB, region, TWO_SOCKETS } from './machines.ts'

function build(memory: MemoryRegion[], change: Partial<BuildOptions> = {}) {
  const pamts = createModelMemory(memory)
  return { pamts, result: buildTdmrs({ memory, cmrs: cmrsOf(memory), limits: LIMITS, pamts, ...change }) }
}
function plan(memory: MemoryRegion[], change: Partial<BuildOptions> = {}): TdmrPlan {
  const { result } = build(memory, change)
  if (!result.ok) throw new Error(describeTdmrError(result.error))
  return result.value
}
function error(memory: MemoryRegion[], change: Partial<BuildOptions> = {}): TdmrError {
  const { result, pamts } = build(memory, change)
  if (result.ok) throw new Error('there is no error')
  expect(pamts.allocated()).toEqual([])
  return result.error
}
/** Regions from 4 GiB at equal distances, half memory and half hole. */
const pieces = (count: number, step: number): MemoryRegion[] =>
  Array.from({ length: count }, (_, i) => region(4 * GiB + i * step, 4 * GiB + i * step + step / 2))
const spans = (p: TdmrPlan): string[] => p.tdmrs.map((t) => `${t.start / GiB}..${t.end / GiB}@${t.node}`)

describe('PAMT sizes', () => {
  it.each([
    [1, 4 * MiB, 8192, 4096], [4, 16 * MiB, 32768, 4096], [512, 2048 * MiB, 4 * MiB, 8192],
  ])('of a TDMR of %i GiB are %i, %i and %i bytes with 16-byte entries', (gib, size4k, size2m, size1g) => {
    expect(pamtSizes(gib * GiB, LIMITS)).toEqual({ size4k, size2m, size1g })
  })

  it('have a bitmap instead of the table for 4 KiB pages in dynamic mode', () => {
    expect(pamtSizes(4 * GiB, { ...LIMITS, bitmapBits: 1 }).size4k).toBe((4 * GiB) / 4096 / 8)
  })

  it('are about 1/256 of memory', () => {
    expect((1024 * GiB) / pamtTotal(pamtSizes(1024 * GiB, LIMITS))).toBeCloseTo(255.5, 1)
    expect(plan(TWO_SOCKETS).overhead).toBeCloseTo(1 / 256, 3)
  })
})

describe('TDMRs', () => {
  it('cover each stretch of memory of a node in whole GiBs', () => {
    expect(spans(plan(TWO_SOCKETS))).toEqual(['0..2@0', '4..18@0', '18..34@1'])
  })

  it('have their PAMTs on their own node', () => {
    for (const t of plan(TWO_SOCKETS).tdmrs) {
      expect(t.ownNode).toBe(true)
      expect(TWO_SOCKETS.find((m) => t.pamt.start >= m.start && t.pamt.end <= m.end)?.node).toBe(t.node)
    }
  })

  it('take PAMTs from another node when their own has no room', () => {
    const memory = [region(MiB, 2 * GiB), region(4 * GiB, 4 * GiB + 3 * MiB, 1)]
    const p = plan(memory)
    expect(p.tdmrs[1]).toMatchObject({ node: 1, ownNode: false })
  })

  it('leave the first megabyte out, as a reserved area', () => {
    const [first] = plan(TWO_SOCKETS).tdmrs
    expect(first.reserved[0].start).toBe(0)
    expect(first.reserved[0].end).toBeGreaterThanOrEqual(MiB)
  })

  it('have holes and PAMTs as reserved areas, joined where they touch', () => {
    const memory = [region(MiB, 512 * MiB), region(600 * MiB, GiB)]
    const [t] = plan(memory).tdmrs
    // The allocator takes the lowest memory: the PAMTs touch the first megabyte.
    expect(t.reserved).toEqual([
      { start: 0, end: t.pamt.end }, { start: 512 * MiB, end: 600 * MiB },
    ])
  })

  it('cover legacy persistent memory too', () => {
    const memory: MemoryRegion[] = [region(MiB, GiB), { start: 4 * GiB, end: 5 * GiB, node: 0, kind: 'pmem' }]
    expect(spans(plan(memory))).toEqual(['0..1@0', '4..5@0'])
  })

  it('are split where one would have too many holes', () => {
    const memory = Array.from({ length: 30 }, (_, i) => region(GiB + i * 256 * MiB, GiB + i * 256 * MiB + 128 * MiB))
    const p = plan(memory)
    expect(spans(p)).toEqual(['1..4@0', '4..7@0', '7..9@0'])
    for (const t of p.tdmrs) expect(t.reserved.length).toBeLessThanOrEqual(16)
  })

  it('are joined across the smallest gaps where there would be too many', () => {
    const memory = [0, 1, 4, 5, 20, 22].map((g) => region((g + 4) * GiB, (g + 5) * GiB))
    const p = plan(memory, { limits: { ...LIMITS, maxTdmrs: 2 } })
    expect(spans(p)).toEqual(['4..10@0', '24..27@0'])
    expect(p.tdmrs[0].reserved.filter((r) => r.end - r.start === 2 * GiB)).toEqual([{ start: 6 * GiB, end: 8 * GiB }])
  })

  it('give up their own nodes rather than fail', () => {
    const memory = Array.from({ length: 8 }, (_, i) => region((4 + i) * GiB, (5 + i) * GiB, i % 2))
    expect(spans(plan(memory))).toHaveLength(8)
    expect(spans(plan(memory, { limits: { ...LIMITS, maxTdmrs: 1 } }))).toEqual(['4..12@0'])
  })

  it('become smaller when memory for PAMTs is in pieces', () => {
    const memory = Array.from({ length: 16 }, (_, i) => region((4 + i) * GiB, (5 + i) * GiB))
    const taken = memory.map((r) => ({ start: r.start + 20 * MiB, end: r.end }))
    const pamts = createModelMemory(memory, taken)
    const p = plan(memory, { pamts })
    expect(spans(p)).toEqual(['4..8@0', '8..12@0', '12..16@0', '16..20@0'])
  })

  it('have PAMTs in one piece when separate ones would break a limit', () => {
    const memory = [
      ...Array.from({ length: 15 }, (_, i) => region(4 * GiB + i * 64 * MiB, 4 * GiB + i * 64 * MiB + 32 * MiB)),
      region(5 * GiB, 6 * GiB, 1),
    ]
    // Everything goes into the first GiB, which has room for one more reserved area only.
    let at = 4 * GiB + MiB
    const pamts = {
      alloc: (size: number) => {
        const start = at
        at += size + 4096
        return start
      },
      free: () => {},
    }
    const p = plan(memory, { pamts })
    expect(p.allocations).toHaveLength(1)
    expect(p.tdmrs[0].reserved).toHaveLength(16)
  })
})

describe('a map that TDX cannot have', () => {
  it('is refused when memory is in no CMR, naming the range', () => {
    const memory = [region(MiB, 2 * GiB), region(4 * GiB, 8 * GiB)]
    const cmrs = [{ base: MiB, size: 2 * GiB - MiB }, { base: 4 * GiB, size: 3 * GiB }]
    const e = error(memory, { cmrs })
    expect(e).toMatchObject({ kind: 'not-convertible', range: { start: 7 * GiB, end: 8 * GiB } })
    expect(describeTdmrError(e)).toBe(
      'memory [0x1c0000000, 0x200000000) (of region [0x100000000, 0x200000000)) is in no CMR: it cannot be TDX memory')
  })

  it('is accepted when CMRs touch inside a region', () => {
    const cmrs = [{ base: MiB, size: GiB }, { base: GiB + MiB, size: GiB }]
    expect(plan([region(MiB, 2 * GiB)], { cmrs }).tdmrs).toHaveLength(1)
  })

  it('is refused when one GiB has more holes than a TDMR may have reserved areas', () => {
    const memory = pieces(20, 32 * MiB)
    expect(error(memory)).toEqual({
      kind: 'limit', limit: 'max_reserved_per_tdmr', at: { start: 4 * GiB, end: 5 * GiB, node: 0 }, needed: 20, max: 16,
      holes: 20,
    })
  })

  it('is refused when it needs more TDMRs than there are, saying where the first too many would begin', () => {
    const memory = pieces(40, 128 * MiB)
    const e = error(memory, { limits: { ...LIMITS, maxTdmrs: 2 } })
    expect(describeTdmrError(e))
      .toBe('TDMRs: 3 needed, the module takes 2 (max_tdmrs); the first too many would begin at 0x200000000')
  })

  it('is refused when no memory is left for PAMTs', () => {
    const memory = [region(4 * GiB, 6 * GiB)]
    const pamts = createModelMemory(memory, [{ start: 4 * GiB + 4096, end: 6 * GiB }])
    expect(error(memory, { pamts })).toMatchObject({ kind: 'no-pamt-memory', size: 8 * MiB + 16384 + 4096, node: 0 })
  })

  it('is refused when the allocator gives memory that TDX does not have', () => {
    const pamts = { alloc: () => 64 * GiB, free: () => {} }
    expect(error([region(4 * GiB, 6 * GiB)], { pamts })).toMatchObject({ kind: 'bad-pamt-memory' })
  })

  it('is refused when regions overlap, or there is none', () => {
    expect(error([region(MiB, 2 * GiB), region(GiB, 3 * GiB)]).kind).toBe('regions-overlap')
    expect(error([region(0, MiB)]).kind).toBe('no-memory')
  })
})

describe('a plan', () => {
  it('gives all its PAMTs back', () => {
    const { pamts, result } = build(TWO_SOCKETS)
    expect(pamts.allocated()).toHaveLength(3)
    if (result.ok) freePamts(result.value, pamts)
    expect(pamts.allocated()).toEqual([])
  })

  it('reads as a table', () => {
    expect(formatTdmrs(plan(TWO_SOCKETS)).split('\n')).toEqual([
      'tdmr         base          end  GiB  node  reserved     bytes      PAMT at      PAMT',
      '   0          0x0   0x80000000    2     0         1  65.1 MiB     0x100000   8.0 MiB',
      '   1  0x100000000  0x480000000   14     0         0     0 MiB     0x905000  56.1 MiB',
      '   2  0x480000000  0x880000000   16     1         1  64.1 MiB  0x480000000  64.1 MiB',
      expect.stringMatching(/^PAMTs: 128\.3 MiB for 32767 MiB of memory, 1\/255 \(0\.39 %\)$/),
    ])
  })
})
