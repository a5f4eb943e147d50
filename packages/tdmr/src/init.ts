/**
 * The host's initialisation of the TDX module, from SEAMLDR.INFO to the last TDH.SYS.TDMR.INIT.
 * Sources: Intel TDX Module 1.5 Base Architecture Specification, "Intel TDX Module Initialization"; Linux
 * arch/x86/virt/vmx/tdx/tdx.c (7.2) and the 2022 series "TDX host kernel support" (v3), whose order this keeps: the
 * loader first, because no CPUID bit tells whether a module is there and an earlier kernel may have used it.
 */
import { Leaf, SeamldrInfo, SYS_CONFIG_DYNAMIC_PAMT } from './abi.ts'
import { buildTdmrs, freePamts, type PamtAllocator, type Tdmr, type TdmrPlan } from './build.ts'
import { configSize, encodeConfig } from './encode.ts'
import { describeTdmrError, type TdmrError } from './errors.ts'
import { createTdxHost, type TdxHost } from './host.ts'
import type { MemoryRegion } from './memory.ts'
import { type MetadataError, type ModuleInfo, readModuleInfo } from './metadata.ts'
import { alignUp, KiB4 } from './ranges.ts'
import {
  call, DEFAULT_RETRIES, describeSeamcallError, type Retries, type Seamcall, type SeamcallError, type TdxRequest,
  type TdxSequence,
} from './seamcall.ts'
import { Status, statusCode } from './status.ts'

/** A logical processor that the firmware enabled. */
export interface Lp {
  readonly id: number
  readonly package: number
  /** Whether the host runs it. All must be: the module counts them. */
  readonly online: boolean
}

/** Memory of the host, for what it shows to the module. */
export interface HostMemory extends PamtAllocator {
  write(address: number, bytes: Uint8Array): void
  read(address: number, length: number): Uint8Array
}

/** What the sequence works on. */
export interface TdxInitOptions {
  readonly lps: readonly Lp[]
  /** IA32_MKTME_KEYID_PARTITIONING: the private KeyIDs. The first is the module's, the others are for guests. */
  readonly keyIds: { readonly first: number; readonly count: number }
  /** All system memory, as memblock has it. */
  readonly memory: readonly MemoryRegion[]
  readonly host: HostMemory
  /** Use dynamic PAMT if the module has it. */
  readonly dynamicPamt?: boolean
  /** The processor has the erratum by which partial writes poison TDX memory (Sapphire and Emerald Rapids). */
  readonly partialWriteErratum?: boolean
  readonly retries?: Retries
}

/** Where initialisation stopped. */
export type TdxInitError =
  | { readonly step: 'keyids'; readonly count: number }
  | { readonly step: 'seamldr'; readonly cause: SeamcallError | 'module-not-loaded' }
  /** The module has been initialised, by this kernel or one before it, and can be only once in its lifetime. */
  | { readonly step: 'second-init'; readonly cause: SeamcallError }
  | { readonly step: 'lp-missing'; readonly lps: readonly number[] }
  | { readonly step: 'sys-init' | 'lp-init' | 'sys-config' | 'key-config' | 'tdmr-init'; readonly cause: SeamcallError }
  | { readonly step: 'metadata'; readonly cause: MetadataError }
  | { readonly step: 'tdmrs'; readonly cause: TdmrError }
  | { readonly step: 'config-memory'; readonly size: number }
  | { readonly step: 'package-missing'; readonly cause: SeamcallError }

/** What was undone after an error, in order. */
export type Cleanup = 'flushed caches' | 'cleared PAMTs' | 'freed PAMTs' | 'freed TDMR_INFO'

/** How initialisation ended. */
export type TdxInitResult =
  | { readonly ok: true; readonly tdx: TdxHost }
  | { readonly ok: false; readonly error: TdxInitError; readonly cleanup: readonly Cleanup[] }

/** The error in words. */
export function describeInitError(e: TdxInitError): string {
  switch (e.step) {
    case 'keyids': return `${e.count} private KeyIDs: the module needs one for itself and guests need one each`
    case 'seamldr':
      return e.cause === 'module-not-loaded'
        ? 'SEAMLDR.INFO: the loader is there, a TDX module is not'
        : describeSeamcallError(e.cause)
    case 'second-init':
      return `${describeSeamcallError(e.cause)}: the module was initialised before, and can be only once until it is ` +
        'loaded again (by the firmware at reset, or by the loader)'
    case 'lp-missing':
      return `LPs ${e.lps.join(', ')} are not online: TDH.SYS.LP.INIT must run on every LP that the firmware enabled`
    case 'sys-config': {
      const { result } = e.cause
      const early = result.kind === 'returned' && statusCode(result.regs.rax) === Status.TDX_SYS_CONFIG_NOT_PENDING
      return describeSeamcallError(e.cause) +
        (early ? ': TDH.SYS.LP.INIT has not run on every LP that the firmware enabled' : '')
    }
    case 'sys-init': case 'lp-init': case 'key-config': case 'tdmr-init':
      return describeSeamcallError(e.cause)
    case 'metadata': return `metadata field ${e.cause.field}: ${e.cause.message}`
    case 'tdmrs': return describeTdmrError(e.cause)
    case 'config-memory': return `no ${e.size} bytes for TDMR_INFO structures`
    case 'package-missing':
      return `${describeSeamcallError(e.cause)}: TDH.SYS.KEY.CONFIG has not run on every package; one has no online LP`
  }
}

