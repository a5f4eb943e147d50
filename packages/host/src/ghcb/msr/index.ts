/**
 * The MSR protocol: what a guest asks by the GHCB MSR alone, before it has a shared page (56421 §2.3.1, table 2). Each
 * function answers the MSR's new value, or undefined for a request that makes no sense: the value then stays.
 */
import {
  GHCB_GPA_NONE, GhcbMsr, GhcbMsrCpuid, GhcbMsrGpa, GhcbMsrHvFeaturesResp, GhcbMsrInfoOnly, GhcbMsrPscReq,
  GhcbMsrPscResp, GhcbMsrRunVmplReq, GhcbMsrRunVmplResp, GhcbMsrSevInfoResp, GhcbMsrTermination, PscOperation,
} from '@cofferdam/spec'
import { changePage } from '../exits/page-state-change.ts'
import { terminationText } from '../termination.ts'
import type { GuestServices, VcpuServices } from '../types.ts'

export interface MsrExit {
  readonly name: string
  /** Bits that the request defines; others must be 0. */
  readonly used: bigint
  serve(value: bigint, guest: GuestServices, vcpu: VcpuServices): bigint | undefined
}

/** Versions of the GHCB protocol that this host speaks: SNP needs 2. */
const VERSION = { min: 1n, max: 2n } as const

/** 002h: protocol versions and the C-bit's position. */
const sevInfo: MsrExit = {
  name: 'sev-info',
  used: GhcbMsrInfoOnly.used,
  serve: (_value, { cBit }) => GhcbMsrSevInfoResp.pack({
    info: BigInt(GhcbMsr.SEV_INFO_RESP), cBit: BigInt(cBit), minVersion: VERSION.min, maxVersion: VERSION.max,
  }),
}

/** 004h: one register of CPUID, subleaf 0. */
const cpuid: MsrExit = {
  name: 'cpuid',
  used: GhcbMsrCpuid.used,
  serve(value, _guest, { cpu }) {
    const leaf = Number(GhcbMsrCpuid.get(value, 'value'))
    const register = GhcbMsrCpuid.get(value, 'register')
    const answer = cpu.cpuid(leaf, 0, 1n)[Number(register)]
    return GhcbMsrCpuid.pack({ info: BigInt(GhcbMsr.CPUID_RESP), register, value: BigInt(answer) })
  },
}

/** 006h: the processor waits for a start-up IPI; bits 63:12 are then not 0. */
const apResetHold: MsrExit = {
  name: 'ap-reset-hold',
  used: GhcbMsrInfoOnly.used,
  serve(_value, _guest, vcpu) {
    vcpu.pause('reset-hold')
    return BigInt(GhcbMsr.AP_RESET_HOLD_RESP)
  },
}

/** 010h: where the host would like the GHCB; it does not mind. */
const preferredGpa: MsrExit = {
  name: 'preferred-gpa',
  used: GhcbMsrInfoOnly.used,
  serve: () => GhcbMsrGpa.pack({ info: BigInt(GhcbMsr.PREFERRED_GPA_RESP), gfn: GHCB_GPA_NONE }),
}

/** 012h: the page that will be the GHCB. It is RAM, and need not be shared yet. */
const registerGpa: MsrExit = {
  name: 'register-gpa',
  used: GhcbMsrGpa.used,
  serve(value, { memory }, vcpu) {
    const gfn = GhcbMsrGpa.get(value, 'gfn')
    const isRam = gfn < 1n << 40n && memory.isRam(Number(gfn))
    if (isRam) vcpu.ghcb = Number(gfn) * 4096
    return GhcbMsrGpa.pack({ info: BigInt(GhcbMsr.REGISTER_GPA_RESP), gfn: isRam ? gfn : GHCB_GPA_NONE })
  },
}

/** 014h: one page of 4 KiB to private or shared. */
const pageStateChange: MsrExit = {
  name: 'page-state-change',
  used: GhcbMsrPscReq.used,
  serve(value, { memory }) {
    const operation = Number(GhcbMsrPscReq.get(value, 'operation'))
    const isKnown = operation === PscOperation.PRIVATE || operation === PscOperation.SHARED
    const page = Number(GhcbMsrPscReq.get(value, 'gfn'))
    const done = isKnown && changePage(memory, page, operation, false) === 'done'
    return GhcbMsrPscResp.pack({ info: BigInt(GhcbMsr.PSC_RESP), errorCode: done ? 0n : 0x8000_0000n })
  },
}

/** 016h: run another VMPL on this processor. */
const runVmpl: MsrExit = {
  name: 'run-vmpl',
  used: GhcbMsrRunVmplReq.used,
  serve(value, guest, vcpu) {
    const vmpl = Number(GhcbMsrRunVmplReq.get(value, 'vmpl'))
    const done = vmpl < 4 && guest.runVmpl(vcpu, vmpl)
    return GhcbMsrRunVmplResp.pack({ info: BigInt(GhcbMsr.RUN_VMPL_RESP), errorCode: done ? 0n : 1n })
  },
}

/** 080h: what the host can do. */
const hvFeatures: MsrExit = {
  name: 'hv-features',
  used: GhcbMsrInfoOnly.used,
  serve: (_value, { features }) => GhcbMsrHvFeaturesResp.pack({ info: BigInt(GhcbMsr.HV_FEATURES_RESP), features }),
}

/** 100h: the guest gives up, and says why. */
const termination: MsrExit = {
  name: 'termination',
  used: GhcbMsrTermination.used,
  serve(value, guest, { index }) {
    const { reasonSet, reason } = GhcbMsrTermination.unpack(value)
    const text = terminationText(Number(reasonSet), Number(reason))
    guest.end({ why: `vCPU ${index}: the guest asked to be terminated: ${text}` })
    return undefined
  },
}

/** Requests by bits 11:0. */
export const MSR_EXITS: ReadonlyMap<number, MsrExit> = new Map([
  [GhcbMsr.SEV_INFO_REQ, sevInfo],
  [GhcbMsr.CPUID_REQ, cpuid],
  [GhcbMsr.AP_RESET_HOLD_REQ, apResetHold],
  [GhcbMsr.PREFERRED_GPA_REQ, preferredGpa],
  [GhcbMsr.REGISTER_GPA_REQ, registerGpa],
  [GhcbMsr.PSC_REQ, pageStateChange],
  [GhcbMsr.RUN_VMPL_REQ, runVmpl],
  [GhcbMsr.HV_FEATURES_REQ, hvFeatures],
  [GhcbMsr.TERMINATION_REQ, termination],
])
