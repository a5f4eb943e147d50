/** The options of `cofferdam boot`. */
import { ERRATA } from '@cofferdam/machine'
import { InvalidArgumentError, Option, type Command } from 'commander'
import { deviceNames, parseDevice } from '../devices.ts'
import { parseDisk } from '../disks/parse-disk.ts'
import { hostileHelp, hostileOption } from '../hostile.ts'
import { catalog } from '../images/catalog.ts'
import { parseForward, parseNet } from '../net/parse-net.ts'
import * as parse from '../parse.ts'
import { parseShare } from '../share/parse-share.ts'
import { addSnapshotOptions, askedOf, checkSnapshotOptions, snapshotHelp } from '../snapshot/options.ts'
import type { Surroundings } from '../surroundings.ts'
import { boot } from './boot.ts'
import { bootExamples } from './boot-help.ts'
import type { BootOptions } from './boot-options.ts'
import { checkTogether, laterOptions, refuseLater } from './boot-refusals.ts'
import { addOption, choice, withOption } from './options.ts'

const kernels = catalog.filter(({ kind }) => kind === 'kernel').map(({ name }) => name)

const memoryOption = new Option('--memory <SIZE>', 'RAM: a number and K, M, G or T; it costs what the guest touches')
  .argParser(parse.parseMemory)
  .default(2 ** 31, '2G')

const parseMode = (text: string): string => {
  if (text === 'none' || text === 'snp') return text
  throw new InvalidArgumentError(`${text === 'tdx' ? 'not in this version yet; ' : ''}expected none or snp`)
}
const ccOption = new Option('--cc <MODE>', 'confidential mode: none, or snp for an SEV-SNP guest under our host')
  .argParser(parseMode)
  .default('none')

const acceptOption = new Option(
  '--accept <POLICY>',
  'when memory is accepted: as the kernel needs it (lazy, the default), all before it runs (eager), or as needed ' +
    'while the default initramfs takes the rest by and by (background)',
).choices(['lazy', 'eager', 'background'])

const svsmOption = new Option(
  '--svsm [LEVEL]', 'with --cc snp: an SVSM at VMPL0, and the guest at VMPL 1, 2 (the default) or 3',
).preset('2').argParser(parse.parseVmpl)
const sevFeaturesOption = new Option(
  '--sev-features <LIST>',
  `features of an SNP guest's processors, with commas between: ${parse.sevFeatureNames.join(', ')}`,
).argParser(parse.parseSevFeatures)

const erratumOption = new Option(
  '--cpu-erratum <NAME>', 'with --cc snp, coherency: processors whose guests must touch each page that they validate',
).choices(ERRATA)

const diskOption = new Option(
  '--disk <FILE[,MODE][,serial=TEXT]>',
  'a raw disk image; MODE is ro, rw, overlay=FILE, or overlay (writes end with the run; the default); may be repeated',
).argParser(parseDisk)
const deviceOption = new Option('--device <NAME>', `one more device: ${deviceNames.join(', ')}; may be repeated`)
  .argParser(parseDevice)

const shareOption = new Option(
  '--share <DIR[,tag=NAME][,rw]>', 'a folder for the guest (9p), read-only without rw; may be repeated',
).argParser(parseShare)

const netOption = new Option('--net <user[,mac=ADDRESS]>', 'a network card; its network ends in this process')
  .argParser(parseNet)
const forwardOption = new Option(
  '--forward <ADDRESS:PORT:GUESTPORT>', 'let a loopback port of this host lead to the guest; may be repeated',
).argParser(parseForward)

