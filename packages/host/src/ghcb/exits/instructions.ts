import { exception, generalProtection, type GhcbServer } from '../types.ts'

/** Instructions of which a host has nothing to do: caches are coherent here, and MWAIT may come back at once. */
const nothing = (name: string): GhcbServer => ({ name, serve: () => ({}) })

/** WBINVD (89h), on the processor that runs the guest. */
export const wbinvdExit = nothing('wbinvd')
/** INVD (76h) must not lose the host's data: it is WBINVD. */
export const invdExit = nothing('invd')
/** MONITOR (8Ah) and MWAIT (8Bh). */
export const monitorExit = nothing('monitor')
export const mwaitExit = nothing('mwait')

/** The first of four performance counters. */
const PERF_CTR0 = 0xc001_0004
const LOW = 0xffff_ffffn

/** RDPMC (6Fh): RCX names a counter. They exist, as on every AMD64 processor, and count nothing. */
export const rdpmcExit: GhcbServer = {
  name: 'rdpmc',
  serve({ page }, _guest, { cpu }) {
    const counter = page.peek('rcx') & LOW
    const value = counter < 4n ? cpu.readMsr(PERF_CTR0 + Number(counter)) : undefined
    return value === undefined ? generalProtection() : { registers: { rax: value & LOW, rdx: value >> 32n & LOW } }
  },
}

/** VMMCALL (81h): this host has no hypercalls. */
export const vmmcallExit: GhcbServer = { name: 'vmmcall', serve: () => exception(6) }

/** MOV from DR7 (27h). */
export const readDr7Exit: GhcbServer = {
  name: 'read-dr7',
  serve: (_request, _guest, { dr7 }) => ({ registers: { rax: dr7 } }),
}

/** MOV to DR7 (37h). Breakpoints of such guests work only with debug swap; the value is kept. */
export const writeDr7Exit: GhcbServer = {
  name: 'write-dr7',
  serve({ page }, _guest, vcpu) {
    vcpu.dr7 = page.peek('rax')
    return {}
  },
}

/** NMI_COMPLETE (8000_0003h): the guest has handled an NMI and takes the next one. */
export const nmiCompleteExit: GhcbServer = {
  name: 'nmi-complete',
  serve(_request, _guest, vcpu) {
    vcpu.nmiDone()
    return {}
  },
}
