/**
 * The MSR protocol: what a guest asks by the GHCB MSR alone, before it has a shared page (56421 §2.3.1, table 2). Each
 * function answers what the MSR says afterwards, or undefined when it stays as it is.
 */
import type { GhcbMsrRequest, GhcbMsrResponse } from '@cofferdam/sev'
import { PscOperation } from '@cofferdam/spec'
import { changePage, tellChange } from '../exits/page-state-change.ts'
import { terminationText } from '../termination.ts'
import type { GuestServices, VcpuServices } from '../types.ts'

type Kind = Exclude<GhcbMsrRequest['kind'], 'ghcb'>
type Request<K extends Kind> = Extract<GhcbMsrRequest, { kind: K }>
type Serve<K extends Kind> = (
  request: Request<K>, guest: GuestServices, vcpu: VcpuServices,
) => GhcbMsrResponse | undefined

/** Versions of the GHCB protocol that this host speaks: SNP needs 2. */
const VERSION = { minVersion: 1, maxVersion: 2 } as const

/** 002h: protocol versions and the C-bit's position. */
const sevInfo: Serve<'sev-info'> = (_request, { cBit }) => ({ kind: 'sev-info', ...VERSION, cBit })

/** 004h: one register of CPUID, subleaf 0. */
const cpuid: Serve<'cpuid'> = ({ leaf, register }, guest, { cpu, index }) => {
  guest.fact(index, { kind: 'cpuid', leaf, subleaf: 0, inTable: guest.inCpuidPage(leaf) })
  return { kind: 'cpuid', register, value: cpu.cpuid(leaf, 0, 1n)[register] }
}

/** 006h: the processor waits for a start-up IPI; bits 63:12 are then not 0. */
const apResetHold: Serve<'ap-reset-hold'> = (_request, _guest, vcpu) => {
  vcpu.pause('reset-hold')
  return { kind: 'ap-reset-hold', value: 1n }
}

/** 010h: where the host would like the GHCB; it does not mind. */
const preferredGpa: Serve<'preferred-gpa'> = () => ({ kind: 'preferred-gpa', gfn: null })

/** 012h: the page that will be the GHCB. It is RAM, and need not be shared yet. */
const registerGpa: Serve<'register-gpa'> = ({ gfn }, { memory }, vcpu) => {
  const isRam = gfn < 1n << 40n && memory.isRam(Number(gfn))
  if (isRam) vcpu.ghcb = Number(gfn) * 4096
  return { kind: 'register-gpa', gfn: isRam ? gfn : null }
}

/** The answer to a page state change that failed: bits 63:32 are not 0. */
const PSC_FAILED = 0x8000_0000

/** 014h: one page of 4 KiB to private or shared. */
const pageState: Serve<'page-state'> = ({ gfn, operation }, guest, { index }) => {
  const isKnown = operation === PscOperation.PRIVATE || operation === PscOperation.SHARED
  const done = isKnown && changePage(guest.memory, Number(gfn), operation, false) === 'done'
  tellChange(guest, index, { gfn, operation, pages: 1 }, done ? 'done' : 'failed')
  return { kind: 'page-state', errorCode: done ? 0 : PSC_FAILED }
}

/** 016h: run another VMPL on this processor. */
const runVmpl: Serve<'run-vmpl'> = ({ vmpl }, guest, vcpu) =>
  ({ kind: 'run-vmpl', errorCode: vmpl < 4 && guest.runVmpl(vcpu, vmpl) ? 0 : 1 })

/** 080h: what the host can do. */
const hvFeatures: Serve<'hv-features'> = (_request, { features }) => ({ kind: 'hv-features', features })

/** 100h: the guest gives up, and says why. */
const termination: Serve<'termination'> = ({ reasonSet, reason }, guest, { index }) => {
  guest.end({ why: `vCPU ${index}: ${terminationText(reasonSet, reason)}` })
  return undefined
}

const MSR_EXITS: { readonly [K in Kind]: Serve<K> } = {
  'sev-info': sevInfo, cpuid, 'ap-reset-hold': apResetHold, 'preferred-gpa': preferredGpa,
  'register-gpa': registerGpa, 'page-state': pageState, 'run-vmpl': runVmpl, 'hv-features': hvFeatures, termination,
}

type AnyRequest = Request<Kind>

/** Serves a request of the MSR protocol. */
export function serveMsrRequest(
  request: AnyRequest, guest: GuestServices, vcpu: VcpuServices,
): GhcbMsrResponse | undefined {
  // Each function takes its own kind of request, which is what the table is indexed by.
  const serve = MSR_EXITS[request.kind] as (r: AnyRequest, g: GuestServices, v: VcpuServices) => ReturnType<Serve<Kind>>
  return serve(request, guest, vcpu)
}
