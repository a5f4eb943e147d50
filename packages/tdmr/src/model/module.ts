/**
 * A strict model of what the TDX module and its loader answer while they are being initialised: states, operand
 * checks, statuses, nothing else. For tests and examples; a machine has the real module, or one that runs.
 * Source: intel/tdx-module tdx_1.5, src/vmm_dispatcher (the dispatcher's state check and api_calls/tdh_sys_*.c).
 */
import {
  FEATURES0_DYNAMIC_PAMT, Leaf, Metadata, SeamldrInfo, SYS_CONFIG_DYNAMIC_PAMT, TDMR_INFO_ALIGNMENT,
} from '../abi.ts'
import type { TdmrLimits } from '../build.ts'
import { tdmrInfoStride } from '../encode.ts'
import type { HostMemory, TdxPlatform } from '../init.ts'
import type { Cmr } from '../memory.ts'
import type { SeamcallInput, SeamcallOutput, SeamcallResult } from '../seamcall.ts'
import { Operand, Status } from '../status.ts'
import { checkTdmr, type CheckContext, copyTdmr, type TdmrCopy } from './check.ts'

/** SYS_STATE of the module. */
export type ModuleState = 'SYSINIT_PENDING' | 'SYSINIT_DONE' | 'SYSCONFIG_DONE' | 'SYS_READY' | 'SYS_SHUTDOWN'

/** Options of {@link createModuleModel}. */
export interface ModuleModelOptions {
  /** Every LP that the firmware enabled, by number; and the package it is in. */
  readonly lps: readonly { readonly id: number; readonly package: number }[]
  readonly cmrs: readonly Cmr[]
  readonly limits: TdmrLimits
  /** Bits a page has in the bitmap of dynamic PAMT; left out: the module has no dynamic PAMT. */
  readonly dynamicPamtBits?: number
  readonly keyIds: { readonly first: number; readonly count: number }
  /** log2 of the first address above memory, KeyID bits excluded; default 46. */
  readonly paBits?: number
  /** Bytes that one TDH.SYS.TDMR.INIT initialises; default 4 MiB, as the module does. */
  readonly initStep?: number
  /** Loaded by the firmware; default both. */
  readonly loaded?: 'nothing' | 'loader' | 'both'
  /** LPs that are not in VMX operation. */
  readonly notInVmx?: readonly number[]
  /** The host's memory, where operands are. */
  readonly memory: Pick<HostMemory, 'read' | 'write'>
  /** A status to answer instead of doing anything, for tests of retries and failures. */
  readonly inject?: (lp: number, leaf: bigint, call: number) => bigint | undefined
}

/** The model, as the platform that a host runs on. */
export interface ModuleModel extends TdxPlatform {
  state(): ModuleState
  /** TDMRs that TDH.SYS.CONFIG accepted. */
  tdmrs(): readonly TdmrCopy[]
  /** Leaves in the order of calls, flushes and clears included. */
  readonly log: readonly string[]
  /** What the host did that the interface does not check and hardware would punish. */
  readonly violations: readonly string[]
}

const NOT_CHECKED_FOR_READY: ReadonlySet<bigint> = new Set([
  Leaf.tdhSysRd, Leaf.tdhSysInit, Leaf.tdhSysLpInit, Leaf.tdhSysConfig, Leaf.tdhSysKeyConfig,
])

interface Progress {
  readonly tdmr: TdmrCopy
  next: bigint
}