const failed = (error: TdxInitError, cleanup: readonly Cleanup[] = []): TdxInitResult => ({ ok: false, error, cleanup })

/** Asks the loader whether a module is there. */
function* checkLoader(lp: number, host: HostMemory, retries: Retries): TdxSequence<TdxInitError | undefined> {
  const address = host.alloc(KiB4, undefined)
  if (address < 0) return { step: 'config-memory', size: KiB4 }
  host.write(address, new Uint8Array(SeamldrInfo.size))
  const got = yield* call(lp, Leaf.seamldrInfo, { rcx: BigInt(address) }, retries)
  const bytes = host.read(address, SeamldrInfo.size)
  host.free(address, KiB4)
  if (!got.ok) return { step: 'seamldr', cause: got.error }
  const ready = SeamldrInfo.get(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 'seamReady')
  return ready === 0 ? { step: 'seamldr', cause: 'module-not-loaded' } : undefined
}

/** TDH.SYS.INIT once, then TDH.SYS.LP.INIT everywhere. */
function* initProcessors(lps: readonly Lp[], retries: Retries): TdxSequence<TdxInitError | undefined> {
  const first = yield* call(lps[0].id, Leaf.tdhSysInit, { rcx: 0n }, retries)
  if (!first.ok) {
    const { result } = first.error
    const code = result.kind === 'returned' ? statusCode(result.regs.rax) : undefined
    const again = code === Status.TDX_SYS_INIT_NOT_PENDING || code === Status.TDX_SYS_SHUTDOWN
    return { step: again ? 'second-init' : 'sys-init', cause: first.error }
  }
  for (const lp of lps) {
    const done = yield* call(lp.id, Leaf.tdhSysLpInit, {}, retries)
    if (!done.ok) return { step: 'lp-init', cause: done.error }
  }
  return undefined
}

/** TDH.SYS.CONFIG with all TDMRs; the structures are needed only for the call. */
function* configure(
  lp: number, plan: TdmrPlan, keyId: number, dynamic: boolean, host: HostMemory, retries: Retries,
): TdxSequence<TdxInitError | undefined> {
  const { maxReservedPerTdmr } = plan.limits
  const size = alignUp(configSize(plan.tdmrs.length, maxReservedPerTdmr), KiB4)
  const address = host.alloc(size, undefined)
  if (address < 0) return { step: 'config-memory', size }
  const { bytes, arrayOffset } = encodeConfig(plan.tdmrs, maxReservedPerTdmr, address)
  host.write(address, bytes)
  const got = yield* call(lp, Leaf.tdhSysConfig, {
    rcx: BigInt(address + arrayOffset),
    rdx: BigInt(plan.tdmrs.length),
    r8: BigInt(keyId) | (dynamic ? SYS_CONFIG_DYNAMIC_PAMT : 0n),
  }, retries)
  host.free(address, size)
  return got.ok ? undefined : { step: 'sys-config', cause: got.error }
}

/** TDH.SYS.KEY.CONFIG on one processor of each package, one after the other. */
function* configureKeys(lps: readonly Lp[], retries: Retries): TdxSequence<TdxInitError | undefined> {
  const done = new Set<number>()
  for (const lp of lps) {
    if (done.has(lp.package)) continue
    done.add(lp.package)
    const got = yield* call(lp.id, Leaf.tdhSysKeyConfig, {}, retries)
    if (!got.ok) return { step: 'key-config', cause: got.error }
  }
  return undefined
}

/** TDH.SYS.TDMR.INIT until RDX, the first address that is not usable yet, has reached the end. */
function* initTdmr(lp: number, tdmr: Tdmr, retries: Retries): TdxSequence<TdxInitError | undefined> {
  for (;;) {
    const got = yield* call(lp, Leaf.tdhSysTdmrInit, { rcx: BigInt(tdmr.start) }, retries)
    if (!got.ok) {
      const { result } = got.error
      const notReady = result.kind === 'returned' && statusCode(result.regs.rax) === Status.TDX_SYS_NOT_READY
      return { step: notReady ? 'package-missing' : 'tdmr-init', cause: got.error }
    }
    if (statusCode(got.regs.rax) === Status.TDX_TDMR_ALREADY_INITIALIZED) return undefined
    if (got.regs.rdx >= BigInt(tdmr.end)) return undefined
  }
}

