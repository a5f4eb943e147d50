/** The vTPM protocol (58019 §8); offered where there is a TPM. */
import { SvsmVtpmCall } from '@cofferdam/spec'
import type { SvsmProtocolTable } from '../../call.ts'
import { vtpmCommand } from './command.ts'
import { vtpmQuery } from './query.ts'

export const vtpmProtocol: SvsmProtocolTable = {
  name: 'vtpm', versions: { min: 1, max: 1 }, offered: ({ vtpm }) => vtpm !== undefined,
  calls: new Map([
    [SvsmVtpmCall.QUERY, { name: 'query', serve: vtpmQuery }],
    [SvsmVtpmCall.CMD, { name: 'command', serve: vtpmCommand }],
  ]),
}
