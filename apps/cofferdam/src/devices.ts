import { InvalidArgumentError } from 'commander'
import type { DeviceOption } from './machine-port.ts'

/** Devices that `--device` knows, by name. */
const known: Readonly<Record<string, DeviceOption>> = {
  'virtio-rng': { kind: 'virtio-rng' },
}

/** Devices that people may ask for, and why there is none. */
const refused: Readonly<Record<string, string>> = {
  'virtio-balloon': 'there is no balloon: memory costs what the guest touches, and nobody would ask for it back',
}

/** The names that `--device` takes. */
export const deviceNames = Object.keys(known)

/** A device by name; `--device` may be repeated. */
export const parseDevice = (text: string, before: readonly DeviceOption[] = []): DeviceOption[] => {
  const device = known[text]
  if (device === undefined) throw new InvalidArgumentError(refused[text] ?? `expected ${deviceNames.join(', ')}`)
  return [...before, device]
}
