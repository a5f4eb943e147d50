/** #VMEXITs of which a host has little to do. */
import { SvmExit } from '@cofferdam/spec'
import type { VmexitHandler } from './types.ts'

/** VMEXIT_INTR, _NMI, _SMI, _INIT (60h–63h): the host's own, taken between two entries. */
export const interrupt: VmexitHandler = ({ note }) => { note('interrupt') }

/** VMEXIT_VINTR (64h): the guest lets interrupts in now. */
export const interruptWindow: VmexitHandler = ({ vcpu, note }) => {
  note('interrupt-window')
  vcpu.closeWindow()
}

/** VMEXIT_HLT (78h) and VMEXIT_IDLE_HLT (A6h). */
export const halt: VmexitHandler = ({ vcpu, note }) => {
  note('hlt')
  vcpu.pause('halt')
}

/** VMEXIT_PAUSE (77h): the guest spins. */
export const pause: VmexitHandler = ({ vcpu, note }) => {
  note('pause')
  vcpu.pause('yield')
}

/** VMEXIT_SHUTDOWN (7Fh): a triple fault. */
export const shutdown: VmexitHandler = ({ guest, vcpu, note }) => {
  note('shutdown')
  guest.end({ why: `vCPU ${vcpu.index}: the guest shut down (a triple fault)` })
}

/** Write traps of EFER, CR0, CR4, CR8 … (8Fh–9Fh): the write has been made already. */
export const writeTrap: VmexitHandler = ({ note }) => { note('write-trap') }

/** Codes of the write traps. */
export const WRITE_TRAPS = Array.from({ length: 17 }, (_, i) => SvmExit.EFER_WRITE_TRAP + i)
