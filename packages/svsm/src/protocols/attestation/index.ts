/** The attestation protocol (58019 §7.2). */
import { SvsmAttestCall } from '@cofferdam/spec'
import type { SvsmProtocolTable } from '../../call.ts'
import { attestServices } from './services.ts'
import { attestSingleService } from './single-service.ts'

export const attestationProtocol: SvsmProtocolTable = {
  name: 'attestation', versions: { min: 1, max: 1 },
  calls: new Map([
    [SvsmAttestCall.SERVICES, { name: 'services', serve: attestServices }],
    [SvsmAttestCall.SINGLE_SERVICE, { name: 'single-service', serve: attestSingleService }],
  ]),
}
