/** Requests that guests make of the firmware. */
import type { Firmware, GuestContext } from '../types.ts'
import type { GuestMessage } from './channel.ts'

/** One kind of request. */
export interface MessageHandler {
  /** Numbers of `GuestMessageType`. */
  readonly type: number
  readonly response: number
  /** Message versions that are understood. */
  readonly versions: readonly number[]
  /** Bytes of the shortest payload. */
  readonly bytes: number
  /** Answers the payload of the response. */
  run(firmware: Firmware, guest: GuestContext, message: GuestMessage): Uint8Array
}
