/** #VMEXITs of an SNP guest, by EXITCODE (APM vol. 2, appendix C). The others reach the guest as #VC, or end it. */
import { SvmExit } from '@cofferdam/spec'
import { nestedPageFault } from './nested-page-fault.ts'
import { halt, interrupt, interruptWindow, pause, shutdown, WRITE_TRAPS, writeTrap } from './simple.ts'
import type { VmexitHandler } from './types.ts'

/** VMEXIT_VMGEXIT (403h): the guest asks something of its host. */
const vmgexit: VmexitHandler = ({ server, vcpu, note }) => {
  const { vmcb } = vcpu
  const { name, msr, malformed } = server.serve(vmcb.get('ghcbGpa'), vcpu)
  if (msr !== undefined) vmcb.set('ghcbGpa', msr)
  note(name, malformed)
}

export const VMEXITS: ReadonlyMap<number, VmexitHandler> = new Map<number, VmexitHandler>([
  [SvmExit.INTR, interrupt],
  [SvmExit.NMI, interrupt],
  [SvmExit.SMI, interrupt],
  [SvmExit.INIT, interrupt],
  [SvmExit.VINTR, interruptWindow],
  [SvmExit.HLT, halt],
  [SvmExit.IDLE_HLT, halt],
  [SvmExit.PAUSE, pause],
  [SvmExit.SHUTDOWN, shutdown],
  [SvmExit.NPF, nestedPageFault],
  [SvmExit.VMGEXIT, vmgexit],
  ...WRITE_TRAPS.map((code): [number, VmexitHandler] => [code, writeTrap]),
])
