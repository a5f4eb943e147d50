import { describe, expect, it } from 'vitest'
import { CASE, createBatch, createOracle, DATA_END, DATA_PAGE, EDGE, OUT, SIGNAL, STATE } from '../src/index.ts'

const oracle = createOracle()
const bytes = (hex: string): number[] => hex.match(/../g)!.map(pair => parseInt(pair, 16))

interface Case { code: string, flags?: number, gpr?: Record<number, bigint>, window?: number[], rflags?: bigint }

function run(...cases: Case[]) {
  if (!oracle.available) throw new Error(oracle.reason)
  const batch = createBatch(cases.length)
  cases.forEach((c, i) => {
    batch.setCode(i, bytes(c.code), c.flags)
    const at = batch.at(i)
    for (const [n, value] of Object.entries(c.gpr ?? {})) batch.u64[(at + STATE.GPR) / 8 + Number(n)] = value
    if (c.rflags !== undefined) batch.u64[(at + STATE.RFLAGS) / 8] = c.rflags
    batch.windowOf(i).set(c.window ?? [])
  })
  const answer = oracle.run(batch)
  return cases.map((_, i) => {
    const at = answer.at(i)
    return {
      signal: answer.u32[(at + OUT.SIGNAL) / 4], vector: answer.u32[(at + OUT.VECTOR) / 4],
      cr2: answer.u64[(at + OUT.CR2) / 8], stray: answer.u32[(at + OUT.STRAY) / 4],
      rip: answer.u64[(at + STATE.RIP) / 8], rflags: answer.u64[(at + STATE.RFLAGS) / 8],
      gpr: (n: number) => answer.u64[(at + STATE.GPR) / 8 + n], window: answer.windowOf(i),
      ymm: (n: number) => answer.u8.subarray(at + STATE.YMM + 32 * n, at + STATE.YMM + 32 * n + 32),
    }
  })
}

describe.skipIf(!oracle.available)(`oracle${oracle.available ? '' : `: ${oracle.reason}`}`, () => {
  it('runs bytes from the state given and reports registers and flags', () => {
    const [r] = run({ code: '4801d8', gpr: { 0: 0xffff_ffff_ffff_ffffn, 3: 1n } })
    expect(r).toMatchObject({ signal: 0, rip: 3n, rflags: 0x257n })
    expect(r.gpr(0)).toBe(0n)
  })
  it('reports exceptions with vector and address', () => {
    const [ud, de, pf] = run({ code: '0f0b' }, { code: 'f7f1' }, { code: '8903', gpr: { 3: BigInt(DATA_END - 2) } })
    expect(ud).toMatchObject({ signal: SIGNAL.ILL, vector: 6, rip: 0n })
    expect(de).toMatchObject({ signal: SIGNAL.FPE, vector: 0 })
    expect(pf).toMatchObject({ signal: SIGNAL.SEGV, vector: 14, cr2: BigInt(DATA_END) })
  })
  it('reads and writes the window, and notes writes outside', () => {
    const at = BigInt(DATA_END - 128)
    const [inside, outside] = run({ code: '480fc803d88903', gpr: { 3: at } }, { code: 'c60307',
      gpr: { 3: BigInt(DATA_PAGE) } })
    expect(inside).toMatchObject({ stray: 0 })
    expect(outside.signal).toBe(0)
    expect(outside.stray).not.toBe(0)
    const [load] = run({ code: '8b03', gpr: { 3: at }, window: [1, 2, 3, 4] })
    expect(load.gpr(0)).toBe(0x04030201n)
  })
  it('steps over branches, in 64-bit and in compatibility mode', () => {
    const [jmp, inc] = run({ code: 'eb10', flags: CASE.STEP }, { code: '40', flags: CASE.COMPAT,
      gpr: { 0: 7n } })
    expect(jmp).toMatchObject({ signal: 0, rip: 0x12n })
    expect(inc.gpr(0)).toBe(8n)
  })
  it('lets bytes end at the end of the page', () => {
    const [r] = run({ code: '4881', flags: CASE.STEP | CASE.PAGE_END })
    expect(r).toMatchObject({ signal: SIGNAL.SEGV, cr2: BigInt(EDGE.AT + 0x1000) })
  })
  it('catches system calls and endless loops', () => {
    const [call, loop] = run({ code: '0f05' }, { code: 'ebfe' })
    expect(call.signal).toBe(SIGNAL.SYS)
    expect(loop.signal).toBe(SIGNAL.ALRM)
  })
  it('carries the upper halves of YMM registers', () => {
    const [r] = run({ code: 'c4e27d5a03', gpr: { 3: BigInt(DATA_END - 128) }, window: [5, 6] })
    expect([r.ymm(0)[0], r.ymm(0)[17]]).toEqual([5, 6])
  })
  it('runs a large batch and answers every case', () => {
    if (!oracle.available) return
    const batch = createBatch(20_000)
    for (let i = 0; i < batch.count; i++) batch.setCode(i, [0x90])
    expect(oracle.run(batch).count).toBe(20_000)
  })
})