/** Adds `boot`. */
export const addBoot = (program: Command, around: Surroundings, onExit: (code: number) => void): void => {
  const command = program
    .command('boot')
    .summary('boot a kernel to a shell')
    .description(
      'Boots an unmodified 64-bit Linux kernel. The first serial port is the terminal: Ctrl-A X leaves, Ctrl-A H ' +
        'helps, and Ctrl-C goes to the guest. With a pipe or a file as input its lines are typed at the prompt.',
    )
  command
    .optionsGroup('What to boot:')
    .option(
      '--kernel <NAME|FILE>', `bzImage, PVH or Multiboot file, or ${kernels.join(', ')}`, parse.parseText, 'sid-cloud',
    )
    .option('--initrd <FILE>', 'initramfs file, or none; the default is BusyBox with a shell', parse.parseText)
    .option('--append <TEXT>', 'more kernel parameters, after console=ttyS0,115200 panic=-1')
    .option('--run <COMMAND>', 'run this in the guest instead of a shell, then power off', parse.parseText)
    .addOption(addOption('put a file into the default initramfs; may be repeated'))
    .addOption(withOption())
  command
    .optionsGroup('Firmware:')
    .option(
      '--firmware <NAME|FILE>',
      'start at the reset vector: ovmf, ovmf-amdsev, a flash image, or an IGVM file; direct is the default',
      parse.parseText,
    )
    .option('--vars <FILE>', 'variable store to start with; the file itself is not changed', parse.parseText)
    .option('--save-vars <FILE>', 'write the variable store there at the end; may be the same file', parse.parseText)
    .option('--debug-console [FILE]', 'what the guest sends to ports 0x402 and 0xe9; to stderr, or a file')
  command
    .optionsGroup('The machine:')
    .addOption(memoryOption)
    .option('--vcpus <N>', 'processors', parse.parseVcpus, 1)
    .addOption(choice('--cpu <VENDOR>', 'whose processor', ['intel', 'amd']))
    .addOption(ccOption)
    .addOption(acceptOption)
    .addOption(svsmOption)
    .addOption(sevFeaturesOption)
    .addOption(erratumOption)
    .addOption(hostileOption)
    .option(
      '--svsm-vtpm [DIR]',
      'with --svsm: a TPM 2.0 for it, by swtpm, whose state is kept in DIR or ends with the run; none is the default',
    )
    .addOption(diskOption)
    .addOption(deviceOption)
    .addOption(shareOption)
    .addOption(netOption)
    .addOption(forwardOption)
    .addOption(choice('--engine <ENGINE>', 'how instructions run', ['auto', 'interp', 'jit']))
    .option('--seed <N>', 'the same seed and input give the same run, byte for byte', parse.parseSeed, 1)
  command
    .optionsGroup('When to stop:')
    .option('--until <TEXT>', 'stop when the console shows this text', parse.parseText)
    .option('--timeout <SECONDS>', 'give up after so much wall time (exit 3)', parse.parseSeconds)
    .option('--no-reboot', 'stop at a reset instead of starting again')
  command
    .optionsGroup('What to record:')
    .option('--stats <FILE>', 'counters and times, JSON', parse.parseText)
    .option('--record <FILE>', 'the console as an asciicast, with the machine\'s times', parse.parseText)
    .option('--gdb <[ADDRESS:]PORT>', 'wait for gdb there, on loopback if no address is given', parse.parseGdb)
    .option('--report <FILE>', 'rules that the guest broke: .json, .xml (JUnit) or .sarif', parse.parseReportPath)
    .option(
      '--symbols <FILE>', 'System.map or vmlinux, for findings; without it the kernel\'s own are found',
      parse.parseText,
    )
    .option('--trace <FILE>', 'events: .jsonl one a line; .json or .perfetto for ui.perfetto.dev', parse.parseTracePath)
  addSnapshotOptions(command)
  command.optionsGroup('Help:').helpOption('-h, --help', 'show this')
  for (const [flags] of laterOptions) command.addOption(new Option(flags).hideHelp())
  command
    .addHelpText('after', hostileHelp + snapshotHelp + bootExamples)
    .allowExcessArguments(false)
    .action(async (given: BootOptions & Record<string, unknown>) => {
      refuseLater(given)
      const isGiven = (name: string): boolean => command.getOptionValueSource(name) === 'cli'
      checkTogether(given, isGiven)
      checkSnapshotOptions(given, isGiven)
      onExit(await boot({ ...given, asked: askedOf(given, isGiven) }, around))
    })
}
