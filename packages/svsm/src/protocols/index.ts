/** The protocols by number (58019 §6). */
import { SvsmProtocol } from '@cofferdam/spec'
import type { SvsmProtocolTable } from '../call.ts'
import { coreProtocol } from './core/index.ts'

export const PROTOCOLS: ReadonlyMap<number, SvsmProtocolTable> = new Map([
  [SvsmProtocol.CORE, coreProtocol],
])
