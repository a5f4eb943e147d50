/** What an SNP guest starts from: a kernel that our boot stage enters, or firmware. */
import {
  igvmLaunch, isIgvm, lowMemory, PC, snpDirectBoot, type IgvmLaunchOptions, type SnpLaunch,
} from '@cofferdam/boot'
import { firmwareLaunch, guestModel } from '@cofferdam/host'
import { SMBIOS } from '../board.ts'
import { MachineError, type MachineOptions } from '../options.ts'

type Ranges = readonly { readonly start: number, readonly length: number }[]

/** Firmware and what else is launched outside of RAM lies here, at the end of the lowest 4 GiB, as flash would. */
const FIRMWARE_AREA = { start: 0xff00_0000, end: 0x1_0000_0000 } as const

/** What an IGVM file may ask about the guest. */
function igvmFacts({ memory, vcpus }: MachineOptions, ram: Ranges): Pick<IgvmLaunchOptions, 'ram' | 'mmio' | 'acpi'> {
  const low = lowMemory(memory)
  const high = Math.max(PC.fourGiB, ...ram.map(({ start, length }) => start + length))
  const apicIds = Array.from({ length: vcpus }, (_, index) => index)
  return {
    ram, acpi: { apicIds, nodes: [{ ranges: ram, apicIds }] },
    mmio: [
      { start: low, length: FIRMWARE_AREA.start - low }, { start: high, length: 2 ** guestModel().physicalBits - high },
    ],
  }
}

/** What the guest boots. @throws BootError, HostError, SevInputError, MachineError */
export function createLaunch(options: MachineOptions, ram: Ranges, cBit: number): SnpLaunch {
  const { kernel, initrd, firmware, memory, vcpus, append } = options
  if (firmware !== undefined) {
    if (options.vars !== undefined) {
      throw new MachineError('vars', 'file',
        'firmware of an SNP guest keeps its variables in memory that nobody else can read; leave it out')
    }
    if (isIgvm(firmware.bytes) && (options.sevFeatures ?? 0n) !== 0n) {
      throw new MachineError(
        'sevFeatures', 'value', `${firmware.name} is an IGVM file, whose VMSAs say it; leave it out`,
      )
    }
    if (isIgvm(firmware.bytes)) {
      return igvmLaunch({ file: firmware, vcpus, cmdline: append, ...igvmFacts(options, ram) })
    }
    const files = options.hashed ?? (kernel && { kernel: kernel.bytes, initrd: initrd?.bytes, append })
    return firmwareLaunch({ firmware, vcpus, kernel: files, features: options.sevFeatures })
  }
  if (kernel === undefined) {
    throw new MachineError('kernel', 'file', 'none; expected a kernel, or firmware that finds one')
  }
  const apicIds = Array.from({ length: vcpus }, (_, index) => index)
  return snpDirectBoot({
    kernel: kernel.bytes, initrd: initrd?.bytes, cmdline: append, memory, cBit,
    acpi: { apicIds }, smbios: { ...SMBIOS, memory }, accept: options.accept ?? 'lazy',
    callingArea: options.svsm !== undefined,
    features: options.sevFeatures,
    names: { kernel: kernel.name, initrd: initrd?.name },
  })
}

/**
 * Memory that the guest has beside its RAM, since something is launched there.
 * @throws MachineError for launch pages that are neither in RAM nor where firmware lies
 */
export function memoryBesideRam({ launch }: SnpLaunch, ram: Ranges): Ranges {
  const isInside = (start: number, end: number): boolean =>
    ram.some((r) => start >= r.start && end <= r.start + r.length)
  return launch.flatMap(({ name, type, start, length }) => {
    const end = start + length
    if (type === 'vmsa' || isInside(start, end)) return []
    if (start >= FIRMWARE_AREA.start && end <= FIRMWARE_AREA.end) return [{ start, length }]
    throw new MachineError(name, `pages at 0x${start.toString(16)}`,
      'they lie outside of the guest\'s memory; expected RAM, or the last 16 MiB below 4 GiB')
  })
}
