import { InvalidArgumentError } from 'commander'
import type { DriverGroup } from './initramfs/modules.ts'
import type { DeviceOption } from './machine-port.ts'

/** Groups of drivers that a guest needs for its devices. */
export const driversOf = (devices: readonly DeviceOption[], disks: number): DriverGroup[] => {
  const groups: DriverGroup[] = disks > 0 ? ['disk'] : []
  for (const { kind } of devices) if (kind === 'virtio-rng') groups.push('rng')
  return groups
}

/** Makes a device of the properties after its name. */
type Parse = (properties: readonly string[], name: string) => DeviceOption

const refuse = (expected: string): InvalidArgumentError => new InvalidArgumentError(`expected ${expected}`)

const plain = (device: DeviceOption): Parse => (properties, name) => {
  if (properties.length > 0) throw refuse(`no properties after ${name}`)
  return device
}

const numberOf = (name: string, text: string, from: number, to: number): number => {
  const value = /^(\d{1,5}|0x[\da-f]{1,4})$/i.test(text) ? Number(text) : NaN
  if (!(value >= from && value <= to)) throw refuse(`${name} from ${from} to ${to}, decimal or 0x…`)
  return value
}

/** The places that QEMU takes when nothing is said (hw/misc/debugexit.c) are the defaults. */
const debugExit: Parse = (properties) => {
  let [port, length] = [0x501, 2]
  for (const property of properties) {
    const [name = '', value = ''] = property.split('=', 2)
    if (name === 'iobase') port = numberOf(name, value, 0, 0xffff)
    else if (name === 'iosize') length = numberOf(name, value, 1, 4)
    else throw refuse('iobase=PORT or iosize=N after isa-debug-exit')
  }
  if (port + length > 0x1_0000) throw refuse('iobase and iosize that end below port 0x10000')
  return { kind: 'isa-debug-exit', port, length }
}

/** Devices that `--device` knows, by name. */
const known: Readonly<Record<string, Parse>> = {
  'virtio-rng': plain({ kind: 'virtio-rng' }),
  'isa-debug-exit': debugExit,
  'pc-testdev': plain({ kind: 'pc-testdev' }),
  'pci-testdev': plain({ kind: 'pci-testdev' }),
}

/** Of these there is one at most. */
const single = new Set<string>(['isa-debug-exit', 'pc-testdev', 'pci-testdev'])

/** Devices that people may ask for, and why there is none. */
const refused: Readonly<Record<string, string>> = {
  'virtio-balloon': 'there is no balloon: memory costs what the guest touches, and nobody would ask for it back',
}

/** The names that `--device` takes. */
export const deviceNames = Object.keys(known)

/** A device by name, with its properties as QEMU writes them (`NAME,KEY=VALUE`); `--device` may be repeated. */
export const parseDevice = (text: string, before: readonly DeviceOption[] = []): DeviceOption[] => {
  const [name = '', ...properties] = text.split(',')
  const parse = Object.hasOwn(known, name) ? known[name] : undefined
  const why = Object.hasOwn(refused, name) ? refused[name] : undefined
  if (parse === undefined) throw new InvalidArgumentError(why ?? `expected ${deviceNames.join(', ')}`)
  if (single.has(name) && before.some(({ kind }) => kind === name)) throw refuse(`one ${name}, not two`)
  return [...before, parse(properties, name)]
}
