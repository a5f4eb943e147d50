import type { DeviceOption } from '../machine-port.ts'
import type { Forwards } from './forwards.ts'
import type { NetArgument } from './parse-net.ts'

/**
 * The network card that `--net` asks for.
 * @param warn - hears of connections that a snapshot had and that are gone
 */
export const openNet = ({ mac }: NetArgument, forwards: Forwards, warn: (text: string) => void): DeviceOption => ({
  kind: 'virtio-net',
  ...(mac !== undefined && { mac }),
  onGateway: (gateway) => forwards.attach(gateway),
  onLost: (count) => warn(`net: ${count} connections are gone since the snapshot`),
})