/** Creates a module that nobody has initialised. */
export function createModuleModel(options: ModuleModelOptions): ModuleModel {
  const { lps, keyIds, initStep = 4 * 2 ** 20 } = options
  const paLimit = 1n << BigInt(options.paBits ?? 46)
  const log: string[] = []
  const violations: string[] = []
  const initialised = new Set<number>()
  const packages = new Set<number>()
  const allPackages = new Set(lps.map((lp) => lp.package))
  let state: ModuleState = 'SYSINIT_PENDING'
  let progress: Progress[] = []
  let flushed = false
  let calls = 0

  const regs = (rax: bigint, more: Partial<SeamcallOutput> = {}): SeamcallOutput =>
    ({ rcx: 0n, rdx: 0n, r8: 0n, ...more, rax })
  const operand = (id: bigint): SeamcallOutput => regs(Status.TDX_OPERAND_INVALID | id)

  const fields = new Map<bigint, bigint>([
    [Metadata.majorVersion, 1n], [Metadata.minorVersion, 5n], [Metadata.updateVersion, 6n],
    [Metadata.tdxFeatures0, options.dynamicPamtBits === undefined ? 0n : FEATURES0_DYNAMIC_PAMT],
    [Metadata.maxTdmrs, BigInt(options.limits.maxTdmrs)],
    [Metadata.maxReservedPerTdmr, BigInt(options.limits.maxReservedPerTdmr)],
    [Metadata.pamt4kEntrySize, BigInt(options.limits.entrySize.size4k)],
    [Metadata.pamt2mEntrySize, BigInt(options.limits.entrySize.size2m)],
    [Metadata.pamt1gEntrySize, BigInt(options.limits.entrySize.size1g)],
    [Metadata.numCmrs, BigInt(options.cmrs.length)],
    ...options.cmrs.flatMap((c, i): [bigint, bigint][] => [
      [Metadata.cmrBase + BigInt(i), BigInt(c.base)], [Metadata.cmrSize + BigInt(i), BigInt(c.size)],
    ]),
  ])
  if (options.dynamicPamtBits !== undefined) {
    fields.set(Metadata.pamtPageBitmapEntryBits, BigInt(options.dynamicPamtBits))
  }

  const sysInit = (rcx: bigint): SeamcallOutput => {
    if (rcx !== 0n) return operand(Operand.rcx)
    if (state !== 'SYSINIT_PENDING') return regs(Status.TDX_SYS_INIT_NOT_PENDING)
    const ordered = options.cmrs.every((c, i) =>
      c.base % 4096 === 0 && c.size % 4096 === 0 && BigInt(c.base + c.size) <= paLimit &&
      (i === 0 || c.base >= options.cmrs[i - 1].base + options.cmrs[i - 1].size))
    if (!ordered) return regs(Status.TDX_CMR_LIST_INVALID)
    state = 'SYSINIT_DONE'
    return regs(Status.TDX_SUCCESS)
  }

  const lpInit = (lp: number): SeamcallOutput => {
    if (state !== 'SYSINIT_DONE') return regs(Status.TDX_SYS_LP_INIT_NOT_PENDING)
    if (initialised.has(lp)) return regs(Status.TDX_SYS_LP_INIT_DONE)
    initialised.add(lp)
    return regs(Status.TDX_SUCCESS)
  }

  const sysRd = (lp: number, id: bigint): SeamcallOutput => {
    if (!initialised.has(lp)) return regs(Status.TDX_SYS_LP_INIT_NOT_DONE)
    const value = fields.get(id)
    if (value === undefined) return regs(Status.TDX_METADATA_FIELD_ID_INCORRECT)
    return regs(Status.TDX_SUCCESS, { rdx: id, r8: value })
  }

  const u64s = (address: bigint, count: number): bigint[] => {
    const bytes = options.memory.read(Number(address), count * 8)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    return Array.from({ length: count }, (_, i) => view.getBigUint64(i * 8, true))
  }

  const sharedAddress = (pa: bigint): boolean => pa % BigInt(TDMR_INFO_ALIGNMENT) === 0n && pa < paLimit

  const sysConfig = ({ rcx = 0n, rdx = 0n, r8 = 0n }: SeamcallInput): SeamcallOutput => {
    if (state !== 'SYSINIT_DONE' || initialised.size < lps.length) return regs(Status.TDX_SYS_CONFIG_NOT_PENDING)
    if (!sharedAddress(rcx)) return operand(Operand.rcx)
    if (rdx < 1n || rdx > BigInt(options.limits.maxTdmrs)) return operand(Operand.rdx)
    const dynamic = (r8 & SYS_CONFIG_DYNAMIC_PAMT) !== 0n
    if (dynamic && options.dynamicPamtBits === undefined) return operand(Operand.r8)
    const keyId = r8 & ~(dynamic ? SYS_CONFIG_DYNAMIC_PAMT : 0n)
    if (keyId < BigInt(keyIds.first) || keyId >= BigInt(keyIds.first + keyIds.count)) return operand(Operand.r8)
    const limits = { ...options.limits, bitmapBits: dynamic ? options.dynamicPamtBits : undefined }
    const context: CheckContext = { cmrs: options.cmrs, limits, paLimit }
    const copies: TdmrCopy[] = []
    for (const pa of u64s(rcx, Number(rdx))) {
      if (!sharedAddress(pa)) return operand(Operand.rcx)
      const bytes = options.memory.read(Number(pa), tdmrInfoStride(limits.maxReservedPerTdmr))
      copies.push(copyTdmr(bytes, limits.maxReservedPerTdmr))
      const status = checkTdmr(copies, context)
      if (status !== Status.TDX_SUCCESS) return regs(status)
    }
    progress = copies.map((tdmr) => ({ tdmr, next: tdmr.base }))
    state = 'SYSCONFIG_DONE'
    flushed = false
    return regs(Status.TDX_SUCCESS)
  }

  const keyConfig = (lp: number): SeamcallOutput => {
    if (state !== 'SYSCONFIG_DONE') return regs(Status.TDX_SYS_KEY_CONFIG_NOT_PENDING)
    const at = lps.find((x) => x.id === lp)?.package ?? 0
    if (packages.has(at)) return regs(Status.TDX_KEY_CONFIGURED)
    packages.add(at)
    if (packages.size === allPackages.size) state = 'SYS_READY'
    return regs(Status.TDX_SUCCESS)
  }

  const tdmrInit = (rcx: bigint): SeamcallOutput => {
    const found = progress.find((p) => p.tdmr.base === rcx)
    if (found === undefined) return operand(Operand.rcx)
    const end = found.tdmr.base + found.tdmr.size
    if (found.next >= end) return regs(Status.TDX_TDMR_ALREADY_INITIALIZED)
    if (!flushed) violations.push('TDH.SYS.TDMR.INIT writes PAMTs that may be dirty in caches under another KeyID')
    flushed = true
    found.next += BigInt(initStep)
    if (found.next > end) found.next = end
    return regs(Status.TDX_SUCCESS, { rdx: found.next - (found.next % 0x4000_0000n) })
  }

  const pageRdmd = (rcx: bigint): SeamcallOutput => {
    if (rcx % 4096n !== 0n || rcx >= paLimit) return operand(Operand.rcx)
    const found = progress.find((p) => rcx >= p.tdmr.base && rcx < p.next)
    if (found === undefined) return regs(Status.TDX_OPERAND_ADDR_RANGE_ERROR | Operand.rcx)
    const offset = rcx - found.tdmr.base
    const reserved = found.tdmr.reserved.some((r) => offset >= r.offset && offset < r.offset + r.size)
    return regs(Status.TDX_SUCCESS, { rcx: reserved ? 1n : 0n })
  }

  const seamldrInfo = (rcx: bigint): SeamcallOutput => {
    if (rcx % BigInt(SeamldrInfo.size) !== 0n || rcx >= paLimit) return operand(Operand.rcx)
    options.memory.write(Number(rcx), SeamldrInfo.create({
      version: 0, vendorId: 0x8086, majorVersion: 1, minorVersion: 5, pSeamReady: 1,
      seamReady: options.loaded === 'loader' ? 0 : 1,
    }))
    return regs(Status.TDX_SUCCESS)
  }

  const dispatch = (lp: number, leaf: bigint, input: SeamcallInput): SeamcallOutput => {
    if (leaf === Leaf.seamldrInfo) return seamldrInfo(input.rcx ?? 0n)
    if (state === 'SYS_SHUTDOWN') return regs(Status.TDX_SYS_SHUTDOWN)
    if (state !== 'SYS_READY' && !NOT_CHECKED_FOR_READY.has(leaf)) return regs(Status.TDX_SYS_NOT_READY)
    switch (leaf) {
      case Leaf.tdhSysInit: return sysInit(input.rcx ?? 0n)
      case Leaf.tdhSysLpInit: return lpInit(lp)
      case Leaf.tdhSysRd: return sysRd(lp, input.rdx ?? 0n)
      case Leaf.tdhSysConfig: return sysConfig(input)
      case Leaf.tdhSysKeyConfig: return keyConfig(lp)
      case Leaf.tdhSysTdmrInit: return tdmrInit(input.rcx ?? 0n)
      case Leaf.tdhPhymemPageRdmd: return pageRdmd(input.rcx ?? 0n)
      default: return operand(Operand.rax)
    }
  }

  return {
    log, violations,
    state: () => state,
    tdmrs: () => progress.map((p) => p.tdmr),
    flushCaches() {
      log.push('flush')
      flushed = true
    },
    clear(start, end) {
      log.push(`clear 0x${start.toString(16)} 0x${end.toString(16)}`)
    },
    seamcall(lp, leaf, input): SeamcallResult {
      log.push(`${leaf} @${lp}`)
      if (options.notInVmx?.includes(lp) === true) return { kind: 'fault', vector: '#UD' }
      const loaded = options.loaded ?? 'both'
      if (loaded === 'nothing' || (loaded === 'loader' && leaf !== Leaf.seamldrInfo)) return { kind: 'vmfail-invalid' }
      const injected = options.inject?.(lp, leaf, calls++)
      return { kind: 'returned', regs: injected === undefined ? dispatch(lp, leaf, input) : regs(injected) }
    },
  }
}
