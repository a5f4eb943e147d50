import { readFile } from 'node:fs/promises'
import { BootError, igvmPages, isIgvm, parseIgvm } from '@cofferdam/boot'
import { CPU_SIGNATURES, SevInputError, measureLaunch, parseOvmf, snpLaunchDigest } from '@cofferdam/sev'
import type { KernelFiles, VmmType } from '@cofferdam/sev'
import { Option, type Command } from 'commander'
import { inputError, usageError } from '../errors.ts'
import { findEntry } from '../images/catalog.ts'
import type { NamedBytes } from '../machine-port.ts'
import * as parse from '../parse.ts'
import type { Surroundings } from '../surroundings.ts'
import { fetchWithProgress } from './fetch-with-progress.ts'
import { readInput } from './initramfs.ts'
import { choice } from './options.ts'

/** Options of `cofferdam measure`. */
export interface MeasureOptions {
  readonly cc: string
  /** A name of the catalog, or a path. */
  readonly firmware: string
  readonly vcpus: number
  /** SEV_FEATURES. */
  readonly features: bigint
  /** A name of `CPU_SIGNATURES`. */
  readonly cpu: string
  /** CPUID leaf 1 EAX, instead of `cpu`. */
  readonly cpuSig?: number
  readonly vmmType: VmmType
  readonly kernel?: string
  readonly initrd?: string
  readonly append?: string
  readonly outputFormat: 'hex' | 'base64'
}

const load = async (kind: 'firmware' | 'kernel', name: string, around: Surroundings): Promise<NamedBytes> => {
  const entry = findEntry(name)
  if (!entry) return { name, bytes: await readInput(kind, name) }
  if (entry.kind !== kind) throw inputError(`${kind} ${name}`, `it is a ${entry.kind}`, `a ${kind}`)
  const [image] = await fetchWithProgress([name], around, false)
  if (!image) throw usageError(`${kind} ${name}: it is missing`)
  return { name, bytes: new Uint8Array(await readFile(image.path)) }
}

const kernelFiles = async (options: MeasureOptions, around: Surroundings): Promise<KernelFiles | undefined> => {
  const { kernel, initrd, append } = options
  if (kernel === undefined) {
    if (initrd !== undefined) throw usageError('--initrd: works with --kernel only')
    if (append !== undefined) throw usageError('--append: works with --kernel only')
    return undefined
  }
  return {
    kernel: (await load('kernel', kernel, around)).bytes,
    ...(initrd !== undefined && { initrd: await readInput('initrd', initrd) }),
    ...(append !== undefined && { append }),
  }
}

/** Whether the person gave an option, by its name in `MeasureOptions`. */
type IsGiven = (name: string) => boolean

const print = (digest: Uint8Array, { outputFormat }: MeasureOptions, { stdout }: Surroundings): void => {
  stdout.write(`${Buffer.from(digest).toString(outputFormat)}\n`)
}

/** An IGVM file says itself what is launched, processors included. What the host tells the guest is not measured. */
const measureIgvm = (file: NamedBytes, options: MeasureOptions, isGiven: IsGiven, around: Surroundings): void => {
  const foreign = ['vcpus', 'features', 'cpu', 'cpuSig', 'vmmType', 'kernel', 'initrd', 'append'] as const
  const given = foreign.find(isGiven)
  if (given !== undefined) {
    const name = given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    throw usageError(`--${name}: the IGVM file ${options.firmware} says itself what is launched; leave it out`)
  }
  try {
    const { directives } = parseIgvm(file.bytes, `firmware ${file.name}`)
    print(measureLaunch(igvmPages(directives)), options, around)
  } catch (error) {
    if (error instanceof BootError) throw usageError(error.message)
    throw error
  }
}

/** `cofferdam measure`: prints the launch digest that the firmware would report for such a guest. */
export const measure = async (options: MeasureOptions, isGiven: IsGiven, around: Surroundings): Promise<void> => {
  if (options.cc !== 'snp') throw usageError(`--cc ${options.cc}: expected snp`)
  const signature = options.cpuSig ?? CPU_SIGNATURES[options.cpu]
  if (signature === undefined) {
    throw usageError(`--cpu ${options.cpu}: expected one of ${Object.keys(CPU_SIGNATURES).join(', ')}`)
  }
  const firmware = await load('firmware', options.firmware, around)
  if (isIgvm(firmware.bytes)) {
    measureIgvm(firmware, options, isGiven, around)
    return
  }
  const kernel = await kernelFiles(options, around)
  const { vcpus, features, vmmType: vmm } = options
  try {
    const ovmf = parseOvmf(firmware.bytes, `firmware ${firmware.name}`)
    const digest = snpLaunchDigest({ ovmf, vcpus, features, vmm, signature, kernel, name: `firmware ${firmware.name}` })
    print(digest, options, around)
  } catch (error) {
    if (error instanceof SevInputError) throw usageError(error.message)
    throw error
  }
}

const measureExamples = `
Examples:
  cofferdam measure --cc snp --firmware ovmf-amdsev --vcpus 4
      the launch digest as QEMU starts it; compare with MEASUREMENT in an attestation report
  cofferdam measure --cc snp --firmware OVMF.fd --kernel bzImage --initrd initrd.img --append console=ttyS0
      the same with the hashes of kernel, initrd and command line
  cofferdam measure --firmware ovmf-amdsev --cpu-sig 0xa10f11 --kernel sid-cloud --initrd i.cpio \\
      --append 'console=ttyS0,115200 panic=-1'
      what cofferdam boot --cc snp --firmware ovmf-amdsev --initrd i.cpio launches, as its --stats say
`

// Help can't write a bigint itself: it needs the default's text.
const featuresOption = new Option('--features <N>', 'SEV_FEATURES of the processors')
  .argParser(parse.parseQword)
  .default(1n, '0x1')

/** Adds `measure`. */
export const addMeasure = (program: Command, around: Surroundings): void => {
  const command = program.command('measure')
  command
    .description('Prints the launch digest of a confidential guest, without starting it.')
    .addOption(choice('--cc <MODE>', 'confidential mode', ['snp']))
    .requiredOption('--firmware <NAME|FILE>', 'OVMF image or IGVM file', parse.parseText)
    .option('--vcpus <N>', 'processors', parse.parseVcpus, 1)
    .addOption(featuresOption)
    .option('--cpu <MODEL>', "QEMU's name of the processor model", parse.parseText, 'EPYC-v4')
    .option('--cpu-sig <N>', 'CPUID leaf 1 EAX, instead of --cpu', parse.parseDword)
    .addOption(choice('--vmm-type <VMM>', 'hypervisor that launches', ['qemu', 'ec2', 'gce']))
    .option('--kernel <NAME|FILE>', 'kernel whose hash is part of the launch', parse.parseText)
    .option('--initrd <FILE>', 'its initramfs', parse.parseText)
    .option('--append <TEXT>', 'its parameters')
    .addOption(choice('--output-format <FORMAT>', 'how the digest is written', ['hex', 'base64']))
    .addHelpText('after', measureExamples)
    .allowExcessArguments(false)
    .action((options: MeasureOptions) =>
      measure(options, (name) => command.getOptionValueSource(name) === 'cli', around))
}
