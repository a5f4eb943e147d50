import { pageAddress, refuse, success, type SvsmServer } from '../../call.ts'
import { isFault } from '../../processor.ts'

/** SVSM_CORE_REMAP_CA (58019 §7.1, call 0): RCX is the processor's calling area from now on. */
export const remapCa: SvsmServer = ({ rcx, vcpu }, { vcpus }, processor) => {
  const address = pageAddress(rcx)
  if (address < 0) return refuse('INVALID_PARAMETER')
  if (address === vcpu.callingArea) return success()
  // Two processors cannot share one: each would see the other's calls.
  if (!vcpus.isFree(address, 4096)) return refuse('INVALID_ADDRESS')
  if (isFault(processor.store(address, new Uint8Array(8)))) return refuse('INVALID_ADDRESS')
  vcpu.callingArea = address
  return success()
}
