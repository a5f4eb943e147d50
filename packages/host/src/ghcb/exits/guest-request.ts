import { GhcbError, GuestMessageHeader, GuestMessageType, GuestRequestVmmError } from '@cofferdam/spec'
import type { GhcbReply, GhcbRequest } from '../page.ts'
import type { GhcbServer, GuestServices, Malformed } from '../types.ts'

const PAGE = 4096

/** Pages of the request and of its answer; undefined when one is not shared memory, or both are one. */
function pagesOf({ info1, info2 }: GhcbRequest): { request: number, response: number } | undefined {
  if (((info1 | info2) & 0xfffn) !== 0n || info1 === info2 || (info1 | info2) >= 1n << 52n) return undefined
  return { request: Number(info1), response: Number(info2) }
}

/** SW_EXITINFO2 of an answered request: the hypervisor's error above, the firmware's below. */
const status = (vmm: number, firmware: number): bigint => BigInt(vmm) << 32n | BigInt(firmware >>> 0)

/** Has the PSP answer a copy of the guest's page. */
function forward(guest: GuestServices, pages: { request: number, response: number }): GhcbReply | Malformed {
  const { request, response } = pages
  const page = new Uint8Array(PAGE)
  if (!guest.memory.read(request, page) || !guest.memory.isShared(response / PAGE)) {
    return { error: GhcbError.INVALID_INPUT }
  }
  const { firmware, response: answer } = guest.guestRequest(page)
  if (!guest.memory.write(response, answer)) return { error: GhcbError.INVALID_INPUT }
  return { info2: status(0, firmware) }
}

/** GUEST_REQUEST (8000_0011h): a message for the PSP, and room for its answer (56421 §4.1.7). */
export const guestRequestExit: GhcbServer = {
  name: 'guest-request',
  serve(request, guest) {
    const pages = pagesOf(request)
    return pages === undefined ? { error: GhcbError.INVALID_INPUT } : forward(guest, pages)
  },
}

/**
 * EXT_GUEST_REQUEST (8000_0012h): the same, and for a report the host's certificates, to RBX pages at RAX (56421
 * §4.1.8). When they are too few, RBX says how many it takes and nothing else is done.
 */
export const extendedGuestRequestExit: GhcbServer = {
  name: 'extended-guest-request',
  serve(request, guest) {
    const pages = pagesOf(request)
    if (pages === undefined) return { error: GhcbError.INVALID_INPUT }
    const type = new Uint8Array(1)
    if (!guest.memory.read(pages.request + GuestMessageHeader.offset.messageType, type)) {
      return { error: GhcbError.INVALID_INPUT }
    }
    if (type[0] !== GuestMessageType.REPORT_REQ) return forward(guest, pages)
    const rax = request.page.peek('rax')
    const rbx = request.page.peek('rbx')
    if ((rax & 0xfffn) !== 0n || rax >= 1n << 52n) return { error: GhcbError.INVALID_INPUT }
    const certificates = guest.certificates()
    const needed = BigInt(Math.ceil(certificates.length / PAGE))
    if (rbx < needed) return { registers: { rbx: needed }, info2: status(GuestRequestVmmError.INVALID_LENGTH, 0) }
    // An empty table is one entry of zeroes.
    const table = certificates.length > 0 ? certificates : new Uint8Array(24)
    if (rbx > 0n && !guest.memory.write(Number(rax), table)) return { error: GhcbError.INVALID_INPUT }
    return forward(guest, pages)
  },
}
