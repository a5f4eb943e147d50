import { describe, expect, it } from 'vitest'
import {
  describeInitError, drive, initTdx, Leaf, Status, type TdxInitOptions, type TdxInitResult,
} from '../src/index.ts'
import { GiB, KEY_IDS, LIMITS, LPS, machine, MiB, region, TWO_SOCKETS } from './machines.ts'

function errorOf(result: TdxInitResult) {
  if (result.ok) throw new Error('initialisation succeeded')
  return result
}
function tdxOf(result: TdxInitResult) {
  if (!result.ok) throw new Error(describeInitError(result.error))
  return result.tdx
}

describe('the initialisation sequence', () => {
  it('goes loader, SYS.INIT once, LP.INIT everywhere, metadata, SYS.CONFIG, flush, keys by package, TDMRs', () => {
    const { model, init } = machine()
    const tdx = tdxOf(initTdx(init, model))
    expect(model.state()).toBe('SYS_READY')
    expect(model.violations).toEqual([])
    const order = model.log.filter((line) => !line.startsWith(`${Leaf.tdhSysRd} `))
    expect(order).toEqual([
      `${Leaf.seamldrInfo} @0`, `${Leaf.tdhSysInit} @0`, ...LPS.map((lp) => `${Leaf.tdhSysLpInit} @${lp.id}`),
      `${Leaf.tdhSysConfig} @0`, 'flush', `${Leaf.tdhSysKeyConfig} @0`, `${Leaf.tdhSysKeyConfig} @4`,
      ...Array.from({ length: 32 }, () => `${Leaf.tdhSysTdmrInit} @0`),
    ])
    expect(model.tdmrs().map((t) => Number(t.base))).toEqual(tdx.plan.tdmrs.map((t) => t.start))
  })

  it('goes on with one TDMR until RDX has reached its end', () => {
    const { model, init } = machine(TWO_SOCKETS, { initStep: 256 * MiB })
    tdxOf(initTdx(init, model))
    expect(model.log.filter((line) => line.startsWith(`${Leaf.tdhSysTdmrInit} `))).toHaveLength(32 * 4)
  })

  it('keeps nothing but PAMTs', () => {
    const { model, init, host } = machine()
    const tdx = tdxOf(initTdx(init, model))
    expect(host.allocated()).toEqual(tdx.plan.tdmrs.map((t) => t.pamt))
  })

  it('uses dynamic PAMT where it is wanted and there', () => {
    const { model, init } = machine(TWO_SOCKETS, { dynamicPamtBits: 1 })
    const tdx = tdxOf(initTdx({ ...init, dynamicPamt: true }, model))
    expect(tdx.plan.pamtBytes).toBeLessThan(2 * MiB)
    const without = machine(TWO_SOCKETS)
    expect(tdxOf(initTdx({ ...without.init, dynamicPamt: true }, without.model)).plan.overhead).toBeCloseTo(1 / 256, 3)
  })

  it('repeats calls while the module is busy or has no entropy, and gives up in the end', () => {
    const answers = [Status.TDX_SYS_BUSY, Status.TDX_RND_NO_ENTROPY, Status.TDX_KEY_GENERATION_FAILED, undefined]
    const { model, init } = machine(TWO_SOCKETS, {
      inject: (_lp, leaf, n) => (leaf === Leaf.tdhSysRd ? undefined : answers[n % 4]),
    })
    tdxOf(initTdx(init, model))

    const never = machine(TWO_SOCKETS, {
      inject: (_lp, leaf) => (leaf === Leaf.tdhSysLpInit ? Status.TDX_RND_NO_ENTROPY : undefined),
    })
    const { error } = errorOf(initTdx(never.init, never.model))
    expect(describeInitError(error))
      .toBe('TDH.SYS.LP.INIT on LP 0: TDX_RND_NO_ENTROPY (0x8000020300000000) after 10 tries')
  })
})

