import { SVSM_VTPM_PLATFORM_COMMAND_SEND, SvsmVtpmSendCommand } from '@cofferdam/spec'
import { refuse, success, type SvsmServer } from '../../call.ts'
import { copyIn, copyOut, viewOf } from '../../memory.ts'

/** Bytes of the buffer at RCX: request and response. */
const BUFFER = 4096
const RESPONSE_HEAD = 4

/**
 * SVSM_VTPM_CMD (58019 §8.2, call 1): RCX is a buffer of a page, of which TPM_SEND_COMMAND (8.3) is the one command.
 */
export const vtpmCommand: SvsmServer = ({ rcx }, svsm, processor) => {
  if (rcx === 0n) return refuse('INVALID_PARAMETER')
  const bytes = copyIn(svsm, processor, rcx, BUFFER)
  if (bytes === null || svsm.vtpm === undefined) return refuse('INVALID_ADDRESS')
  const { command, locality, size } = SvsmVtpmSendCommand.read(viewOf(bytes))
  const room = BUFFER - SvsmVtpmSendCommand.size
  // No document says what localities above 0 mean here.
  if (command !== SVSM_VTPM_PLATFORM_COMMAND_SEND || locality !== 0 || size > room) return refuse('INVALID_PARAMETER')
  const response = svsm.vtpm.command(bytes.slice(SvsmVtpmSendCommand.size, SvsmVtpmSendCommand.size + size))
  if (response === null || response.length > BUFFER - RESPONSE_HEAD) return refuse('INVALID_REQUEST')
  const out = new Uint8Array(RESPONSE_HEAD + response.length)
  viewOf(out).setUint32(0, response.length, true)
  out.set(response, RESPONSE_HEAD)
  return copyOut(svsm, processor, rcx, out) ? success() : refuse('INVALID_ADDRESS')
}
