/**
 * The MSR protocol: what a guest asks by the GHCB MSR alone, and the answers (AMD 56421 §2.3.1). Decoding names the
 * bits that a request's code does not define: hypervisors ignore them, a guest that sets them has a bug.
 */
import {
  GHCB_GPA_NONE, GhcbMsr, GhcbMsrApResetHoldResp, GhcbMsrCpuid, GhcbMsrGpa, GhcbMsrHvFeaturesResp, GhcbMsrInfoOnly,
  GhcbMsrPscReq, GhcbMsrPscResp, GhcbMsrRunVmplReq, GhcbMsrRunVmplResp, GhcbMsrSevInfoResp, GhcbMsrTermination,
} from '@cofferdam/spec'

/** What the guest asks with VMGEXIT. Frame numbers are guest physical addresses / 4096. */
export type GhcbMsrRequest =
  /** No MSR protocol: the MSR holds the address of a GHCB page. */
  | { readonly kind: 'ghcb'; readonly gpa: bigint }
  | { readonly kind: 'sev-info' }
  | { readonly kind: 'cpuid'; readonly leaf: number; readonly register: number }
  | { readonly kind: 'ap-reset-hold' }
  | { readonly kind: 'preferred-gpa' }
  | { readonly kind: 'register-gpa'; readonly gfn: bigint }
  | { readonly kind: 'page-state'; readonly gfn: bigint; readonly operation: number }
  | { readonly kind: 'run-vmpl'; readonly vmpl: number }
  | { readonly kind: 'hv-features' }
  | { readonly kind: 'termination'; readonly reasonSet: number; readonly reason: number }

/** What the hypervisor answers. */
export type GhcbMsrResponse =
  | { readonly kind: 'sev-info'; readonly minVersion: number; readonly maxVersion: number; readonly cBit: number }
  | { readonly kind: 'cpuid'; readonly register: number; readonly value: number }
  /** Not 0 when the processor was started. */
  | { readonly kind: 'ap-reset-hold'; readonly value: bigint }
  /** null: no preference. */
  | { readonly kind: 'preferred-gpa'; readonly gfn: bigint | null }
  /** null: refused. */
  | { readonly kind: 'register-gpa'; readonly gfn: bigint | null }
  /** 0: done. */
  | { readonly kind: 'page-state'; readonly errorCode: number }
  | { readonly kind: 'run-vmpl'; readonly errorCode: number }
  | { readonly kind: 'hv-features'; readonly features: bigint }

/** A value of the GHCB MSR, taken apart. */
export interface DecodedGhcbMsr<T> {
  /** null: bits 11:0 are no code of the protocol. */
  readonly message: T | null
  /** Bits 11:0. */
  readonly info: number
  /** Bits that are set although the code does not define them. */
  readonly undefinedBits: bigint
}

/** Takes the value that a guest wrote before VMGEXIT apart. */
export function decodeGhcbMsrRequest(value: bigint): DecodedGhcbMsr<GhcbMsrRequest> {
  const info = Number(value & 0xfffn)
  const decoded = (message: GhcbMsrRequest | null, used: bigint): DecodedGhcbMsr<GhcbMsrRequest> =>
    ({ message, info, undefinedBits: value & ~used })
  switch (info) {
    case 0: return decoded({ kind: 'ghcb', gpa: value }, value)
    case GhcbMsr.SEV_INFO_REQ: return decoded({ kind: 'sev-info' }, GhcbMsrInfoOnly.used)
    case GhcbMsr.CPUID_REQ: {
      const { register, value: leaf } = GhcbMsrCpuid.unpack(value)
      return decoded({ kind: 'cpuid', leaf: Number(leaf), register: Number(register) }, GhcbMsrCpuid.used)
    }
    case GhcbMsr.AP_RESET_HOLD_REQ: return decoded({ kind: 'ap-reset-hold' }, GhcbMsrInfoOnly.used)
    case GhcbMsr.PREFERRED_GPA_REQ: return decoded({ kind: 'preferred-gpa' }, GhcbMsrInfoOnly.used)
    case GhcbMsr.REGISTER_GPA_REQ:
      return decoded({ kind: 'register-gpa', gfn: GhcbMsrGpa.get(value, 'gfn') }, GhcbMsrGpa.used)
    case GhcbMsr.PSC_REQ: {
      const { gfn, operation } = GhcbMsrPscReq.unpack(value)
      return decoded({ kind: 'page-state', gfn, operation: Number(operation) }, GhcbMsrPscReq.used)
    }
    case GhcbMsr.RUN_VMPL_REQ:
      return decoded({ kind: 'run-vmpl', vmpl: Number(GhcbMsrRunVmplReq.get(value, 'vmpl')) }, GhcbMsrRunVmplReq.used)
    case GhcbMsr.HV_FEATURES_REQ: return decoded({ kind: 'hv-features' }, GhcbMsrInfoOnly.used)
    case GhcbMsr.TERMINATION_REQ: {
      const { reasonSet, reason } = GhcbMsrTermination.unpack(value)
      const message = { kind: 'termination', reasonSet: Number(reasonSet), reason: Number(reason) } as const
      return decoded(message, GhcbMsrTermination.used)
    }
    default: return { message: null, info, undefinedBits: 0n }
  }
}

