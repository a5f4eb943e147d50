/**
 * TDH.SYS.CONFIG's checks of TDMR_INFO structures, in the module's order, each with the module's status.
 * Source: intel/tdx-module tdx_1.5, src/vmm_dispatcher/api_calls/tdh_sys_config.c. Values are bigint here: a caller
 * may write anything into memory, and the checks must not lose bits of it.
 */
import { TdmrInfo, TdmrReservedArea } from '../abi.ts'
import type { TdmrLimits } from '../build.ts'
import type { Cmr } from '../memory.ts'
import { Status } from '../status.ts'

const SIZE_4K = 0x1000n
const SIZE_2M = 0x20_0000n
const SIZE_1G = 0x4000_0000n
const LIMIT = 1n << 64n

interface Span {
  readonly base: bigint
  readonly size: bigint
}

/** A TDMR_INFO as the module copies it: once, from memory that the host may change meanwhile. */
export interface TdmrCopy extends Span {
  /** By page size: 4 KiB, 2 MiB, 1 GiB. */
  readonly pamts: readonly [Span, Span, Span]
  readonly reserved: readonly { readonly offset: bigint; readonly size: bigint }[]
}

/** What the checks depend on. */
export interface CheckContext {
  readonly cmrs: readonly Cmr[]
  readonly limits: TdmrLimits
  /** First address above physical memory: KeyID bits of an address are above. */
  readonly paLimit: bigint
}

/** Reads a TDMR_INFO. */
export function copyTdmr(bytes: Uint8Array, maxReserved: number): TdmrCopy {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const t = TdmrInfo.read(view)
  return {
    base: t.base, size: t.size,
    pamts: [
      { base: t.pamt4kBase, size: t.pamt4kSize }, { base: t.pamt2mBase, size: t.pamt2mSize },
      { base: t.pamt1gBase, size: t.pamt1gSize },
    ],
    reserved: Array.from({ length: maxReserved }, (_, i) =>
      TdmrReservedArea.read(view, TdmrInfo.size + i * TdmrReservedArea.size)),
  }
}

const aligned = (x: bigint, unit: bigint): boolean => x % unit === 0n
const overlaps = (a: Span, b: Span): boolean => a.base < b.base + b.size && b.base < a.base + a.size
/** A status with up to three numbers in its low bytes. */
const info = (status: bigint, a: number, b = 0, c = 0): bigint =>
  status | BigInt(a) | (BigInt(b) << 8n) | (BigInt(c) << 16n)

/** Parts of a TDMR that are not reserved. */
function available(t: TdmrCopy): Span[] {
  const out: Span[] = []
  let at = t.base
  for (const r of t.reserved) {
    if (r.size === 0n) break
    if (t.base + r.offset > at) out.push({ base: at, size: t.base + r.offset - at })
    at = t.base + r.offset + r.size
  }
  if (at < t.base + t.size) out.push({ base: at, size: t.base + t.size - at })
  return out
}

function inCmrs(cmrs: readonly Cmr[], s: Span): boolean {
  let start = 0n
  let end = 0n
  for (const c of cmrs) {
    // CMRs that touch count as one.
    if (BigInt(c.base) !== end) start = BigInt(c.base)
    end = BigInt(c.base + c.size)
    if (s.base >= start && s.base + s.size <= end) return true
  }
  return false
}

function checkArea(t: TdmrCopy, i: number, { paLimit }: CheckContext): bigint {
  const good = aligned(t.base, SIZE_1G) && aligned(t.size, SIZE_1G) && t.size > 0n && t.base + t.size <= paLimit
  return good ? Status.TDX_SUCCESS : info(Status.TDX_INVALID_TDMR, i)
}

