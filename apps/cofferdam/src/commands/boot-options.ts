/** What `cofferdam boot` is asked for, and what it boots. */
import type { SymbolTable } from '@cofferdam/findings'
import type { DeviceArgument } from '../devices.ts'
import type { DiskArgument } from '../disks/parse-disk.ts'
import type {
  CpuVendor, DeviceOption, DiskOption, Engine, Erratum, HostileOption, NamedBytes,
} from '../machine-port.ts'
import type { Forwards } from '../net/forwards.ts'
import type { ForwardArgument, NetArgument } from '../net/parse-net.ts'
import type { AddedFile } from '../parse.ts'
import type { GdbAddress } from '../run/gdb-server.ts'
import type { ShareArgument } from '../share/parse-share.ts'
import type { Asked, SnapshotChoice } from '../snapshot/options.ts'
import type { Swtpm } from '../tpm/swtpm.ts'
import type { FirmwareChoice, FirmwareImages } from './boot-firmware.ts'

/** When a confidential guest's memory is accepted. */
export type AcceptPolicy = 'lazy' | 'eager' | 'background'

/** The options of `cofferdam boot`, parsed. */
export interface BootOptions extends FirmwareChoice, SnapshotChoice {
  /** With `restore`: what the command line says of options that the snapshot decides. */
  readonly asked?: Asked
  readonly cc: 'none' | 'snp'
  readonly accept?: AcceptPolicy
  /** The guest's VMPL under an SVSM. */
  readonly svsm?: number
  readonly sevFeatures?: bigint
  readonly cpuErratum?: Erratum
  readonly hostile?: readonly HostileOption[]
  /** The SVSM has a TPM, with its state in this folder, or only for the run. */
  readonly svsmVtpm?: string | true
  /** An alias of the catalog or a path; `none` with firmware. */
  readonly kernel: string
  readonly initrd?: string
  readonly append?: string
  readonly run?: string
  readonly add?: readonly AddedFile[]
  readonly with?: readonly string[]
  /** Bytes. */
  readonly memory: number
  readonly vcpus: number
  readonly seed: number
  readonly engine: Engine
  readonly cpu: CpuVendor
  readonly disk?: readonly DiskArgument[]
  readonly device?: readonly DeviceArgument[]
  readonly share?: readonly ShareArgument[]
  readonly net?: NetArgument
  readonly forward?: readonly ForwardArgument[]
  readonly until?: string
  /** Wall seconds. */
  readonly timeout?: number
  readonly gdb?: GdbAddress
  readonly reboot: boolean
  readonly stats?: string
  readonly trace?: string
  readonly report?: string
  readonly symbols?: string
  readonly record?: string
  /** A file, or true for the standard error stream. */
  readonly debugConsole?: string | true
}

/** What there is to boot, and from which disks. */
export interface BootImages extends Partial<FirmwareImages>, GuestImages {
  readonly disks: readonly DiskOption[]
  readonly devices: readonly DeviceOption[]
  readonly forwards: Forwards
  readonly vtpm?: Swtpm
  readonly symbols?: SymbolTable
}

/** The kernel and what belongs to it. */
export interface GuestImages {
  readonly kernel?: NamedBytes
  readonly initrd?: NamedBytes
  /** The initrd is ours, which knows `poweroff` and says when its shell is ready. */
  readonly ownInitramfs: boolean
  /** The kernel is Linux, for all that is known, and no flat test kernel. */
  readonly isLinux: boolean
}
