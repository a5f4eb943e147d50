import {
  PspCommand, PspStatus, SevGetId, SevInit, SevInitEx, SevPlatformStatus, SnpAddress, SnpCommit, SnpConfig,
  SnpFeatureInfo, SnpInitEx, SnpInitExFlags, SnpPlatformStatus, SnpRange, SnpRangeListHeader, SnpShutdownEx,
  SnpVlekLoad, SysCfg,
} from '@cofferdam/spec'
import { describe, expect, it, vi } from 'vitest'
import { createSevIdentity, describeRmpEntry, HOST_KEY, encodeTcb, pspCommandName, wrapVlek } from '../src/index.ts'
import { concat, toHex, viewOf } from '../src/bytes.ts'
import { PSP_COMMANDS } from '../src/psp/commands/index.ts'
import { CONTEXT, RMP_BASE, identity, initialise, pspFixture, startGuest } from './psp-fixture.ts'
import type { PspFixture } from './psp-fixture.ts'

const S = PspStatus
const initEx = (f: PspFixture, fields: Parameters<typeof SnpInitEx.create>[0] = {}): number =>
  f.run('SNP_INIT_EX', SnpInitEx.create({ flags: SnpInitExFlags.mask.INIT_RMP, ...fields }))
const stateOf = (f: PspFixture, page: number): string => {
  const entry = f.rmp.read(page)
  return entry === null ? 'none' : describeRmpEntry(entry)
}

describe('commands', () => {
  it('are all in the table, under their names', () => {
    for (const [name, id] of Object.entries(PspCommand)) expect([id, PSP_COMMANDS.get(id)?.name]).toEqual([id, name])
    expect(pspCommandName(0xa1)).toBe('SNP_LAUNCH_UPDATE')
  })
  it('that do not exist, or have no buffer, are refused', () => {
    const f = pspFixture()
    expect(f.psp.command(0x7ff, 0x8000)).toBe(S.INVALID_COMMAND)
    expect(f.psp.command(PspCommand.SNP_CONFIG, 0x8001)).toBe(S.INVALID_ADDRESS)
    expect(f.psp.command(PspCommand.SNP_CONFIG, 2 ** 40)).toBe(S.INVALID_ADDRESS)
    expect(f.psp.command(PspCommand.SNP_CONFIG, 32 * 2 ** 20 - 8)).toBe(S.INVALID_ADDRESS)
    expect(f.run('LAUNCH_START')).toBe(S.UNSUPPORTED)
    expect(f.run('NOP')).toBe(S.SUCCESS)
  })
})

describe('an address with the C-bit', () => {
  const C_BIT = 2 ** 51
  const fixture = (encrypts: boolean): PspFixture => {
    const f = pspFixture({ raw: true, cBit: 51 })
    f.machine.syscfg[0] = encrypts ? SysCfg.mask.MemEncryptionModeEn : 0n
    return f
  }
  const version = (bytes: Uint8Array): number[] => [...bytes.subarray(0, 2)]

  it('names what the key of the host sees, in the mailbox and in buffers', () => {
    const f = fixture(true)
    expect(f.psp.command(PspCommand.PLATFORM_STATUS, 0x8000 + C_BIT)).toBe(S.SUCCESS)
    expect(version(f.bytes(0x8000, 2, HOST_KEY))).toEqual([1, 55])
    expect(version(f.bytes(0x8000, 2))).not.toEqual([1, 55])
    f.memory.write(0x8000, SnpAddress.create({ address: 0x9000n + BigInt(C_BIT) }), HOST_KEY)
    expect(f.psp.command(PspCommand.SNP_PLATFORM_STATUS, 0x8000 + C_BIT)).toBe(S.SUCCESS)
    expect(version(f.bytes(0x9000, 2, HOST_KEY))).toEqual([1, 55])
  })
  it('is none of memory while nothing is encrypted, or when what is left is not', () => {
    expect(fixture(false).psp.command(PspCommand.PLATFORM_STATUS, 0x8000 + C_BIT)).toBe(S.INVALID_ADDRESS)
    expect(fixture(true).psp.command(PspCommand.PLATFORM_STATUS, 2 ** 40 + C_BIT)).toBe(S.INVALID_ADDRESS)
    expect(fixture(true).psp.command(PspCommand.PLATFORM_STATUS, 0x8000 + 2 * C_BIT)).toBe(S.INVALID_ADDRESS)
  })
  it('has its page checked in the RMP', () => {
    const f = pspFixture({ cBit: 51 })
    f.machine.syscfg[0] |= SysCfg.mask.MemEncryptionModeEn
    const status = (): number =>
      f.run('SNP_PLATFORM_STATUS', SnpAddress.create({ address: 0x30_0000n + BigInt(C_BIT) }))
    expect(status()).toBe(S.INVALID_PAGE_STATE)
    f.firmwarePage(0x300)
    expect(status()).toBe(S.SUCCESS)
  })
})

