import { pageAddress, refuse, success, type SvsmServer } from '../../call.ts'
import { Access, adjust, attributes } from './permissions.ts'

/** SVSM_CORE_DELETE_VCPU (58019 §7.1, call 3): the VMSA at RCX becomes an ordinary page again, unless it is in use. */
export const deleteVcpu: SvsmServer = ({ rcx }, { vcpus, places, configuration: { vmpl } }, processor) => {
  const address = pageAddress(rcx)
  if (address < 0 || !vcpus.isVmsa(address)) return refuse('INVALID_PARAMETER')
  // The first processor's VMSA lies in the SVSM, and stays there.
  const access = address === places.guestVmsa ? Access.NONE : Access.ALL
  const refused = adjust(processor, { address, large: false }, attributes(vmpl, access))
  if (refused !== null) return refused
  vcpus.remove(address)
  return success()
}
