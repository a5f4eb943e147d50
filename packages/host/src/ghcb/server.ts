/** Serves VMGEXIT: the MSR protocol, or the GHCB page that the MSR names (56421 §2 and §4). */
import { GhcbAnswer, GhcbError } from '@cofferdam/spec'
import { GHCB_EXITS } from './exits/index.ts'
import { MSR_EXITS } from './msr/index.ts'
import { answerGhcb, readGhcb, type GhcbReply, type GhcbRequest } from './page.ts'
import type { GuestServices, Malformed, VcpuServices } from './types.ts'

/** What was served, for statistics, traces and findings. */
export interface ServedExit {
  /** `msr:cpuid`, `ioio`, … */
  readonly name: string
  /** The GHCB MSR's new value, when it changes. */
  readonly msr?: bigint
  /** What was wrong with the request. */
  readonly malformed?: string
}

const MALFORMED: Readonly<Record<number, string>> = {
  [GhcbError.NOT_REGISTERED]: 'the GHCB page is not registered',
  [GhcbError.INVALID_USAGE]: 'the GHCB usage is not known',
  [GhcbError.INVALID_SCRATCH_AREA]: 'the scratch area is missing or not in the shared buffer',
  [GhcbError.MISSING_INPUT]: 'a field that the exit needs is not valid',
  [GhcbError.INVALID_INPUT]: 'a field has a value that makes no sense',
  [GhcbError.INVALID_EVENT]: 'the exit code is not served',
}

const malformedReply = (error: number): GhcbReply =>
  ({ info1: BigInt(GhcbAnswer.MALFORMED_INPUT), info2: BigInt(error) })

/** A request by the MSR alone. Bits that it does not define are noted and, as hosts do, otherwise ignored. */
function serveMsr(value: bigint, guest: GuestServices, vcpu: VcpuServices): ServedExit {
  const exit = MSR_EXITS.get(Number(value & 0xfffn))
  if (exit === undefined) {
    return { name: 'msr:unknown', malformed: `MSR protocol request 0x${(value & 0xfffn).toString(16)} is not known` }
  }
  const name = `msr:${exit.name}`
  const undefinedBits = value & ~exit.used
  return {
    name, msr: exit.serve(value & exit.used, guest, vcpu),
    ...(undefinedBits !== 0n && {
      malformed: `MSR protocol request with undefined bits 0x${undefinedBits.toString(16)}`,
    }),
  }
}

/** Serves a request that was read; answers its name and the reply. */
function dispatch(
  request: GhcbRequest, guest: GuestServices, vcpu: VcpuServices, gpa: number,
): { readonly name: string, readonly reply: GhcbReply | Malformed } {
  const exit = GHCB_EXITS.get(request.code)
  if (exit === undefined) {
    return { name: `code-${request.code.toString(16)}`, reply: { error: GhcbError.INVALID_EVENT } }
  }
  const isMissing = (exit.needs ?? []).some((register) => request.registers[register] === undefined)
  const reply = isMissing ? { error: GhcbError.MISSING_INPUT } : exit.serve(request, guest, vcpu, gpa)
  return { name: exit.name, reply }
}

/** A request through the page at `gpa`. */
function servePage(gpa: number, guest: GuestServices, vcpu: VcpuServices): ServedExit {
  const request = readGhcb(guest.memory, gpa)
  // Nothing can be answered through a page that is not shared.
  if (request === undefined) {
    return { name: 'ghcb', malformed: `the GHCB at 0x${gpa.toString(16)} is not shared memory` }
  }
  const { name, reply } = 'error' in request ? { name: 'ghcb', reply: request }
    : vcpu.ghcb === gpa ? dispatch(request, guest, vcpu, gpa)
      : { name: 'ghcb', reply: { error: GhcbError.NOT_REGISTERED } }
  if (!('error' in reply)) {
    answerGhcb(guest.memory, gpa, reply)
    return { name }
  }
  answerGhcb(guest.memory, gpa, malformedReply(reply.error))
  return { name, malformed: MALFORMED[reply.error] }
}

/** Serves a VMGEXIT with the GHCB MSR's value. */
export function serveVmgexit(value: bigint, guest: GuestServices, vcpu: VcpuServices): ServedExit {
  if ((value & 0xfffn) !== 0n) return serveMsr(value, guest, vcpu)
  if (value === 0n || value >= 1n << 52n) return { name: 'ghcb', malformed: 'the GHCB MSR names no page' }
  return servePage(Number(value), guest, vcpu)
}