describe('SNP_INIT_EX', () => {
  it('empties the RMP and becomes the owner of its pages', () => {
    const f = pspFixture()
    expect(stateOf(f, RMP_BASE / 4096)).toBe('firmware, 4K, asid 0, gpa 0x0')
    expect(stateOf(f, 0x200)).toBe('hypervisor, 4K')
    expect(stateOf(f, 0x1ff)).toBe('firmware, 4K, asid 0, gpa 0x0')
    expect(f.forgotten[0]).toEqual([0, 2 ** 40])
  })
  it('wants SNP on every processor, no host save area, one RMP, and the IOMMU', () => {
    const status = (change: (f: PspFixture) => void): number => {
      const f = pspFixture({ raw: true })
      change(f)
      return initEx(f)
    }
    expect(status(() => undefined)).toBe(S.SUCCESS)
    expect(status(({ machine }) => { machine.syscfg[1] = 0n })).toBe(S.INVALID_CONFIG)
    expect(status(({ machine }) => { machine.syscfg[1] &= ~SysCfg.mask.MtrrFixDramModEn })).toBe(S.INVALID_CONFIG)
    // SNP without VMPLs.
    expect(status(({ machine }) => { machine.syscfg[0] = 1n << 24n })).toBe(S.INVALID_CONFIG)
    expect(status(({ machine }) => { machine.hsave[1] = 0x1000n })).toBe(S.INVALID_CONFIG)
    expect(status(({ machine }) => { machine.secondEnd = machine.rmpEnd + 0x10_0000n })).toBe(S.INVALID_CONFIG)
    expect(status(({ machine }) => { machine.iommu = false })).toBe(S.INVALID_CONFIG)
    expect(status(({ machine }) => { machine.rmpBase = 0n })).toBe(S.INVALID_CONFIG)
    expect(status(({ machine }) => { machine.rmpBase = 0x10_2000n })).toBe(S.INVALID_ADDRESS)
    expect(status(({ machine }) => { machine.rmpEnd = 0x18_ffffn })).toBe(S.INVALID_ADDRESS)
    expect(status(({ machine }) => { machine.rmpBase = 0x1000_0000n; machine.rmpEnd = 0x100f_ffffn }))
      .toBe(S.RMP_INITIALIZATION_FAILED)
  })
  it('is refused with parameters that it does not know, and twice', () => {
    const f = pspFixture({ raw: true })
    expect(initEx(f, { flags: 0x8000_0000 })).toBe(S.INVALID_PARAM)
    expect(initEx(f, { reserved1: 1 })).toBe(S.INVALID_PARAM)
    expect(initEx(f, { flags: SnpInitExFlags.mask.CIPHERTEXT_HIDING_EN })).toBe(S.UNSUPPORTED)
    expect(initEx(f, { maxSnpAsid: 100 })).toBe(S.INVALID_PARAM)
    expect(initEx(f, { flags: 0 })).toBe(S.RMP_INIT_REQUIRED)
    expect(initEx(f)).toBe(S.SUCCESS)
    expect(initEx(f)).toBe(S.INVALID_PLATFORM_STATE)
    expect(f.run('SNP_INIT')).toBe(S.INVALID_PLATFORM_STATE)
  })
  it('fixes the ranges of its list to the hypervisor', () => {
    const list = (count: number, base: bigint, pageCount: number, reserved = 0): Uint8Array =>
      concat(SnpRangeListHeader.create({ count }), SnpRange.create({ base, pageCount, reserved }))
    const run = (bytes: Uint8Array, listPaddr = 0x9000n): [number, PspFixture] => {
      const f = pspFixture({ raw: true })
      f.memory.write(0x9000, bytes)
      const flags = SnpInitExFlags.pack({ INIT_RMP: 1, LIST_PADDR_EN: 1 })
      return [initEx(f, { flags, listPaddr }), f]
    }
    const [status, f] = run(list(1, 0x30_0000n, 2))
    expect(status).toBe(S.SUCCESS)
    expect([0x2ff, 0x300, 0x301, 0x302].map((page) => stateOf(f, page)))
      .toEqual(['hypervisor, 4K', 'hv-fixed, 4K', 'hv-fixed, 4K', 'hypervisor, 4K'])
    expect(f.assign(0x300, { asid: 1 })).toBe(2)
    // What lies above the RMP's reach is nobody's business.
    expect(run(list(1, 0xfd_0000_0000n, 0xffff_ffff))[0]).toBe(S.SUCCESS)
    expect(run(list(256, 0n, 1))[0]).toBe(S.INVALID_PARAM)
    expect(run(list(1, 0x30_0800n, 1))[0]).toBe(S.INVALID_ADDRESS)
    expect(run(list(1, 0x30_0000n, 1, 1))[0]).toBe(S.INVALID_PARAM)
    expect(run(list(1, 0n, 1), 0x9008n)[0]).toBe(S.INVALID_ADDRESS)
  })
  it('looks at each page of a list once, however often the list names it', () => {
    const f = pspFixture({ raw: true })
    const ranges = Array.from({ length: 255 }, (_, n) =>
      SnpRange.create({ base: BigInt(n % 3) * 0x1000n, pageCount: 0xffff_ffff }))
    f.memory.write(0x9000, concat(SnpRangeListHeader.create({ count: 255 }), ...ranges))
    const looks = vi.spyOn(f.rmp, 'assigned')
    expect(initEx(f, { flags: SnpInitExFlags.pack({ INIT_RMP: 1, LIST_PADDR_EN: 1 }), listPaddr: 0x9000n }))
      .toBe(S.SUCCESS)
    expect(looks.mock.calls.length).toBe(f.rmp.geometry?.segments.reduce((sum, { pages }) => sum + pages, 0))
  })
})

