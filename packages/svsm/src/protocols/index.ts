/** The protocols by number (58019 §6). */
import { SvsmProtocol } from '@cofferdam/spec'
import type { SvsmProtocolTable } from '../call.ts'
import { attestationProtocol } from './attestation/index.ts'
import { coreProtocol } from './core/index.ts'
import { vtpmProtocol } from './vtpm/index.ts'

export const PROTOCOLS: ReadonlyMap<number, SvsmProtocolTable> = new Map([
  [SvsmProtocol.CORE, coreProtocol],
  [SvsmProtocol.ATTESTATION, attestationProtocol],
  [SvsmProtocol.VTPM, vtpmProtocol],
])
