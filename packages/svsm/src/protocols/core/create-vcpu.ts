import { Efer, Vmsa } from '@cofferdam/spec'
import { pageAddress, refuse, success, type SvsmServer } from '../../call.ts'
import { viewOf } from '../../memory.ts'
import { isFault } from '../../processor.ts'
import { Access, adjust, attributes } from './permissions.ts'

const SVME = BigInt(Efer.mask.SVME)
const LARGE = 0x20_0000

/**
 * SVSM_CORE_CREATE_VCPU (58019 §7.1, call 2): RCX is a page that becomes a VMSA, RDX the processor's calling area, R8
 * its APIC id. The VMSA is checked when the guest cannot change it any more.
 */
export const createVcpu: SvsmServer = ({ rcx, rdx, r8, features }, svsm, processor) => {
  const { vcpus, configuration: { vmpl } } = svsm
  const address = pageAddress(rcx)
  const callingArea = pageAddress(rdx)
  const apicId = Number(r8 & 0xffff_ffffn)
  if (address < 0 || callingArea < 0 || address === callingArea) return refuse('INVALID_ADDRESS')
  if (!vcpus.isFree(address, 4096) || !vcpus.isFree(callingArea, 4096)) return refuse('INVALID_ADDRESS')
  // The host takes none at a multiple of 2 MiB: processors see collisions there that are none.
  if (address % LARGE === 0) return refuse('INVALID_ADDRESS')
  if (!vcpus.knows(apicId)) return refuse('INVALID_PARAMETER')
  const page = { address, large: false }
  const revoked = adjust(processor, page, attributes(vmpl, Access.NONE))
  if (revoked !== null) return revoked
  const vmsa = new Uint8Array(Vmsa.size)
  const read = processor.load(address, vmsa)
  const view = viewOf(vmsa)
  const legal = !isFault(read) && Vmsa.get(view, 'vmpl') === vmpl && (Vmsa.get(view, 'efer') & SVME) !== 0n
    && Vmsa.get(view, 'sevFeatures') === features
  // Guests read their VMSAs; what is in them only the processor changes.
  const made = legal ? adjust(processor, page, attributes(vmpl, Access.READ, true)) : refuse('INVALID_PARAMETER')
  if (made !== null) {
    adjust(processor, page, attributes(vmpl, Access.ALL))
    return made
  }
  vcpus.add({ apicId, vmsa: address, callingArea })
  return success()
}
