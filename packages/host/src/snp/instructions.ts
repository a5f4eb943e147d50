/** How the host's own program uses its processors: MSRs, as WRMSR and RDMSR would. */
import { guestFault, systemOf, type Processor } from '@cofferdam/x86'
import { HostError, hex } from '../errors.ts'

/** WRMSR. @throws HostError when the processor refuses the register or the value */
export function writeMsr(processor: Processor, index: number, value: bigint): void {
  processor.activate()
  const register = systemOf(processor.cpu).msrs.get(index)
  const refused = (): HostError =>
    new HostError(`processor ${processor.index}`, `MSR ${hex(index)}`, `does not take ${hex(value)} (#GP)`)
  if (register === undefined) throw refused()
  try {
    register.write(processor.cpu, value)
  } catch (fault) {
    if (fault === guestFault) throw refused()
    throw fault
  }
}

/** RDMSR. @throws HostError when there is no such register */
export function readMsr(processor: Processor, index: number): bigint {
  processor.activate()
  const register = systemOf(processor.cpu).msrs.get(index)
  if (register === undefined) throw new HostError(`processor ${processor.index}`, `MSR ${hex(index)}`, 'does not exist')
  try {
    return register.read(processor.cpu)
  } catch (fault) {
    if (fault === guestFault) throw new HostError(`processor ${processor.index}`, `MSR ${hex(index)}`, 'cannot be read')
    throw fault
  }
}
