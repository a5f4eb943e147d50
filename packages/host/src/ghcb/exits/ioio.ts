import { GhcbError, IoioInfo } from '@cofferdam/spec'
import type { AccessSize, IoBus } from '@cofferdam/memory'
import { scratchOf, type GhcbReply, type GhcbRequest } from '../page.ts'
import type { GhcbServer, Malformed } from '../types.ts'

/** Bytes of one access by EXITINFO1's size bits; undefined unless exactly one is set. */
function sizeOf(info: number): AccessSize | undefined {
  const bits = info & (IoioInfo.mask.SZ8 | IoioInfo.mask.SZ16 | IoioInfo.mask.SZ32)
  if (bits === IoioInfo.mask.SZ8) return 1
  if (bits === IoioInfo.mask.SZ16) return 2
  return bits === IoioInfo.mask.SZ32 ? 4 : undefined
}

/** Repeated accesses from or to the scratch area; EXITINFO2 counts them (56421 §4.1.2). */
function stringIo(
  request: GhcbRequest, ports: IoBus, gpa: number, port: number, size: AccessSize, isInput: boolean,
): GhcbReply | Malformed {
  if (request.info2 > 4096n) return { error: GhcbError.INVALID_INPUT }
  const count = Number(request.info2)
  const scratch = scratchOf(request, gpa, count * size)
  if (scratch === undefined) return { error: GhcbError.INVALID_SCRATCH_AREA }
  const bytes = scratch.bytes.subarray(0, count * size)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let i = 0; i < count; i++) {
    const offset = i * size
    if (isInput) {
      const value = ports.read(port, size)
      if (size === 1) view.setUint8(offset, value)
      else if (size === 2) view.setUint16(offset, value, true)
      else view.setUint32(offset, value, true)
    } else {
      const value = size === 1 ? view.getUint8(offset)
        : size === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true)
      ports.write(port, size, value)
    }
  }
  return isInput ? { buffer: { at: scratch.at, bytes } } : {}
}

/** IN, OUT, INS, OUTS (7Bh): EXITINFO1 as in the VMCB; RAX is the value, strings go through the scratch area. */
export const ioioExit: GhcbServer = {
  name: 'ioio',
  serve(request, { ports }, _vcpu, gpa) {
    const info = Number(request.info1 & 0xffff_ffffn)
    const size = sizeOf(info)
    if (size === undefined || request.info1 >> 32n !== 0n) return { error: GhcbError.INVALID_INPUT }
    const port = IoioInfo.get(info, 'port')
    const isInput = (info & IoioInfo.mask.IN) !== 0
    if ((info & IoioInfo.mask.STR) !== 0) return stringIo(request, ports, gpa, port, size, isInput)
    if (isInput) return { registers: { rax: BigInt(ports.read(port, size)) } }
    ports.write(port, size, Number(BigInt.asUintN(8 * size, request.page.peek('rax'))))
    return {}
  },
}