describe('initialisation fails, and says why', () => {
  const refuse = (leaf: bigint, status: bigint, skip = 0) => {
    let seen = 0
    return (_lp: number, at: bigint): bigint | undefined => (at === leaf && seen++ >= skip ? status : undefined)
  }
  const run = (m: ReturnType<typeof machine>, change: Partial<TdxInitOptions> = {}) => {
    const result = errorOf(initTdx({ ...m.init, ...change }, m.model))
    return { ...result, text: describeInitError(result.error), left: m.host.allocated() }
  }

  it.each([
    ['with no loader', { loaded: 'nothing' as const }, {},
      'SEAMLDR.INFO on LP 0: VMfailInvalid, no module to enter is loaded'],
    ['with no module', { loaded: 'loader' as const }, {}, 'SEAMLDR.INFO: the loader is there, a TDX module is not'],
    ['outside VMX operation', { notInVmx: [0] }, {},
      'SEAMLDR.INFO on LP 0: #UD, the processor is not in VMX operation'],
    ['with too few KeyIDs', {}, { keyIds: { first: 64, count: 1 } },
      '1 private KeyIDs: the module needs one for itself'],
    ['with an LP offline', {}, { lps: LPS.map((lp) => ({ ...lp, online: lp.id !== 5 })) }, 'LPs 5 are not online'],
    ['with an LP that the host does not know', {}, { lps: LPS.slice(0, 7) },
      'TDX_SYS_CONFIG_NOT_PENDING (0xc000050c00000000): TDH.SYS.LP.INIT has not run on every LP'],
    ['when a package has no LP', { inject: refuse(Leaf.tdhSysTdmrInit, Status.TDX_SYS_NOT_READY) }, {},
      'TDH.SYS.KEY.CONFIG has not run on every package'],
    ['on metadata that cannot be', { limits: { ...LIMITS, maxTdmrs: 0 } }, {},
      'metadata field MAX_TDMRS: 0x0 is not in 0x1..'],
    ['on a CMR list out of order', { cmrs: [{ base: GiB, size: GiB }, { base: MiB, size: MiB }] }, {},
      'TDH.SYS.INIT on LP 0: TDX_CMR_LIST_INVALID'],
    ['on memory that is not convertible', { cmrs: [{ base: MiB, size: 10 * GiB }] }, {}, 'is in no CMR'],
    ['when the module refuses a TDMR', { inject: refuse(Leaf.tdhSysConfig, Status.TDX_TDMR_OUTSIDE_CMRS | 2n) }, {},
      'TDX_TDMR_OUTSIDE_CMRS (0xc0000a0200000002, TDMR 2)'],
  ])('%s', (_, module, change, message) => {
    const m = machine(TWO_SOCKETS, module)
    const { text, left } = run(m, change)
    expect(text).toContain(message)
    expect(left).toEqual([])
  })

  it('before SYS.CONFIG with nothing to undo, at SYS.CONFIG without flushing', () => {
    const early = machine(TWO_SOCKETS, { inject: refuse(Leaf.tdhSysLpInit, Status.TDX_OPERAND_INVALID) })
    expect(run(early).cleanup).toEqual([])
    const config = machine(TWO_SOCKETS, { inject: refuse(Leaf.tdhSysConfig, Status.TDX_OPERAND_INVALID) })
    expect(run(config).cleanup).toEqual(['freed TDMR_INFO', 'freed PAMTs'])
    expect(config.model.log).not.toContain('flush')
  })

  it('in KEY.CONFIG or TDMR.INIT after the module may have written PAMTs: flushed before they are freed', () => {
    for (const leaf of [Leaf.tdhSysKeyConfig, Leaf.tdhSysTdmrInit]) {
      const m = machine(TWO_SOCKETS, { inject: refuse(leaf, Status.TDX_OPERAND_INVALID, 1) })
      const { cleanup, left } = run(m)
      expect(cleanup).toEqual(['freed TDMR_INFO', 'flushed caches', 'freed PAMTs'])
      expect(m.model.log.at(-1)).toBe('flush')
      expect(left).toEqual([])
    }
  })

  it('on processors with the partial-write erratum: PAMTs are cleared by whole lines as well', () => {
    const m = machine(TWO_SOCKETS, { inject: refuse(Leaf.tdhSysTdmrInit, Status.TDX_OPERAND_INVALID, 3) })
    const { cleanup } = run(m, { partialWriteErratum: true })
    expect(cleanup).toEqual(['freed TDMR_INFO', 'flushed caches', 'cleared PAMTs', 'freed PAMTs'])
    expect(m.model.log.filter((line) => line.startsWith('clear'))).toHaveLength(3)
    expect(m.model.log.lastIndexOf('flush')).toBeLessThan(m.model.log.findIndex((line) => line.startsWith('clear')))
  })

  it('a second time in one lifetime of the module, after success and after failure', () => {
    const m = machine()
    tdxOf(initTdx(m.init, m.model))
    const again = errorOf(initTdx(m.init, m.model))
    expect(again.error.step).toBe('second-init')
    expect(describeInitError(again.error)).toContain('TDX_SYS_INIT_NOT_PENDING')
    expect(describeInitError(again.error)).toContain('can be only once until it is loaded again')

    const broken = machine(TWO_SOCKETS, { inject: refuse(Leaf.tdhSysTdmrInit, Status.TDX_OPERAND_INVALID) })
    run(broken)
    expect(run(broken).error.step).toBe('second-init')
  })
})

