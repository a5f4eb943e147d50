import { guidBytes, SvsmAttestRequest } from '@cofferdam/spec'
import { refuse, type SvsmServer } from '../../call.ts'
import { attest, isReserved, readRequest } from './attest.ts'
import { services } from './manifest.ts'

/** The version of manifests that there is. */
const MANIFEST_VERSION = 0

/** SVSM_ATTEST_SINGLE_SERVICE (58019 §7.2, call 1): a report over the manifest of the service with a GUID. */
export const attestSingleService: SvsmServer = ({ rcx, vcpu }, svsm, processor) => {
  const request = readRequest(rcx, SvsmAttestRequest.size, vcpu, svsm, processor)
  if ('code' in request) return request
  const { fields: { manifestVersion, reserved }, service } = request
  if (isReserved(reserved, 'the word behind the manifest version', vcpu, svsm)) return refuse('INVALID_PARAMETER')
  if (manifestVersion !== MANIFEST_VERSION) return refuse('INVALID_PARAMETER')
  const all = services(svsm)
  if (all === null) return refuse('INVALID_REQUEST')
  const found = all.find(({ guid }) => guidBytes(guid).every((byte, i) => byte === service[i]))
  return found === undefined ? refuse('UNSUPPORTED_PROTOCOL') : attest(request, found.manifest, svsm, processor)
}
