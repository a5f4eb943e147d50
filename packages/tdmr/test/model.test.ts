import { describe, expect, it } from 'vitest'
import {
  checkTdmr, type CheckContext, copyTdmr, describeStatus, encodeConfig, Leaf, Metadata, Operand, SeamldrInfo, Status,
  TdmrInfo, type TdmrCopy, tdmrInfoStride, TdmrReservedArea,
} from '../src/index.ts'
import { GiB, KEY_IDS, LIMITS, LPS, machine, MiB, region } from './machines.ts'

const G = BigInt(GiB)
const M = BigInt(MiB)
const context: CheckContext = {
  cmrs: [{ base: MiB, size: 2 * GiB - MiB }, { base: 4 * GiB, size: 4 * GiB }], limits: LIMITS, paLimit: 1n << 46n,
}

/** A TDMR over [4 GiB, 6 GiB) that passes, its PAMTs at its start, reserved. */
function good(change: Partial<TdmrCopy> = {}): TdmrCopy {
  const base = 4n * G
  return {
    base, size: 2n * G,
    pamts: [{ base, size: 8n * M }, { base: base + 8n * M, size: 0x4000n }, { base: base + 9n * M, size: 0x1000n }],
    reserved: [{ offset: 0n, size: 10n * M }],
    ...change,
  }
}
const p = good().pamts
const check = (...all: TdmrCopy[]): string => describeStatus(checkTdmr(all, context)).replace(/\(0x[0-9a-f]+,? ?/, '(')

describe('the layout of TDMR_INFO', () => {
  it('has 64 bytes before its reserved areas, and a stride of a multiple of 512', () => {
    expect([TdmrInfo.size, TdmrReservedArea.size, SeamldrInfo.size]).toEqual([64, 16, 256])
    expect([tdmrInfoStride(16), tdmrInfoStride(28), tdmrInfoStride(29)]).toEqual([512, 512, 1024])
  })

  it('is what the module copies', () => {
    const tdmr = {
      start: 4 * GiB, end: 6 * GiB, node: 0, ownNode: true, pamt: { start: 4 * GiB, end: 4 * GiB + 10 * MiB },
      pamt4k: { start: 4 * GiB, end: 4 * GiB + 8 * MiB },
      pamt2m: { start: 4 * GiB + 8 * MiB, end: 4 * GiB + 8 * MiB + 0x4000 },
      pamt1g: { start: 4 * GiB + 9 * MiB, end: 4 * GiB + 9 * MiB + 0x1000 },
      reserved: [{ start: 4 * GiB, end: 4 * GiB + 10 * MiB }],
    }
    const { bytes, arrayOffset } = encodeConfig([tdmr], 16, 0x10000)
    const copy = copyTdmr(bytes, 16)
    expect(copy).toMatchObject({ base: 4n * G, size: 2n * G, pamts: good().pamts })
    expect(copy.reserved[0]).toEqual({ offset: 0n, size: 10n * M })
    expect(new DataView(bytes.buffer).getBigUint64(arrayOffset, true)).toBe(0x10000n)
    expect(checkTdmr([copy], context)).toBe(Status.TDX_SUCCESS)
  })
})

describe('TDH.SYS.CONFIG checks TDMRs', () => {
  it('and accepts a good one', () => {
    expect(check(good())).toContain('TDX_SUCCESS')
  })

  it.each<[string, Partial<TdmrCopy>, string]>([
    ['base not 1 GiB aligned', { base: 4n * G + M }, 'TDX_INVALID_TDMR (TDMR 0)'],
    ['size not a multiple of 1 GiB', { size: 2n * G + M }, 'TDX_INVALID_TDMR (TDMR 0)'],
    ['size 0', { size: 0n }, 'TDX_INVALID_TDMR (TDMR 0)'],
    ['end above physical memory', { base: (1n << 46n) - G }, 'TDX_INVALID_TDMR (TDMR 0)'],
    ['base + size past 64 bits', { base: (1n << 64n) - G }, 'TDX_INVALID_TDMR (TDMR 0)'],
    ['reserved areas out of order', { reserved: [{ offset: G, size: M }, { offset: 0n, size: 10n * M }] },
      'TDX_NON_ORDERED_RESERVED_IN_TDMR (TDMR 0 reserved area 1)'],
    ['reserved areas that overlap', { reserved: [{ offset: 0n, size: 10n * M }, { offset: 9n * M, size: 2n * M }] },
      'TDX_NON_ORDERED_RESERVED_IN_TDMR (TDMR 0 reserved area 1)'],
    ['an empty area before another', { reserved: [{ offset: 0n, size: 0n }, { offset: 0n, size: 10n * M }] },
      'TDX_NON_ORDERED_RESERVED_IN_TDMR (TDMR 0 reserved area 0)'],
    ['an area not 4 KiB aligned', { reserved: [{ offset: 0n, size: 10n * M + 512n }] },
      'TDX_INVALID_RESERVED_IN_TDMR (TDMR 0 reserved area 0)'],
    ['an area past the end', { reserved: [{ offset: 0n, size: 10n * M }, { offset: 2n * G - M, size: 2n * M }] },
      'TDX_INVALID_RESERVED_IN_TDMR (TDMR 0 reserved area 1)'],
    ['a PAMT not aligned', { pamts: [{ base: p[0].base + 512n, size: p[0].size }, p[1], p[2]] },
      'TDX_INVALID_PAMT (TDMR 0 PAMT of 4K)'],
    ['a PAMT too small', { pamts: [p[0], { base: p[1].base, size: 0x3000n }, p[2]] },
      'TDX_INVALID_PAMT (TDMR 0 PAMT of 2M)'],
    ['a PAMT above physical memory', { pamts: [p[0], p[1], { base: 1n << 46n, size: 0x1000n }] },
      'TDX_INVALID_PAMT (TDMR 0 PAMT of 1G)'],
    ['PAMTs that overlap', { pamts: [p[0], { base: p[0].base, size: 0x4000n }, p[2]] },
      'TDX_PAMT_OVERLAP (TDMR 0 PAMT of 4K with TDMR 0)'],
    ['a PAMT in memory that is not reserved', { reserved: [{ offset: 0n, size: 8n * M }] },
      'TDX_PAMT_OVERLAP (TDMR 0 PAMT of 2M with TDMR 0)'],
    ['a PAMT in no CMR', { pamts: [p[0], p[1], { base: 3n * G, size: 0x1000n }] },
      'TDX_PAMT_OUTSIDE_CMRS (TDMR 0 PAMT of 1G)'],
  ])('%s', (_, change, status) => {
    expect(check(good(change))).toBe(status)
  })

  it('that are not in order, or overlap', () => {
    const second = good({ base: 4n * G })
    expect(check(good(), second)).toBe('TDX_NON_ORDERED_TDMR (TDMR 1)')
    expect(check(good(), good({ base: 5n * G }))).toBe('TDX_NON_ORDERED_TDMR (TDMR 1)')
  })

  it('whose PAMTs overlap those of another TDMR', () => {
    expect(check(good(), good({ base: 6n * G, reserved: [] }))).toBe('TDX_PAMT_OVERLAP (TDMR 1 PAMT of 4K with TDMR 0)')
  })

  it('with memory that is in no CMR', () => {
    const low = good({ base: 0n, reserved: [] })
    expect(check(low)).toBe('TDX_TDMR_OUTSIDE_CMRS (TDMR 0)')
    expect(check({ ...low, reserved: [{ offset: 0n, size: M }] })).toContain('TDX_SUCCESS')
  })

  it('against CMRs that touch as if they were one', () => {
    const cmrs = [{ base: 4 * GiB, size: GiB }, { base: 5 * GiB, size: GiB }]
    expect(checkTdmr([good()], { ...context, cmrs })).toBe(Status.TDX_SUCCESS)
  })
})

describe('the module keeps to its states', () => {
  const fresh = () => machine([region(MiB, 2 * GiB)])
  const rax = (m: ReturnType<typeof fresh>, lp: number, leaf: bigint, input = {}): bigint => {
    const r = m.model.seamcall(lp, leaf, input)
    return r.kind === 'returned' ? r.regs.rax : -1n
  }

  it('SYS.INIT once, with no attributes', () => {
    const m = fresh()
    expect(rax(m, 0, Leaf.tdhSysInit, { rcx: 1n })).toBe(Status.TDX_OPERAND_INVALID | Operand.rcx)
    expect(rax(m, 0, Leaf.tdhSysInit)).toBe(0n)
    expect(rax(m, 0, Leaf.tdhSysInit)).toBe(Status.TDX_SYS_INIT_NOT_PENDING)
  })

  it('LP.INIT after SYS.INIT, once on each LP', () => {
    const m = fresh()
    expect(rax(m, 1, Leaf.tdhSysLpInit)).toBe(Status.TDX_SYS_LP_INIT_NOT_PENDING)
    rax(m, 0, Leaf.tdhSysInit)
    expect(rax(m, 1, Leaf.tdhSysLpInit)).toBe(0n)
    expect(rax(m, 1, Leaf.tdhSysLpInit)).toBe(Status.TDX_SYS_LP_INIT_DONE)
  })

  it('SYS.RD on LPs that are initialised, for fields that exist', () => {
    const m = fresh()
    expect(rax(m, 0, Leaf.tdhSysRd, { rdx: Metadata.maxTdmrs })).toBe(Status.TDX_SYS_LP_INIT_NOT_DONE)
    rax(m, 0, Leaf.tdhSysInit)
    rax(m, 0, Leaf.tdhSysLpInit)
    expect(rax(m, 0, Leaf.tdhSysRd, { rdx: Metadata.maxTdmrs })).toBe(0n)
    expect(rax(m, 0, Leaf.tdhSysRd, { rdx: 5n })).toBe(Status.TDX_METADATA_FIELD_ID_INCORRECT)
  })

  it('SYS.CONFIG after all LPs, with good operands', () => {
    const m = fresh()
    rax(m, 0, Leaf.tdhSysInit)
    expect(rax(m, 0, Leaf.tdhSysConfig, { rdx: 1n, r8: 64n })).toBe(Status.TDX_SYS_CONFIG_NOT_PENDING)
    for (const lp of LPS) rax(m, lp.id, Leaf.tdhSysLpInit)
    const config = (rcx: bigint, rdx: bigint, r8: bigint): bigint => rax(m, 0, Leaf.tdhSysConfig, { rcx, rdx, r8 })
    expect(config(0x1100n, 1n, 64n)).toBe(Status.TDX_OPERAND_INVALID | Operand.rcx)
    expect(config(1n << 46n, 1n, 64n)).toBe(Status.TDX_OPERAND_INVALID | Operand.rcx)
    expect(config(0x1000n, 0n, 64n)).toBe(Status.TDX_OPERAND_INVALID | Operand.rdx)
    expect(config(0x1000n, 65n, 64n)).toBe(Status.TDX_OPERAND_INVALID | Operand.rdx)
    for (const keyId of [0n, 63n, BigInt(KEY_IDS.first + KEY_IDS.count), 64n | (1n << 16n), 64n | (1n << 17n)]) {
      expect(config(0x1000n, 1n, keyId)).toBe(Status.TDX_OPERAND_INVALID | Operand.r8)
    }
  })

  it('KEY.CONFIG after SYS.CONFIG, TDMR.INIT after KEY.CONFIG', () => {
    const m = fresh()
    expect(rax(m, 0, Leaf.tdhSysKeyConfig)).toBe(Status.TDX_SYS_KEY_CONFIG_NOT_PENDING)
    expect(rax(m, 0, Leaf.tdhSysTdmrInit)).toBe(Status.TDX_SYS_NOT_READY)
    expect(rax(m, 0, Leaf.tdhPhymemPageRdmd)).toBe(Status.TDX_SYS_NOT_READY)
  })
})
