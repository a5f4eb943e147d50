import { SvsmQueryProtocol, SvsmQueryProtocolResult } from '@cofferdam/spec'
import { success, type SvsmServer } from '../../call.ts'

/** SVSM_CORE_QUERY_PROTOCOL (58019 §7.1, call 6): the versions of the protocol in RCX; 0 without that version. */
export const queryProtocol: SvsmServer = ({ rcx }, svsm) => {
  const { protocol, version } = SvsmQueryProtocol.unpack(rcx)
  const table = svsm.protocols.get(Number(protocol))
  if (table === undefined || table.offered?.(svsm) === false) return success({ rcx: 0n })
  const { min, max } = table.versions
  if (Number(version) < min || Number(version) > max) return success({ rcx: 0n })
  return success({ rcx: SvsmQueryProtocolResult.pack({ minVersion: BigInt(min), maxVersion: BigInt(max) }) })
}
