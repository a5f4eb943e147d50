import { InvalidArgumentError } from 'commander'
import { openSync, writeSync } from 'node:fs'
import { inputError, plainReason } from './errors.ts'
import type { DriverGroup } from './initramfs/modules.ts'
import type { DeviceOption } from './machine-port.ts'
import type { Surroundings } from './surroundings.ts'

/** A device as it was asked for: a console's output goes to a file, or to standard output. */
export type DeviceArgument =
  | Exclude<DeviceOption, { kind: 'virtio-console' }>
  | { readonly kind: 'virtio-console'; readonly file?: string }

const groups: Readonly<Record<string, DriverGroup>> = {
  'virtio-rng': 'rng', 'virtio-console': 'console', 'virtio-9p': '9p', 'virtio-net': 'net', psp: 'psp',
}

/** Groups of drivers that a guest needs for its devices, and for its way to the firmware that vouches for it. */
export const driversOf = (
  devices: readonly DeviceOption[], disks: number, cc: 'none' | 'snp' = 'none',
): DriverGroup[] => {
  const found = devices.flatMap(({ kind }) => groups[kind] ?? [])
  return [...(disks > 0 ? ['disk'] as const : []), ...found, ...(cc === 'snp' ? ['coco'] as const : [])]
}

/** Makes a device of the properties after its name. */
type Parse = (properties: readonly string[], name: string) => DeviceArgument

const refuse = (expected: string): InvalidArgumentError => new InvalidArgumentError(`expected ${expected}`)

const plain = (device: DeviceArgument): Parse => (properties, name) => {
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

const consoleDevice: Parse = ([property, ...more]) => {
  if (property === undefined) return { kind: 'virtio-console' }
  const [, file] = /^file=(.+)$/.exec(property) ?? []
  if (file === undefined || more.length > 0) throw refuse('file=PATH, or nothing, after virtio-console')
  return { kind: 'virtio-console', file }
}

/** Devices that `--device` knows, by name. */
const known: Readonly<Record<string, Parse>> = {
  'virtio-rng': plain({ kind: 'virtio-rng' }),
  'virtio-console': consoleDevice,
  'isa-debug-exit': debugExit,
  'pc-testdev': plain({ kind: 'pc-testdev' }),
  'pci-testdev': plain({ kind: 'pci-testdev' }),
  psp: plain({ kind: 'psp' }),
}

/** Of these there is one at most. */
const single = new Set<string>(['isa-debug-exit', 'pc-testdev', 'pci-testdev', 'psp'])

/** Devices that people may ask for, and why there is none. */
const refused: Readonly<Record<string, string>> = {
  'virtio-balloon': 'there is no balloon: memory costs what the guest touches, and nobody would ask for it back',
}

/** The names that `--device` takes. */
export const deviceNames = Object.keys(known)

/** A device by name, with its properties as QEMU writes them (`NAME,KEY=VALUE`); `--device` may be repeated. */
export const parseDevice = (text: string, before: readonly DeviceArgument[] = []): DeviceArgument[] => {
  const [name = '', ...properties] = text.split(',')
  const parse = Object.hasOwn(known, name) ? known[name] : undefined
  const why = Object.hasOwn(refused, name) ? refused[name] : undefined
  if (parse === undefined) throw new InvalidArgumentError(why ?? `expected ${deviceNames.join(', ')}`)
  if (single.has(name) && before.some(({ kind }) => kind === name)) throw refuse(`one ${name}, not two`)
  return [...before, parse(properties, name)]
}

/** Takes a guest's output into a file; what the disk has no room for is lost, and said once. */
const fileOutput = (path: string, { stderr }: Surroundings): ((bytes: Uint8Array) => void) => {
  let file: number | undefined
  try {
    file = openSync(path, 'w')
  } catch (error) {
    throw inputError(`virtio-console ${path}`, plainReason(error), 'a file that can be written')
  }
  return (bytes) => {
    if (file === undefined) return
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done)
    } catch (error) {
      file = undefined
      stderr.write(`cofferdam: virtio-console ${path}: ${plainReason(error)}; further output is lost\n`)
    }
  }
}

/**
 * Opens what devices write to.
 * @throws an input error that names the file
 */
export const openDevices = (devices: readonly DeviceArgument[], around: Surroundings): DeviceOption[] =>
  devices.map((device) => {
    if (device.kind !== 'virtio-console') return device
    const { kind, file } = device
    const { stdout } = around
    return { kind, onOutput: file === undefined ? (bytes) => stdout.write(bytes.slice()) : fileOutput(file, around) }
  })
