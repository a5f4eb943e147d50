/** Requests of guests in words, for logs, traces and findings. */
import { ApCreationInfo, ApCreationRequest, IoioInfo, PscOperation, SvmExit, VmgExit } from '@cofferdam/spec'
import { GHCB_EXITS } from './exits.ts'
import { decodeGhcbMsrRequest } from './msr-protocol.ts'
import type { GhcbMsrRequest } from './msr-protocol.ts'
import type { GhcbPage } from './page.ts'
import { readPscEntry, readPscHeader } from './psc.ts'
import { terminationText } from './termination.ts'

const hex = (value: bigint | number): string => `0x${value.toString(16)}`
const REGISTERS = ['EAX', 'EBX', 'ECX', 'EDX']

/** The name of a page state operation. */
export function pscOperationName(operation: number): string {
  const found = Object.entries(PscOperation).find(([, value]) => value === operation)
  return found === undefined ? `operation ${operation}` : found[0].toLowerCase()
}

function describeMessage(request: GhcbMsrRequest): string {
  switch (request.kind) {
    case 'ghcb': return `GHCB at ${hex(request.gpa)}`
    case 'sev-info': return 'SEV information'
    case 'cpuid': return `CPUID ${hex(request.leaf)} ${REGISTERS[request.register]}`
    case 'ap-reset-hold': return 'AP reset hold'
    case 'preferred-gpa': return 'preferred GHCB address'
    case 'register-gpa': return `register the GHCB at ${hex(request.gfn << 12n)}`
    case 'page-state': return `make ${hex(request.gfn << 12n)} ${pscOperationName(request.operation)}`
    case 'run-vmpl': return `run VMPL${request.vmpl}`
    case 'hv-features': return 'hypervisor features'
    case 'termination': return terminationText(request.reasonSet, request.reason)
  }
}

/** A value of the GHCB MSR at VMGEXIT, in words. */
export function describeGhcbMsr(value: bigint): string {
  const { message, info, undefinedBits } = decodeGhcbMsrRequest(value)
  const text = message === null ? `no request has code ${hex(info)}` : describeMessage(message)
  return undefinedBits === 0n ? text : `${text} (with undefined bits ${hex(undefinedBits)})`
}

function describeIoio(page: GhcbPage): string {
  const info = IoioInfo.unpack(Number(page.peek('swExitInfo1') & 0xffff_ffffn))
  const size = info.SZ8 !== 0 ? 8 : info.SZ16 !== 0 ? 16 : 32
  const what = `${info.REP !== 0 ? 'REP ' : ''}${info.IN !== 0 ? 'IN' : 'OUT'}${info.STR !== 0 ? 'S' : ''}`
  const value = info.IN === 0 && info.STR === 0 ? ` value ${hex(page.peek('rax'))}` : ''
  return `${what} ${size} bits port ${hex(info.port)}${value}`
}

function describeApCreation(page: GhcbPage): string {
  const { request, vmpl, apicId } = ApCreationInfo.unpack(page.peek('swExitInfo1'))
  const destroy = Number(request) === ApCreationRequest.DESTROY
  const vmsa = destroy ? '' : ` from the VMSA at ${hex(page.peek('swExitInfo2'))}`
  return `${destroy ? 'destroy' : 'create'} the processor with APIC id ${apicId} at VMPL${vmpl}${vmsa}`
}

function describePsc(page: GhcbPage): string {
  const buffer = page.bytes.subarray(0x800)
  const { current, end } = readPscHeader(buffer)
  if (end >= 253) return `entries ${current} to ${end}, more than there can be`
  const first = readPscEntry(buffer, Math.min(current, end))
  const size = first.large ? '2 MiB' : '4 KiB'
  return `entries ${current} to ${end}, first ${hex(first.gfn << 12n)} (${size}) ${pscOperationName(first.operation)}`
}

/** The request in a GHCB page, in words. */
export function describeGhcb(page: GhcbPage): string {
  const code = Number(page.peek('swExitCode') & 0xffff_ffffn)
  const name = GHCB_EXITS.get(code)?.name ?? `exit ${hex(page.peek('swExitCode'))}`
  const info1 = page.peek('swExitInfo1')
  switch (code) {
    case SvmExit.IOIO: return `${name}: ${describeIoio(page)}`
    case SvmExit.CPUID: return `${name}: leaf ${hex(page.peek('rax'))} subleaf ${hex(page.peek('rcx'))}`
    case SvmExit.MSR: return `${name}: ${info1 === 0n ? 'read' : 'write'} ${hex(page.peek('rcx'))}`
    case VmgExit.MMIO_READ:
    case VmgExit.MMIO_WRITE: return `${name}: ${page.peek('swExitInfo2')} bytes at ${hex(info1)}`
    case VmgExit.PAGE_STATE_CHANGE: return `${name}: ${describePsc(page)}`
    case VmgExit.AP_CREATION: return `${name}: ${describeApCreation(page)}`
    case VmgExit.TERMINATION: return terminationText(Number(info1 & 0xfn), Number((info1 >> 4n) & 0xffn))
    default: return name
  }
}
