/** Serves VMGEXIT: the MSR protocol, or the GHCB page that the MSR names (56421 §2 and §4). */
import {
  decodeGhcbMsrRequest, encodeGhcbMsrResponse, GHCB_EXITS, ghcbExposed, ghcbPage, type GhcbFact, type GhcbPage,
} from '@cofferdam/sev'
import { Ghcb, GhcbAnswer, GhcbError } from '@cofferdam/spec'
import { hex } from '../errors.ts'
import { GHCB_SERVERS } from './exits/index.ts'
import { serveMsrRequest } from './msr/index.ts'
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
  [GhcbError.INVALID_SCRATCH_AREA]: 'the scratch area is missing or not in the shared buffer',
  [GhcbError.MISSING_INPUT]: 'a field that the exit needs is not valid',
  [GhcbError.INVALID_INPUT]: 'a field has a value that makes no sense',
  [GhcbError.INVALID_EVENT]: 'the exit is not served',
}

/** A request by the MSR alone. Bits that it does not define are noted and, as hosts do, otherwise ignored. */
function serveMsr(value: bigint, guest: GuestServices, vcpu: VcpuServices): ServedExit {
  const { message, info, undefinedBits } = decodeGhcbMsrRequest(value)
  const known = message !== null && message.kind !== 'ghcb'
  if (!known || undefinedBits !== 0n) {
    guest.fact(vcpu.index, { kind: 'msr-request', value, code: info, known, undefinedBits })
  }
  if (message === null || message.kind === 'ghcb') {
    return { name: 'msr:unknown', malformed: `MSR protocol request ${hex(info)} is not known` }
  }
  const answer = serveMsrRequest(message, guest, vcpu)
  return {
    name: `msr:${message.kind}`, ...(answer !== undefined && { msr: encodeGhcbMsrResponse(answer) }),
    ...(undefinedBits !== 0n && { malformed: `MSR protocol request with undefined bits ${hex(undefinedBits)}` }),
  }
}

/** Serves a request that was read; answers its name and the reply. */
function dispatch(
  request: GhcbRequest, guest: GuestServices, vcpu: VcpuServices, gpa: number,
): { readonly name: string, readonly reply: GhcbReply | Malformed } {
  const server = GHCB_SERVERS.get(request.code)
  if (server === undefined) return { name: `code-${hex(request.code)}`, reply: { error: GhcbError.INVALID_EVENT } }
  return { name: server.name, reply: server.serve(request, guest, vcpu, gpa) }
}

/** A request through the page at `gpa`. */
function servePage(gpa: number, copy: GhcbPage, guest: GuestServices, vcpu: VcpuServices): ServedExit {
  const request = readGhcb(guest.memory, gpa, copy)
  const tell = (problem: GhcbFact['problem'], text: string): void => {
    guest.fact(vcpu.index, { kind: 'ghcb', problem, gpa: BigInt(gpa), text })
  }
  // Nothing can be answered through a page that is not shared.
  if (request === undefined) {
    const malformed = `the GHCB at ${hex(gpa)} is not shared memory`
    tell('private', malformed)
    return { name: 'ghcb', malformed }
  }
  const refuse = (name: string, error: number, malformed: string): ServedExit => {
    tell(error === GhcbError.NOT_REGISTERED ? 'unregistered' : 'malformed', `${name}: ${malformed}`)
    answerGhcb(guest.memory, gpa, copy, { info1: BigInt(GhcbAnswer.MALFORMED_INPUT), info2: BigInt(error) })
    return { name, malformed }
  }
  if (vcpu.ghcb !== gpa) {
    const registered = vcpu.ghcb < 0 ? 'no page' : hex(vcpu.ghcb)
    return refuse('ghcb', GhcbError.NOT_REGISTERED, `${MALFORMED[GhcbError.NOT_REGISTERED]}, ${registered} is`)
  }
  if ('error' in request) return refuse('ghcb', request.error, request.text)
  const registers = ghcbExposed(copy)
  if (registers.length > 0) {
    const exit = GHCB_EXITS.get(request.code)?.name ?? ''
    guest.fact(vcpu.index, { kind: 'ghcb-exposed', gpa: BigInt(gpa), exit, registers })
  }
  const { name, reply } = dispatch(request, guest, vcpu, gpa)
  if ('error' in reply) return refuse(name, reply.error, MALFORMED[reply.error])
  answerGhcb(guest.memory, gpa, copy, reply)
  return { name }
}

/** Serves the requests of one guest. */
export interface VmgexitServer {
  /** A VMGEXIT with the GHCB MSR's value. */
  serve(value: bigint, vcpu: VcpuServices): ServedExit
}

/** Serves VMGEXIT by GHCB and by the MSR protocol; a GHCB is copied once, and only the copy is looked at. */
export function createVmgexitServer(guest: GuestServices): VmgexitServer {
  const copy = ghcbPage(new Uint8Array(Ghcb.size))
  return {
    serve(value, vcpu) {
      if ((value & 0xfffn) !== 0n) return serveMsr(value, guest, vcpu)
      if (value === 0n || value >= 1n << 52n) return { name: 'ghcb', malformed: 'the GHCB MSR names no page' }
      return servePage(Number(value), copy, guest, vcpu)
    },
  }
}
