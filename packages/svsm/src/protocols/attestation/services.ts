import { SVSM_ATTEST_SERVICES_BYTES } from '@cofferdam/spec'
import { refuse, type SvsmServer } from '../../call.ts'
import { attest, readRequest } from './attest.ts'
import { services, servicesManifest } from './manifest.ts'

/** SVSM_ATTEST_SERVICES (58019 §7.2, call 0): a report over the manifests of all services. */
export const attestServices: SvsmServer = ({ rcx, vcpu }, svsm, processor) => {
  const request = readRequest(rcx, SVSM_ATTEST_SERVICES_BYTES, vcpu, svsm, processor)
  if ('code' in request) return request
  const all = services(svsm)
  return all === null ? refuse('INVALID_REQUEST') : attest(request, servicesManifest(all), svsm, processor)
}