describe('SNP_PLATFORM_STATUS and SNP_FEATURE_INFO', () => {
  it('write only where they may', () => {
    const f = pspFixture({ raw: true })
    const status = (): number => f.run('SNP_PLATFORM_STATUS', SnpAddress.create({ address: 0x30_0000n }))
    expect(status()).toBe(S.SUCCESS)
    expect(SnpPlatformStatus.read(viewOf(f.bytes(0x30_0000, 32)))).toMatchObject({ state: 0, rmp: 0, apiMajor: 1 })
    initialise(f)
    expect(status()).toBe(S.INVALID_PAGE_STATE)
    f.firmwarePage(0x300)
    expect(status()).toBe(S.SUCCESS)
    expect(SnpPlatformStatus.read(viewOf(f.bytes(0x30_0000, 32))))
      .toMatchObject({ state: 1, rmp: 1, guestCount: 0, currentTcb: f.psp.state.currentTcb })
    const info = SnpFeatureInfo.create({ length: 16, featureInfoPaddr: 0x30_0000n })
    expect(f.run('SNP_FEATURE_INFO', info)).toBe(S.SUCCESS)
    expect([...f.bytes(0x30_0000, 16)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])
    expect(f.run('SNP_FEATURE_INFO', SnpFeatureInfo.create({ length: 8 }))).toBe(S.INVALID_LENGTH)
    expect(f.run('SNP_FEATURE_INFO', SnpFeatureInfo.create({ length: 16, ecxIn: 1 }))).toBe(S.INVALID_PARAM)
  })
})

describe('SNP_SHUTDOWN_EX', () => {
  const down = (f: PspFixture, flags = 1): number =>
    f.run('SNP_SHUTDOWN_EX', SnpShutdownEx.create({ length: 8, flags }))
  it('ends guests, and wants their ASIDs flushed first', () => {
    const f = pspFixture()
    startGuest(f)
    expect(down(f)).toBe(S.DFFLUSH_REQUIRED)
    expect(f.run('SNP_DF_FLUSH')).toBe(S.WBINVD_REQUIRED)
    f.psp.wbinvd(0)
    expect(f.run('SNP_DF_FLUSH')).toBe(S.WBINVD_REQUIRED)
    f.psp.wbinvd(1)
    expect(f.run('SNP_DF_FLUSH')).toBe(S.SUCCESS)
    expect(down(f)).toBe(S.SUCCESS)
    expect(f.psp.state.guests.size).toBe(0)
    expect(stateOf(f, CONTEXT)).toMatch(/^firmware/)
    expect(f.run('SNP_DF_FLUSH')).toBe(S.INVALID_PLATFORM_STATE)
    expect(initEx(f, { flags: 0 })).toBe(S.SUCCESS)
  })
  it('turns SNP off when asked to', () => {
    const f = pspFixture()
    expect(down(f, 2)).toBe(S.INVALID_PARAM)
    expect(down(f, 4)).toBe(S.INVALID_PARAM)
    expect(f.run('SNP_SHUTDOWN_EX', SnpShutdownEx.create({ length: 4, flags: 1 }))).toBe(S.INVALID_LENGTH)
    expect(down(f, 3)).toBe(S.SUCCESS)
    expect([f.machine.off, f.rmp.enabled, f.psp.state.rmpInitialised]).toEqual([1, false, false])
    expect(down(f, 1)).toBe(S.SUCCESS)
  })
})

