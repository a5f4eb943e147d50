import { pageAddress, refuse, success, type SvsmServer } from '../../call.ts'
import { isFault } from '../../processor.ts'

/** SVSM_CORE_REMAP_CA (58019 §7.1, call 0): RCX is the processor's calling area from now on. */
export const remapCa: SvsmServer = ({ rcx }, { vcpus }, processor) => {
  const address = pageAddress(rcx)
  const vcpu = vcpus.of(processor.apicId)
  if (address < 0 || vcpu === undefined) return refuse('INVALID_PARAMETER')
  if (address === vcpu.callingArea) return success()
  // Two processors cannot share one: each would see the other's calls.
  if (!vcpus.isGuests(address, 4096) || vcpus.isCallingArea(address)) return refuse('INVALID_ADDRESS')
  if (isFault(processor.store(address, new Uint8Array(8)))) return refuse('INVALID_ADDRESS')
  vcpu.callingArea = address
  return success()
}
