/** TDMR_INFO structures as they lie in memory, and the array that names them. */
import { TDMR_INFO_ALIGNMENT, TdmrInfo, TdmrReservedArea } from './abi.ts'
import type { Tdmr } from './build.ts'
import { alignUp, type Range } from './ranges.ts'

/** Bytes from one TDMR_INFO to the next in an array of them. */
export const tdmrInfoStride = (maxReserved: number): number =>
  alignUp(TdmrInfo.size + maxReserved * TdmrReservedArea.size, TDMR_INFO_ALIGNMENT)

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const size = (r: Range): bigint => BigInt(r.end - r.start)

/** One TDMR as a TDMR_INFO with room for `maxReserved` reserved areas. */
export function encodeTdmr(tdmr: Tdmr, maxReserved: number): Uint8Array {
  const bytes = new Uint8Array(tdmrInfoStride(maxReserved))
  const to = view(bytes)
  TdmrInfo.write(to, {
    base: BigInt(tdmr.start), size: size(tdmr),
    pamt1gBase: BigInt(tdmr.pamt1g.start), pamt1gSize: size(tdmr.pamt1g),
    pamt2mBase: BigInt(tdmr.pamt2m.start), pamt2mSize: size(tdmr.pamt2m),
    pamt4kBase: BigInt(tdmr.pamt4k.start), pamt4kSize: size(tdmr.pamt4k),
  })
  tdmr.reserved.forEach((r, i) => {
    const at = TdmrInfo.size + i * TdmrReservedArea.size
    TdmrReservedArea.write(to, { offset: BigInt(r.start - tdmr.start), size: size(r) }, at)
  })
  return bytes
}

/** What TDH.SYS.CONFIG is given: bytes to put at `address`, which is aligned to 512. */
export interface ConfigBuffer {
  readonly bytes: Uint8Array
  /** Where in the bytes the array of addresses begins; the structures are before it. */
  readonly arrayOffset: number
}

/** Bytes that {@link encodeConfig} will take. */
export function configSize(count: number, maxReserved: number): number {
  return alignUp(count * tdmrInfoStride(maxReserved), TDMR_INFO_ALIGNMENT) + alignUp(count * 8, TDMR_INFO_ALIGNMENT)
}

/** All TDMR_INFO structures and the array of their addresses, to lie at `address`. */
export function encodeConfig(tdmrs: readonly Tdmr[], maxReserved: number, address: number): ConfigBuffer {
  const stride = tdmrInfoStride(maxReserved)
  const bytes = new Uint8Array(configSize(tdmrs.length, maxReserved))
  const arrayOffset = tdmrs.length * stride
  const to = view(bytes)
  tdmrs.forEach((tdmr, i) => {
    bytes.set(encodeTdmr(tdmr, maxReserved), i * stride)
    to.setBigUint64(arrayOffset + i * 8, BigInt(address + i * stride), true)
  })
  return { bytes, arrayOffset }
}