describe('SNP_CONFIG and SNP_COMMIT', () => {
  it('report no TCB above the committed one', () => {
    const f = pspFixture()
    const config = (reportedTcb: bigint, flags = 0): number =>
      f.run('SNP_CONFIG', SnpConfig.create({ reportedTcb, flags }))
    const lower = encodeTcb('Milan', { fmc: 0, bootLoader: 3, tee: 0, snp: 8, microcode: 115 })
    expect(config(lower, 3)).toBe(S.SUCCESS)
    expect(f.psp.state).toMatchObject({ reportedTcb: lower, maskChipId: true, maskChipKey: true })
    expect(config(lower + 0x100n)).toBe(S.INVALID_PARAM)
    expect(config(0n, 4)).toBe(S.INVALID_PARAM)
    expect(config(0n)).toBe(S.SUCCESS)
    expect(f.psp.state.reportedTcb).toBe(f.psp.state.committedTcb)
    expect(f.run('SNP_COMMIT', SnpCommit.create({ length: 4 }))).toBe(S.SUCCESS)
    expect(f.run('SNP_COMMIT', SnpCommit.create({ length: 5 }))).toBe(S.INVALID_LENGTH)
  })
  it('make a commit report what runs, whatever was set before (Linux sev-guest.rst, SNP_COMMIT)', () => {
    const f = pspFixture()
    const reportedTcb = encodeTcb('Milan', { fmc: 0, bootLoader: 3, tee: 0, snp: 8, microcode: 115 })
    f.run('SNP_CONFIG', SnpConfig.create({ reportedTcb }))
    expect(f.run('SNP_COMMIT', SnpCommit.create({ length: 4 }))).toBe(S.SUCCESS)
    expect(f.psp.state.reportedTcb).toBe(f.psp.state.currentTcb)
  })
  it('need SNP to be on for a configuration, and for a commit not (Linux, sev_ioctl_do_snp_commit)', () => {
    const f = pspFixture({ raw: true })
    expect(f.run('SNP_CONFIG', SnpConfig.create({}))).toBe(S.INVALID_PLATFORM_STATE)
    expect(f.run('SNP_COMMIT', SnpCommit.create({ length: 4 }))).toBe(S.SUCCESS)
  })
})

