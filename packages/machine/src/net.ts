/** A network card and the gateway at the other end of its cable. */
import { createVirtioNet } from '@cofferdam/devices'
import type { Clock, VirtioDevice } from '@cofferdam/devices'
import { createGateway, GatewayError, parseMac } from '@cofferdam/usernet'
import type { Gateway, TcpService } from '@cofferdam/usernet'
import { MachineError } from './options.ts'
import { createRandom } from './random.ts'

/** A network card (virtio-net) with a gateway that lives in this process; there is no way further. */
export interface NetOption {
  readonly kind: 'virtio-net'
  /** The card's hardware address, `52:54:00:12:34:56`; by default it follows from the seed. */
  readonly mac?: string
  /** The gateway's address, default 10.0.2.2; it ends in 1 to 14. */
  readonly address?: string
  /** More TCP services of the gateway, by port. Called once for each machine. */
  readonly services?: () => ReadonlyMap<number, TcpService>
  /**
   * Gets the gateway of each machine that is made, for connections from outside (`gateway.connect`). What comes by them
   * is no part of the machine's inputs: with it, two runs are the same only if it comes at the same instants.
   */
  readonly onGateway?: (gateway: Gateway) => void
  /** Connections of a snapshot that can't be brought back. */
  readonly onLost?: (connections: number) => void
}

/** Three bytes that the seed decides, after those that QEMU has. */
const seededMac = (random32: number): Uint8Array =>
  Uint8Array.of(0x52, 0x54, 0x00, random32 >>> 16 & 0xff, random32 >>> 8 & 0xff, random32 & 0xff)

function macOf({ mac }: NetOption, random32: number): Uint8Array {
  if (mac === undefined) return seededMac(random32)
  const bytes = parseMac(mac)
  if (bytes !== undefined && (bytes[0] & 1) === 0) return bytes
  throw new MachineError('devices', 'mac', `${mac}; expected six bytes such as 52:54:00:12:34:56, the first one even`)
}

/**
 * Makes the card. `place` tells several cards apart; `clock` is for the gateway's timer.
 * @throws MachineError for an address that is none
 */
export function createNet(option: NetOption, seed: number, place: number, clock: Clock): VirtioDevice {
  const random = createRandom(seed, `virtio-net ${place}`)
  const mac = macOf(option, random.next32())
  try {
    return createVirtioNet({
      mac, onLost: option.onLost,
      peer: (transmit) => {
        const { address } = option
        const gateway = createGateway({
          clock, transmit, address, seed: random.next32(), services: option.services?.(),
        })
        option.onGateway?.(gateway)
        return gateway
      },
    })
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    throw new MachineError('devices', error.field, error.message)
  }
}
