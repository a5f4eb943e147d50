/** The devices that a machine has on top of a plain Q35, from its options, in the order of their slots. */
import {
  BlockError, createVirtio9p, createVirtioBlock, createVirtioConsole, createVirtioRng, MAX_VIRTIO_DEVICES,
} from '@cofferdam/devices'
import type {
  BlockBackend, DmaMemory, TestDevice, VirtioConsole, VirtioDevice, VirtioOptions, VirtualClock,
} from '@cofferdam/devices'
import type { PhysicalMemory } from '@cofferdam/memory'
import { createNinePServer } from '@cofferdam/ninep'
import type { NinePFiles } from '@cofferdam/ninep'
import { createNet } from './net.ts'
import type { NetOption } from './net.ts'
import { MachineError } from './options.ts'
import { createRandom } from './random.ts'

/** A disk (virtio-blk). The backend is used by every machine that is made from the option, one after another. */
export interface DiskOption {
  readonly backend: BlockBackend
  /** For messages. */
  readonly name?: string
  /** Up to 20 printable ASCII characters; Linux shows it in /sys/block/vda/serial. */
  readonly serial?: string
}

/** One more device. The same option may go into many machines: each makes its own device from it. */
export type DeviceOption =
  /** Entropy that follows from the machine's seed. */
  | { readonly kind: 'virtio-rng' }
  /** A second terminal (`/dev/hvc0`); what the guest sends goes to `onOutput`, valid during the call only. */
  | { readonly kind: 'virtio-console', readonly onOutput: (bytes: Uint8Array) => void }
  /** What test kernels written for QEMU use. */
  | TestDevice
  /** Files for the guest: `mount -t 9p -o trans=virtio,version=9p2000.L TAG /mnt`. */
  | ShareOption
  /** A network that ends in this process. */
  | NetOption
  /** AMD's PSP with the SEV firmware in it, and processors with SEV-SNP: for a host in the machine. */
  | PspOption
  /** A core of your own. */
  | { readonly kind: 'virtio', readonly create: () => VirtioDevice }

/** The PSP of an AMD machine; there is one. */
export interface PspOption {
  readonly kind: 'psp'
}

/** A tree of files that the guest may mount (virtio-9p). */
export interface ShareOption {
  readonly kind: 'virtio-9p'
  /** What the guest calls it: 1 to 31 characters of ASCII. */
  readonly tag: string
  /** Called once for each machine. */
  readonly files: () => NinePFiles
  /** Files that were open in a snapshot, and are no more where they were. */
  readonly onLost?: (paths: readonly string[]) => void
}

/** @throws MachineError for a tag that is none */
function createShare({ tag, files, onLost }: ShareOption): VirtioDevice {
  try {
    return createVirtio9p({ tag, service: createNinePServer({ files: files() }), onLost })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new MachineError('devices', 'tag', error.message)
  }
}

/** How an address says that memory is encrypted: by a bit, and under which slot of `memory.keys`. */
export interface DmaEncryption {
  readonly bit: number
  readonly key: number
}

/** Memory as devices reach it: RAM and nothing else, under the host's key where an address has the C-bit. */
export function createDma(memory: PhysicalMemory, encryption?: DmaEncryption): DmaMemory {
  const cBit = encryption === undefined ? Infinity : 2 ** encryption.bit
  const isEncrypted = (address: number): boolean => address >= cBit && address < 2 * cBit
  const isRam = (address: number, length: number): boolean =>
    memory.ram.some((range) => address >= range.start && address + length <= range.start + range.length)
  return {
    read(address, target) {
      const at = isEncrypted(address) ? address - cBit : address
      if (!isRam(at, target.length)) return false
      memory.read(at, target, at === address ? 0 : encryption?.key)
      return true
    },
    write(address, bytes) {
      const at = isEncrypted(address) ? address - cBit : address
      if (!isRam(at, bytes.length)) return false
      memory.write(at, bytes, at === address ? 0 : encryption?.key)
      return true
    },
  }
}

/** A device that is a virtio device. */
type VirtioOption = Exclude<DeviceOption, TestDevice | PspOption>

const isTest = (option: DeviceOption): option is TestDevice =>
  option.kind === 'isa-debug-exit' || option.kind === 'pc-testdev' || option.kind === 'pci-testdev'

const isVirtio = (option: DeviceOption): option is VirtioOption => !isTest(option) && option.kind !== 'psp'

/** The test devices among all. */
export const testDevices = (options: readonly DeviceOption[] = []): TestDevice[] => options.filter(isTest)

/** Rank of the gateways' timers: after those of the devices, by their places. */
const GATEWAY_RANK = 4096

function createDevice(
  option: VirtioOption, seed: number, place: number, clock: VirtualClock,
): VirtioDevice {
  switch (option.kind) {
    case 'virtio-rng':
      return createVirtioRng({ seed: Number(createRandom(seed, `virtio-rng ${place}`).next64() >> 11n) })
    case 'virtio-9p':
      return createShare(option)
    case 'virtio-net':
      return createNet(option, seed, place, clock.ranked(GATEWAY_RANK + place))
    case 'virtio-console':
      return createVirtioConsole({ onOutput: option.onOutput })
    case 'virtio':
      return option.create()
  }
}

/** Slots of the disks, which come first. */
export const diskSlots = (disks: readonly DiskOption[] = []): number[] => disks.map((_, n) => n + 1)

/** @throws MachineError for a disk that cannot be */
function createDisk(option: DiskOption): VirtioDevice {
  try {
    return createVirtioBlock(option)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    throw new MachineError(error.file, error.field, error.problem)
  }
}

/** What createDevices reads of the machine's options. */
interface Choice {
  readonly disks?: readonly DiskOption[]
  readonly devices?: readonly DeviceOption[]
  readonly seed: number
}

/** Whether input may be typed into a device. */
export const isConsole = (device: VirtioDevice): device is VirtioConsole => 'receive' in device

/** What the platform is to have on PCI; undefined for nothing. @throws MachineError for too many */
export function createDevices(
  options: Choice, memory: DmaMemory, clock: VirtualClock, onBroken: (device: string, reason: string) => void,
): VirtioOptions | undefined {
  const virtio = (options.devices ?? []).filter(isVirtio)
  const devices = [
    ...(options.disks ?? []).map(createDisk),
    ...virtio.map((option, place) => createDevice(option, options.seed, place, clock)),
  ]
  if (devices.length === 0) return undefined
  if (devices.length > MAX_VIRTIO_DEVICES) {
    throw new MachineError('devices', 'count', `${devices.length}; expected at most ${MAX_VIRTIO_DEVICES}`)
  }
  return { devices, memory, onBroken }
}