function checkReserved(t: TdmrCopy, i: number): bigint {
  for (const [j, r] of t.reserved.entries()) {
    if (r.size === 0n) {
      const later = t.reserved[j + 1]
      if (later !== undefined && later.size !== 0n) return info(Status.TDX_NON_ORDERED_RESERVED_IN_TDMR, i, j)
      continue
    }
    if (r.offset + r.size >= LIMIT) return info(Status.TDX_INVALID_RESERVED_IN_TDMR, i, j)
    const before = t.reserved[j - 1]
    if (before !== undefined && r.offset < before.offset + before.size) {
      return info(Status.TDX_NON_ORDERED_RESERVED_IN_TDMR, i, j)
    }
    const fits = aligned(r.offset, SIZE_4K) && aligned(r.size, SIZE_4K) && r.offset + r.size <= t.size
    if (!fits) return info(Status.TDX_INVALID_RESERVED_IN_TDMR, i, j)
  }
  return Status.TDX_SUCCESS
}

/** Bytes that each PAMT must have. */
function pamtMinimum(t: TdmrCopy, { limits }: CheckContext): readonly [bigint, bigint, bigint] {
  const { entrySize, bitmapBits } = limits
  const pages = t.size / SIZE_4K
  return [
    bitmapBits === undefined ? pages * BigInt(entrySize.size4k) : (pages * BigInt(bitmapBits) + 7n) / 8n,
    (t.size / SIZE_2M) * BigInt(entrySize.size2m), (t.size / SIZE_1G) * BigInt(entrySize.size1g),
  ]
}

function checkPamtSizes(t: TdmrCopy, i: number, context: CheckContext): bigint {
  const minimum = pamtMinimum(t, context)
  for (const level of [2, 1, 0] as const) {
    const p = t.pamts[level]
    const good = aligned(p.base, SIZE_4K) && aligned(p.size, SIZE_4K) && p.base + p.size <= context.paLimit &&
      p.size >= minimum[level]
    if (!good) return info(Status.TDX_INVALID_PAMT, i, level)
  }
  return Status.TDX_SUCCESS
}

function checkPamtOverlaps(all: readonly TdmrCopy[], i: number): bigint {
  const { pamts } = all[i]
  for (let j = 0; j < i; j++) {
    for (const [level, p] of pamts.entries()) {
      if (all[j].pamts.some((other) => overlaps(p, other))) return info(Status.TDX_PAMT_OVERLAP, i, level, j)
    }
  }
  for (const [a, b] of [[0, 1], [0, 2], [1, 2]] as const) {
    if (overlaps(pamts[a], pamts[b])) return info(Status.TDX_PAMT_OVERLAP, i, a, i)
  }
  for (let j = 0; j <= i; j++) {
    for (const [x, y] of j < i ? [[i, j], [j, i]] : [[i, i]]) {
      const free = available(all[y])
      for (const [level, p] of all[x].pamts.entries()) {
        if (free.some((a) => overlaps(p, a))) return info(Status.TDX_PAMT_OVERLAP, x, level, y)
      }
    }
  }
  return Status.TDX_SUCCESS
}

/** Checks the last of `all`, the others having passed. TDX_SUCCESS, or what the module would say. */
export function checkTdmr(all: readonly TdmrCopy[], context: CheckContext): bigint {
  const i = all.length - 1
  const t = all[i]
  if (t.base + t.size >= LIMIT) return info(Status.TDX_INVALID_TDMR, i)
  const before = all[i - 1]
  if (before !== undefined && t.base < before.base + before.size) return info(Status.TDX_NON_ORDERED_TDMR, i)
  const steps = [
    () => checkArea(t, i, context),
    () => checkReserved(t, i),
    () => checkPamtSizes(t, i, context),
    () => checkPamtOverlaps(all, i),
  ]
  for (const step of steps) {
    const status = step()
    if (status !== Status.TDX_SUCCESS) return status
  }
  for (const level of [2, 1, 0] as const) {
    if (!inCmrs(context.cmrs, t.pamts[level])) return info(Status.TDX_PAMT_OUTSIDE_CMRS, i, level)
  }
  const outside = available(t).some((a) => !inCmrs(context.cmrs, a))
  return outside ? info(Status.TDX_TDMR_OUTSIDE_CMRS, i) : Status.TDX_SUCCESS
}