/** All steps after the metadata is known. */
function* initMemory(
  lps: readonly Lp[], info: ModuleInfo, options: TdxInitOptions, retries: Retries,
): TdxSequence<TdxInitResult> {
  const { host, memory, keyIds } = options
  const bits = options.dynamicPamt === true ? info.dynamicPamtBits : undefined
  const limits = bits === undefined ? info.limits : { ...info.limits, bitmapBits: bits }
  const built = buildTdmrs({ memory, cmrs: info.cmrs, limits, pamts: host })
  if (!built.ok) return failed({ step: 'tdmrs', cause: built.error })
  const plan = built.value
  const config = yield* configure(lps[0].id, plan, keyIds.first, bits !== undefined, host, retries)
  if (config !== undefined) {
    // The module has not touched a PAMT yet: they are ordinary memory.
    freePamts(plan, host)
    return failed(config, config.step === 'config-memory' ? ['freed PAMTs'] : ['freed TDMR_INFO', 'freed PAMTs'])
  }
  // Caches are not coherent between KeyIDs: lines of the PAMTs that are dirty under KeyID 0 must be gone before the
  // module writes to the same memory under its own.
  yield { kind: 'flush-caches', why: 'PAMTs change to the module\'s KeyID' }
  let error = yield* configureKeys(lps, retries)
  for (const tdmr of plan.tdmrs) error ??= yield* initTdmr(lps[0].id, tdmr, retries)
  if (error === undefined) {
    return { ok: true, tdx: createTdxHost({ plan, info, keyIds, lps: lps.map((lp) => lp.id) }) }
  }
  return failed(error, yield* giveBack(plan, options))
}

/** PAMTs that the module may have written to become ordinary memory again. */
function* giveBack(plan: TdmrPlan, options: TdxInitOptions): TdxSequence<Cleanup[]> {
  const cleanup: Cleanup[] = ['freed TDMR_INFO', 'flushed caches']
  yield { kind: 'flush-caches', why: 'PAMTs go back to the host' }
  if (options.partialWriteErratum === true) {
    // An ordinary write of less than a line would poison it; MOVDIR64B writes whole lines.
    for (const r of plan.allocations) yield { kind: 'clear', start: r.start, end: r.end }
    cleanup.push('cleared PAMTs')
  }
  freePamts(plan, options.host)
  cleanup.push('freed PAMTs')
  return cleanup
}

/**
 * The whole sequence as requests, for hosts whose processors take time. {@link initTdx} drives it against a port.
 * After an error the module's lifetime is used up unless the error came before TDH.SYS.INIT: that is how it is.
 */
export function* tdxInitSequence(options: TdxInitOptions): TdxSequence<TdxInitResult> {
  const retries = options.retries ?? DEFAULT_RETRIES
  const { lps, keyIds, host } = options
  if (keyIds.count < 2) return failed({ step: 'keyids', count: keyIds.count })
  // Checked before the module is touched: with an LP missing, TDH.SYS.CONFIG would refuse, and too late.
  const missing = lps.filter((lp) => !lp.online).map((lp) => lp.id)
  if (missing.length > 0 || lps.length === 0) return failed({ step: 'lp-missing', lps: missing })
  const early = (yield* checkLoader(lps[0].id, host, retries)) ?? (yield* initProcessors(lps, retries))
  if (early !== undefined) return failed(early)
  const metadata = yield* readModuleInfo(lps[0].id, retries)
  if (!metadata.ok) return failed({ step: 'metadata', cause: metadata.error })
  return yield* initMemory(lps, metadata.info, options, retries)
}

/** What carries requests out. */
export interface TdxPlatform extends Seamcall {
  /** WBINVD on every online processor. */
  flushCaches(): void
  /** Zeroes with MOVDIR64B. */
  clear(start: number, end: number): void
}

/** Carries a sequence out to its end. */
export function drive<T>(sequence: TdxSequence<T>, platform: TdxPlatform): T {
  const answer = (request: TdxRequest): ReturnType<Seamcall['seamcall']> | undefined => {
    switch (request.kind) {
      case 'seamcall': return platform.seamcall(request.lp, request.rax, request.input)
      case 'flush-caches': platform.flushCaches(); return undefined
      case 'clear': platform.clear(request.start, request.end); return undefined
    }
  }
  let step = sequence.next()
  while (step.done !== true) step = sequence.next(answer(step.value))
  return step.value
}

/** Initialises the TDX module through a port. */
export const initTdx = (options: TdxInitOptions, platform: TdxPlatform): TdxInitResult =>
  drive(tdxInitSequence(options), platform)
