/** Serves the call that a guest's processor left for: its calling area, its registers, the table of protocols. */
import { RmpStatus, SevFeatures, SvmExit, SvsmCallId, SvsmCallingArea, SvsmResult, Vmsa } from '@cofferdam/spec'
import { refuse, type SvsmAnswer, type SvsmState } from './call.ts'
import { viewOf } from './memory.ts'
import { isFault, type SvsmProcessor } from './processor.ts'
import { FAIL_NO_CHANGE } from './protocols/core/pvalidate.ts'
import type { GuestVcpu } from './vcpus.ts'

/** What was asked for, and with which result. */
export interface ServedCall {
  readonly name: string
  readonly code: number
}

const REGISTERS = ['rcx', 'rdx', 'r8'] as const

/**
 * What registers in a VMSA are turned round with: the nonce, where its features say so (APM vol. 2, VMSA register
 * protection).
 */
function nonceOf(vmsa: DataView): bigint {
  const isProtected = (Vmsa.get(vmsa, 'sevFeatures') & SevFeatures.mask.VmsaRegProt) !== 0n
  return isProtected ? Vmsa.get(vmsa, 'regProtNonce') : 0n
}

/** Serves a call by its id and registers. */
function dispatch(
  vcpu: GuestVcpu, vmsa: DataView, svsm: SvsmState, processor: SvsmProcessor,
): ServedCall & SvsmAnswer {
  const nonce = nonceOf(vmsa)
  const register = (name: 'rax' | (typeof REGISTERS)[number]): bigint => Vmsa.get(vmsa, name) ^ nonce
  const { protocol, call } = SvsmCallId.unpack(register('rax'))
  const table = svsm.protocols.get(Number(protocol))
  if (table === undefined || table.offered?.(svsm) === false) {
    return { name: table?.name ?? `protocol-${protocol}`, ...refuse('UNSUPPORTED_PROTOCOL') }
  }
  const server = table.calls.get(Number(call))
  if (server === undefined) return { name: `${table.name}.${call}`, ...refuse('UNSUPPORTED_CALL') }
  const answer = server.serve({
    rcx: register('rcx'), rdx: register('rdx'), r8: register('r8'), features: Vmsa.get(vmsa, 'sevFeatures'),
    vcpu,
  }, svsm, processor)
  return { name: `${table.name}.${server.name}`, ...answer }
}

/** A copy of the VMSA, if a call waits behind it: the call is the caller's no more. */
function takeCall(vcpu: GuestVcpu, processor: SvsmProcessor): DataView | null {
  const page = new Uint8Array(Vmsa.size)
  if (isFault(processor.load(vcpu.vmsa, page))) return null
  const vmsa = viewOf(page)
  if (Vmsa.get(vmsa, 'guestExitCode') !== BigInt(SvmExit.VMGEXIT)) return null
  const pending = processor.exchange(vcpu.callingArea + SvsmCallingArea.offset.callPending, 0)
  return isFault(pending) || pending === 0 ? null : vmsa
}

/**
 * Serves a processor's call, if it made one (58019 §5): it left by VMGEXIT, and SVSM_CALL_PENDING is set, which is
 * taken away first. A host may run the SVSM whenever it likes: then there is nothing to do. Answers null then.
 */
export function serveCall(svsm: SvsmState, processor: SvsmProcessor): ServedCall | null {
  for (const vcpu of svsm.vcpus.of(processor.apicId)) {
    const vmsa = takeCall(vcpu, processor)
    if (vmsa !== null) return serve(vcpu, vmsa, svsm, processor)
  }
  return null
}

/** Serves a call and leaves the results in the caller's registers. */
function serve(vcpu: GuestVcpu, vmsa: DataView, svsm: SvsmState, processor: SvsmProcessor): ServedCall {
  const { name, code, ...answer } = dispatch(vcpu, vmsa, svsm, processor)
  const word = (field: 'rax' | (typeof REGISTERS)[number], value: bigint): void => {
    const bytes = new Uint8Array(8)
    viewOf(bytes).setBigUint64(0, value ^ nonceOf(vmsa), true)
    processor.store(vcpu.vmsa + Vmsa.offset[field], bytes)
  }
  word('rax', BigInt(code))
  for (const register of REGISTERS) {
    const value = answer[register]
    if (value !== undefined) word(register, value)
  }
  return { name, code }
}

const nameIn = (codes: Readonly<Record<string, number>>, code: number): string | undefined =>
  Object.keys(codes).find((name) => codes[name] === code)

/** A result's name; those of a protocol are what PVALIDATE or RMPADJUST said (58019 §6.1). */
export function resultName(code: number): string {
  const own = code - SvsmResult.PROTOCOL_BASE
  if (own <= 0) return nameIn(SvsmResult, code) ?? `0x${code.toString(16)}`
  return nameIn({ ...RmpStatus, FAIL_NO_CHANGE }, own) ?? `PROTOCOL_BASE+${own}`
}
