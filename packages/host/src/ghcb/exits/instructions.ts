import { exception, generalProtection, type GhcbExit } from '../types.ts'

/** Instructions of which a host has nothing to do: caches are coherent here, and MWAIT may come back at once. */
const nothing = (name: string): GhcbExit => ({ name, serve: () => ({}) })

/** WBINVD (89h), on the processor that runs the guest. */
export const wbinvdExit = nothing('wbinvd')
/** INVD (76h) must not lose the host's data: it is WBINVD. */
export const invdExit = nothing('invd')
/** MONITOR (8Ah) and MWAIT (8Bh). */
export const monitorExit = nothing('monitor')
export const mwaitExit = nothing('mwait')

/** RDPMC (6Fh): there are no counters. */
export const rdpmcExit: GhcbExit = { name: 'rdpmc', needs: ['rcx'], serve: generalProtection }

/** VMMCALL (81h): this host has no hypercalls. */
export const vmmcallExit: GhcbExit = { name: 'vmmcall', needs: ['rax', 'cpl'], serve: () => exception(6) }

/** MOV from DR7 (27h). */
export const readDr7Exit: GhcbExit = {
  name: 'read-dr7',
  serve: (_request, _guest, { dr7 }) => ({ registers: { rax: dr7 } }),
}

/** MOV to DR7 (37h). Breakpoints of such guests work only with debug swap; the value is kept. */
export const writeDr7Exit: GhcbExit = {
  name: 'write-dr7',
  needs: ['rax'],
  serve({ registers }, _guest, vcpu) {
    vcpu.dr7 = registers.rax ?? 0n
    return {}
  },
}

/** NMI_COMPLETE (8000_0003h): the guest has handled an NMI and takes the next one. */
export const nmiCompleteExit: GhcbExit = {
  name: 'nmi-complete',
  serve(_request, _guest, vcpu) {
    vcpu.nmiDone()
    return {}
  },
}