/** The value that a guest writes to ask. @throws RangeError when a field does not fit. */
export function encodeGhcbMsrRequest(request: GhcbMsrRequest): bigint {
  switch (request.kind) {
    case 'ghcb': return request.gpa
    case 'sev-info': return BigInt(GhcbMsr.SEV_INFO_REQ)
    case 'cpuid':
      return GhcbMsrCpuid.pack({
        info: BigInt(GhcbMsr.CPUID_REQ), register: BigInt(request.register), value: BigInt(request.leaf),
      })
    case 'ap-reset-hold': return BigInt(GhcbMsr.AP_RESET_HOLD_REQ)
    case 'preferred-gpa': return BigInt(GhcbMsr.PREFERRED_GPA_REQ)
    case 'register-gpa': return GhcbMsrGpa.pack({ info: BigInt(GhcbMsr.REGISTER_GPA_REQ), gfn: request.gfn })
    case 'page-state':
      return GhcbMsrPscReq.pack({
        info: BigInt(GhcbMsr.PSC_REQ), gfn: request.gfn, operation: BigInt(request.operation),
      })
    case 'run-vmpl':
      return GhcbMsrRunVmplReq.pack({ info: BigInt(GhcbMsr.RUN_VMPL_REQ), vmpl: BigInt(request.vmpl) })
    case 'hv-features': return BigInt(GhcbMsr.HV_FEATURES_REQ)
    case 'termination':
      return GhcbMsrTermination.pack({
        info: BigInt(GhcbMsr.TERMINATION_REQ), reasonSet: BigInt(request.reasonSet), reason: BigInt(request.reason),
      })
  }
}

/** The value that a hypervisor leaves in the MSR. @throws RangeError when a field does not fit. */
export function encodeGhcbMsrResponse(response: GhcbMsrResponse): bigint {
  switch (response.kind) {
    case 'sev-info':
      return GhcbMsrSevInfoResp.pack({
        info: BigInt(GhcbMsr.SEV_INFO_RESP), cBit: BigInt(response.cBit), minVersion: BigInt(response.minVersion),
        maxVersion: BigInt(response.maxVersion),
      })
    case 'cpuid':
      return GhcbMsrCpuid.pack({
        info: BigInt(GhcbMsr.CPUID_RESP), register: BigInt(response.register), value: BigInt(response.value),
      })
    case 'ap-reset-hold':
      return GhcbMsrApResetHoldResp.pack({ info: BigInt(GhcbMsr.AP_RESET_HOLD_RESP), value: response.value })
    case 'preferred-gpa':
      return GhcbMsrGpa.pack({ info: BigInt(GhcbMsr.PREFERRED_GPA_RESP), gfn: response.gfn ?? GHCB_GPA_NONE })
    case 'register-gpa':
      return GhcbMsrGpa.pack({ info: BigInt(GhcbMsr.REGISTER_GPA_RESP), gfn: response.gfn ?? GHCB_GPA_NONE })
    case 'page-state':
      return GhcbMsrPscResp.pack({ info: BigInt(GhcbMsr.PSC_RESP), errorCode: BigInt(response.errorCode) })
    case 'run-vmpl':
      return GhcbMsrRunVmplResp.pack({ info: BigInt(GhcbMsr.RUN_VMPL_RESP), errorCode: BigInt(response.errorCode) })
    case 'hv-features':
      return GhcbMsrHvFeaturesResp.pack({ info: BigInt(GhcbMsr.HV_FEATURES_RESP), features: response.features })
  }
}

/** Takes an answer apart, as a guest does. */
export function decodeGhcbMsrResponse(value: bigint): DecodedGhcbMsr<GhcbMsrResponse> {
  const info = Number(value & 0xfffn)
  const decoded = (message: GhcbMsrResponse | null, used: bigint): DecodedGhcbMsr<GhcbMsrResponse> =>
    ({ message, info, undefinedBits: value & ~used })
  const gfn = GhcbMsrGpa.get(value, 'gfn')
  const some = gfn === GHCB_GPA_NONE ? null : gfn
  switch (info) {
    case GhcbMsr.SEV_INFO_RESP: {
      const { cBit, minVersion, maxVersion } = GhcbMsrSevInfoResp.unpack(value)
      return decoded({
        kind: 'sev-info', cBit: Number(cBit), minVersion: Number(minVersion), maxVersion: Number(maxVersion),
      }, GhcbMsrSevInfoResp.used)
    }
    case GhcbMsr.CPUID_RESP: {
      const { register, value: result } = GhcbMsrCpuid.unpack(value)
      return decoded({ kind: 'cpuid', register: Number(register), value: Number(result) }, GhcbMsrCpuid.used)
    }
    case GhcbMsr.AP_RESET_HOLD_RESP:
      return decoded({ kind: 'ap-reset-hold', value: GhcbMsrApResetHoldResp.get(value, 'value') },
        GhcbMsrApResetHoldResp.used)
    case GhcbMsr.PREFERRED_GPA_RESP: return decoded({ kind: 'preferred-gpa', gfn: some }, GhcbMsrGpa.used)
    case GhcbMsr.REGISTER_GPA_RESP: return decoded({ kind: 'register-gpa', gfn: some }, GhcbMsrGpa.used)
    case GhcbMsr.PSC_RESP:
      return decoded({ kind: 'page-state', errorCode: Number(GhcbMsrPscResp.get(value, 'errorCode')) },
        GhcbMsrPscResp.used)
    case GhcbMsr.RUN_VMPL_RESP:
      return decoded({ kind: 'run-vmpl', errorCode: Number(GhcbMsrRunVmplResp.get(value, 'errorCode')) },
        GhcbMsrRunVmplResp.used)
    case GhcbMsr.HV_FEATURES_RESP:
      return decoded({ kind: 'hv-features', features: GhcbMsrHvFeaturesResp.get(value, 'features') },
        GhcbMsrHvFeaturesResp.used)
    default: return { message: null, info, undefinedBits: 0n }
  }
}