describe('SNP_VLEK_LOAD', () => {
  it('takes a hashstick that was wrapped for this chip', () => {
    const f = pspFixture()
    const load = (bytes: Uint8Array, fields: Parameters<typeof SnpVlekLoad.create>[0] = {}): number => {
      f.memory.write(0x9000, bytes)
      return f.run('SNP_VLEK_LOAD', SnpVlekLoad.create({ length: 16, wrappedPaddr: 0x9000n, ...fields }))
    }
    const seed = new Uint8Array(384).fill(7)
    const wrapped = wrapVlek(identity, seed, f.psp.state.committedTcb)
    const other = createSevIdentity(Uint8Array.of(1))
    expect(load(wrapVlek(other, seed, 0n))).toBe(S.BAD_SIGNATURE)
    expect(load(wrapVlek(identity, seed, 0xffn))).toBe(S.BAD_SVN)
    expect(load(wrapped, { length: 8 })).toBe(S.INVALID_LENGTH)
    expect(load(wrapped, { wrappedVersion: 1 })).toBe(S.INVALID_PARAM)
    expect(load(wrapped, { wrappedPaddr: 0x9001n })).toBe(S.INVALID_ADDRESS)
    expect(f.psp.state.vlek).toBeNull()
    expect(load(wrapped)).toBe(S.SUCCESS)
    expect(toHex(f.psp.state.vlek?.seed ?? new Uint8Array())).toBe(toHex(seed))
    expect(() => wrapVlek(identity, new Uint8Array(4), 0n)).toThrow(RangeError)
  })
  /** Loads a VLEK of the committed version. */
  const loadVlek = (f: PspFixture): number => {
    f.memory.write(0x9000, wrapVlek(identity, new Uint8Array(384), f.psp.state.committedTcb))
    return f.run('SNP_VLEK_LOAD', SnpVlekLoad.create({ length: 16, wrappedPaddr: 0x9000n }))
  }
  it('is for SNP that is on, and a shutdown deletes the key', () => {
    expect(loadVlek(pspFixture({ raw: true }))).toBe(S.INVALID_PLATFORM_STATE)
    const f = pspFixture()
    loadVlek(f)
    expect(f.psp.state.vlek).not.toBeNull()
    expect(f.run('SNP_SHUTDOWN')).toBe(S.SUCCESS)
    expect(f.psp.state.vlek).toBeNull()
  })
  it('lasts over a commit that changes nothing, and not over one that changes the reported version', () => {
    const f = pspFixture()
    const commit = (): number => f.run('SNP_COMMIT', SnpCommit.create({ length: 4 }))
    loadVlek(f)
    commit()
    expect(f.psp.state.vlek).not.toBeNull()
    const reportedTcb = encodeTcb('Milan', { fmc: 0, bootLoader: 3, tee: 0, snp: 8, microcode: 115 })
    f.run('SNP_CONFIG', SnpConfig.create({ reportedTcb }))
    commit()
    expect(f.psp.state.vlek).toBeNull()
  })
})

describe('SEV beside SNP', () => {
  it('initialises with its memory region in the right hands', () => {
    const f = pspFixture()
    const init = (fields: Parameters<typeof SevInit.create>[0]): number => f.run('INIT', SevInit.create(fields))
    expect(init({ reserved: 1 })).toBe(S.INVALID_PARAM)
    expect(init({ flags: 2 })).toBe(S.INVALID_PARAM)
    expect(init({ flags: 1, tmrAddress: 0x40_0000n, tmrLength: 4096 })).toBe(S.INVALID_LENGTH)
    expect(init({ flags: 1, tmrAddress: 0x41_0000n, tmrLength: 2 ** 20 })).toBe(S.INVALID_ADDRESS)
    expect(init({ flags: 1, tmrAddress: 0x40_0000n, tmrLength: 2 ** 20 })).toBe(S.INVALID_PAGE_STATE)
    for (let page = 0x400; page < 0x500; page++) f.firmwarePage(page)
    expect(init({ flags: 1, tmrAddress: 0x40_0000n, tmrLength: 2 ** 20 })).toBe(S.SUCCESS)
    expect(init({})).toBe(S.INVALID_PLATFORM_STATE)
    expect(f.run('DF_FLUSH')).toBe(S.SUCCESS)
    expect(f.run('PLATFORM_RESET')).toBe(S.INVALID_PLATFORM_STATE)
    expect(f.run('SHUTDOWN')).toBe(S.SUCCESS)
    expect(f.run('PLATFORM_RESET')).toBe(S.SUCCESS)
  })
  it('tells its status and the chip’s id into pages that it may write', () => {
    const f = pspFixture({ raw: true })
    expect(f.run('PLATFORM_STATUS', new Uint8Array(12))).toBe(S.SUCCESS)
    expect(SevPlatformStatus.read(viewOf(f.after(12)))).toMatchObject({ apiMajor: 1, apiMinor: 55, state: 0 })
    expect(f.run('GET_ID', SevGetId.create({ address: 0x9000n, length: 4 }))).toBe(S.INVALID_LENGTH)
    expect(SevGetId.read(viewOf(f.after(12))).length).toBe(64)
    expect(f.run('GET_ID', SevGetId.create({ address: 0x9000n, length: 64 }))).toBe(S.SUCCESS)
    expect(toHex(f.bytes(0x9000, 64))).toBe(toHex(identity.chipId))
    const ex = SevInitEx.create({ length: 36, nvAddress: 0xa000n, nvLength: 32768 })
    expect(f.run('INIT_EX', ex)).toBe(S.SUCCESS)
    const g = pspFixture()
    expect(g.run('INIT_EX', ex)).toBe(S.INVALID_PAGE_STATE)
    expect(g.run('PLATFORM_STATUS', new Uint8Array(12))).toBe(S.INVALID_PAGE_STATE)
  })
})