describe('a host with TDX', () => {
  const start = () => {
    const m = machine()
    return { ...m, tdx: tdxOf(initTdx(m.init, m.model)) }
  }

  it('keeps the first KeyID for the module', () => {
    const { tdx } = start()
    expect(tdx.globalKeyId).toBe(KEY_IDS.first)
    expect(tdx.guestKeyIds).toEqual({ first: KEY_IDS.first + 1, count: KEY_IDS.count - 1 })
  })

  it('tells kexec what is PAMT and what is private', () => {
    const { tdx } = start()
    tdx.give(5 * GiB, 6 * GiB)
    tdx.takeBack(5 * GiB + 4 * MiB, 6 * GiB)
    const ranges = tdx.kexecRanges()
    expect(ranges.filter((r) => r.why === 'pamt').map(({ start, end }) => ({ start, end }))).toEqual(tdx.pamts())
    expect(ranges.filter((r) => r.why === 'private'))
      .toEqual([{ start: 5 * GiB, end: 5 * GiB + 4 * MiB, why: 'private' }])
    expect(tdx.isPamt(tdx.plan.tdmrs[1].pamt4k.start)).toBe(true)
    expect(tdx.isPamt(tdx.plan.tdmrs[1].pamt1g.end)).toBe(false)
    tdx.takeBack(0, 64 * GiB)
    expect(tdx.given()).toEqual([])
  })

  it('names the processors whose caches must be flushed', () => {
    const { tdx } = start()
    expect(tdx.incoherent()).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    for (const lp of LPS) tdx.flushed(lp.id)
    expect(tdx.incoherent()).toEqual([])
    tdx.entered(3)
    expect(tdx.incoherent()).toEqual([3])
  })

  it('asks the module for the type of a page', () => {
    const { tdx, model } = start()
    expect(drive(tdx.pageType(0, 6 * GiB + 123), model)).toBe('PT_NDA')
    expect(drive(tdx.pageType(0, tdx.plan.tdmrs[0].pamt.start), model)).toBe('PT_RSVD')
    expect(drive(tdx.pageType(0, 3 * GiB), model)).toBeUndefined()
  })
})

describe('memory of one small node', () => {
  it('initialises as well', () => {
    const m = machine([region(MiB, 256 * MiB)])
    expect(tdxOf(initTdx(m.init, m.model)).plan.tdmrs).toHaveLength(1)
  })
})
