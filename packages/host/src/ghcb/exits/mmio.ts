import { GhcbError } from '@cofferdam/spec'
import type { AccessSize } from '@cofferdam/memory'
import { scratchOf, type GhcbReply, type GhcbRequest } from '../page.ts'
import type { GhcbServer, GuestServices, Malformed, VcpuServices } from '../types.ts'

const PAGE = 4096

/** The next access of an emulated range: as large as alignment and length allow. */
const step = (address: number, left: number): AccessSize =>
  left >= 4 && address % 4 === 0 ? 4 : left >= 2 && address % 2 === 0 ? 2 : 1

function serve(
  request: GhcbRequest, { mmio, memory }: GuestServices, { apic }: VcpuServices, gpa: number, isWrite: boolean,
): GhcbReply | Malformed {
  const length = Number(request.info2)
  if (request.info1 >= 1n << 52n || length < 1 || length > 8) return { error: GhcbError.INVALID_INPUT }
  const scratch = scratchOf(request, gpa, length)
  if (scratch === undefined) return { error: GhcbError.INVALID_SCRATCH_AREA }
  const address = Number(request.info1)
  const pageOf = (at: number): number => Math.floor(at / PAGE)
  if (memory.isRam(pageOf(address)) || memory.isRam(pageOf(address + length - 1))) {
    return { error: GhcbError.INVALID_INPUT }
  }
  // Each processor has its own local APIC at one address.
  const isApic = (at: number): boolean => apic.mode() === 'xapic' && pageOf(at) === apic.baseAddress() / PAGE
  const bytes = scratch.bytes.subarray(0, length)
  for (let done = 0; done < length;) {
    const size = step(address + done, length - done)
    if (isWrite) {
      let value = 0
      for (let i = size - 1; i >= 0; i--) value = value * 256 + bytes[done + i]
      if (isApic(address + done)) apic.mmio.write((address + done) % PAGE, size, value)
      else mmio.write(address + done, size, value)
    } else {
      const at = address + done
      const value = isApic(at) ? apic.mmio.read(at % PAGE, size) : mmio.read(at, size)
      for (let i = 0; i < size; i++) bytes[done + i] = value >>> (8 * i)
    }
    done += size
  }
  return isWrite ? {} : { buffer: { at: scratch.at, bytes } }
}

/** MMIO_READ (8000_0001h): EXITINFO1 is the address, EXITINFO2 the length, the data go to the scratch area. */
export const mmioReadExit: GhcbServer = {
  name: 'mmio-read', serve: (request, guest, vcpu, gpa) => serve(request, guest, vcpu, gpa, false),
}

/** MMIO_WRITE (8000_0002h): the same, from the scratch area. */
export const mmioWriteExit: GhcbServer = {
  name: 'mmio-write', serve: (request, guest, vcpu, gpa) => serve(request, guest, vcpu, gpa, true),
}
