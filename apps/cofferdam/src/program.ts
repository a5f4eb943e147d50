import { ERRATA } from '@cofferdam/machine'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { addAttestation } from './commands/attestation.ts'
import { boot, type BootOptions } from './commands/boot.ts'
import { checkPlain } from './commands/confidential.ts'
import { fetchCommand, initramfsCommand, listImages } from './commands/images.ts'
import { measure, type MeasureOptions } from './commands/measure.ts'
import { showRules } from './commands/rules.ts'
import { deviceNames, parseDevice } from './devices.ts'
import { parseDisk } from './disks/parse-disk.ts'
import { hostileHelp, hostileOption } from './hostile.ts'
import { exitCodeOfError, isCliError, usageError } from './errors.ts'
import { catalog } from './images/catalog.ts'
import * as parse from './parse.ts'
import { parseForward, parseNet } from './net/parse-net.ts'
import { parseShare } from './share/parse-share.ts'
import { addSnapshotOptions, askedOf, checkSnapshotOptions, snapshotHelp } from './snapshot/options.ts'
import { createPaint, type Surroundings } from './surroundings.ts'
import { ownVersion } from './version.ts'

const kernels = catalog.filter(({ kind }) => kind === 'kernel').map(({ name }) => name)

// Options of the full design (architecture.md, "Command line") that this version refuses, with what they take.
const laterOptions: readonly (readonly [string, string])[] = [
  ['--host <KERNEL>', 'host'],
  ['--kexec <KERNEL>', 'kexec'],
]

const refuseLater = (given: Readonly<Record<string, unknown>>): void => {
  for (const [flags, name] of laterOptions) {
    if (given[name] === undefined) continue
    throw usageError(`${flags.split(' ')[0] ?? flags}: not in this version yet`)
  }
}

/** What a machine with a PSP can't be. */
const checkPsp = ({ cc, cpu, snapshotAt, snapshotEvery, restore }: BootOptions): void => {
  if (cc !== 'none') {
    throw usageError(
      `--device psp: the guest of --cc ${cc} has none; its host's takes its messages. Leave one of them out`,
    )
  }
  if (cpu !== 'amd') throw usageError('--device psp: the PSP is on AMD processors; add --cpu amd')
  const option = restore !== undefined ? '--restore' : snapshotAt !== undefined ? '--snapshot-at' : '--snapshot-every'
  if ((restore ?? snapshotAt ?? snapshotEvery) === undefined) return
  throw usageError(`${option}: a machine with --device psp has no snapshot yet; leave one of them out`)
}

/** What only goes together, or not at all. */
const checkTogether = (given: BootOptions & Record<string, unknown>, isGiven: (name: string) => boolean): void => {
  const { cc, svsm, accept } = given
  if (svsm === undefined && given.svsmVtpm !== undefined) {
    throw usageError('--svsm-vtpm: the TPM is the SVSM\'s; add --svsm')
  }
  // Otherwise it is the snapshot that says what there is.
  if (given.restore === undefined || isGiven('cc')) checkPlain(given)
  if (given.device?.some(({ kind }) => kind === 'psp')) checkPsp(given)
  if (cc !== 'snp') return
  if (isGiven('cpu') && given.cpu !== 'amd') throw usageError('--cpu: SEV-SNP is on AMD processors; leave --cpu out')
  if (accept === 'eager' && given.firmware !== undefined && given.firmware !== 'direct') {
    throw usageError('--accept eager: --firmware decides itself what it accepts; leave one of them out')
  }
  for (const [name, value] of [['--vars', given.vars], ['--save-vars', given.saveVars]] as const) {
    if (value !== undefined) {
      throw usageError(
        `${name}: firmware of an SNP guest has no variable store; what it sets ends with the guest. Leave it out`,
      )
    }
  }
}

const bootExamples = `
Examples:
  cofferdam boot
      Debian's newest cloud kernel to a shell, 2G of memory; Ctrl-A X leaves
  cofferdam boot --kernel bookworm-cloud --vcpus 4 --memory 4095M
      Linux 6.1 on four processors
  cofferdam boot --cc snp --run 'dmesg | grep SEV; grep Unaccepted /proc/meminfo'
      the kernel as a confidential guest: SEV-SNP silicon, a host that launches it, memory that it accepts
  cofferdam boot --cc snp --firmware ovmf-amdsev --kernel trixie-cloud --vcpus 2
      the same through OVMF, which verifies the kernel by hashes that are part of its measurement
  cofferdam boot --cc snp --svsm --run 'dmesg | grep -i -e VMPL -e SVSM'
      the same at VMPL2, with our SVSM above it
  cofferdam boot --cc snp --sev-features secure-tsc,debug-swap --run 'dmesg | grep -i tsc'
      the same with a TSC that the host cannot change
  cofferdam boot --cc snp --hostile unmap@'shell ready'
      a host that attacks the guest: what it did and what the guest noticed is said at the end
  cofferdam boot --run 'cat /proc/cpuinfo; free -m' --append quiet
      one command instead of a shell, then power off; exit 3 when the command fails
  echo 'uname -a; sha256sum /bin/busybox' | cofferdam boot
      the same from a pipe: its lines are typed at the prompt, then the machine powers off
  cofferdam boot --add ./hello:/bin/hello --run hello
      a static program of yours in the guest
  cofferdam boot --kernel sid-generic --share ./src --run 'mount -t 9p -o version=9p2000.L share /root && ls /root'
      a folder of yours, which the guest can read
  cofferdam boot --kernel sid-generic --cpu amd --device psp --run 'modprobe kvm_amd; dmesg | grep -E "ccp|SEV"'
      a host of SEV guests to be, with the PSP that Linux's ccp drives
  cofferdam boot --net user --run 'ifconfig eth0 up; udhcpc -i eth0 -q; ping -c 3 gateway'
      a network card; the guest reaches its gateway and nothing else
  cofferdam boot --kernel ./bzImage --initrd ./initrd.img --append root=/dev/ram0 --timeout 60
      your own kernel and initramfs; gives up after a minute
  cofferdam boot --until 'Run /init' --stats boot.json --trace boot.json.perfetto </dev/null
      stops at that text; open the trace in https://ui.perfetto.dev
  cofferdam boot --firmware ovmf --vars my-vars.fd --save-vars my-vars.fd
      the same through UEFI, with variables that last; with a debug build of OVMF --debug-console shows what it says
  cofferdam boot --kernel ./test.flat --initrd none --device isa-debug-exit,iobase=0xf4,iosize=4 --device pc-testdev
      a Multiboot or PVH test kernel written for QEMU; its exit status becomes ours
  cofferdam boot --snapshot-at 'shell ready' --snapshot shell.snap --snapshot-stop
  cofferdam boot --restore shell.snap
      a shell at once, as often as wanted; --snapshot-every 10s keeps a long run that may be killed. With --cc snp, too:
      the file then says that it holds an SNP guest
  cofferdam boot --append nokaslr --gdb 1234
      waits for gdb: gdb vmlinux -ex 'target remote :1234' -ex 'hbreak start_kernel' -ex continue
      (with --cc snp it sees what the guest sees, which no host could)

Exit codes: 0 the guest powered off or reached --until; 1 the same, but it broke rules of the architecture (findings);
2 usage or bad input; 3 the guest crashed, hung or timed out, with or without findings.
With --device isa-debug-exit a guest that writes V there leaves with 2 * V + 1, as with QEMU.
`

/** An option with a few values; the first one is the default. */
const choice = (flags: string, description: string, values: readonly string[]): Option =>
  new Option(flags, description).choices(values).default(values[0])
const addOption = (description: string): Option =>
  new Option('--add <HOST:GUEST>', description).argParser(parse.parseAdd)
const withOption = (): Option =>
  new Option('--with <PROGRAM>', 'put a program of the catalog into it: kexec-tools').argParser(parse.collect)
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

const addBoot = (program: Command, around: Surroundings, onExit: (code: number) => void): void => {
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

const imagesExamples = `
Images are Debian packages, resolved by name to the newest version, verified by apt and kept in your cache folder; what
is there is used without the network.

Examples:
  cofferdam images
  cofferdam images fetch --all
  cofferdam images fetch sid-cloud --refresh
  cofferdam images initramfs initramfs.cpio --add ./hello:/bin/hello
`

const addImages = (program: Command, around: Surroundings): void => {
  const command = program
    .command('images')
    .description('Lists and fetches kernels, firmware and programs.')
    .option('--json', 'as JSON')
    .addHelpText('after', imagesExamples)
    .allowExcessArguments(false)
    .action((options: { json?: boolean }) => listImages(options, around))
  command
    .command('fetch')
    .description('Fetches images; without names those that a plain boot needs.')
    .argument('[names...]', catalog.map(({ name }) => name).join(', '))
    .option('--all', 'every image')
    .option('--refresh', 'look for newer versions of what is there')
    .option('--modules', "the kernels' modules too, which --disk, --device and --share need")
    .action((names: string[], options: Parameters<typeof fetchCommand>[1]) => fetchCommand(names, options, around))
  command
    .command('initramfs')
    .description('Writes the default initramfs to a file. The same input gives the same bytes.')
    .argument('<FILE>')
    .addOption(addOption('put a file into it; may be repeated'))
    .addOption(withOption())
    .option('--gzip', 'compress it')
    .action((path: string, options: Parameters<typeof initramfsCommand>[1]) => initramfsCommand(path, options, around))
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

const addMeasure = (program: Command, around: Surroundings): void => {
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

const addRules = (program: Command, around: Surroundings): void => {
  program
    .command('rules')
    .description('Lists the rules of the architecture that guests are held to, or explains one.')
    .argument('[ID]', 'the rule to explain, as a finding names it')
    .addHelpText('after', '\nExample:\n  cofferdam rules snp-double-validation\n')
    .allowExcessArguments(false)
    .action((id: string | undefined) => { showRules(id, around) })
}

/** Commander's message in our form: `--memory 12: expected …`. */
const ownMessage = (text: string): string =>
  text
    .replace(/^error: /, '')
    .replace(/^option '(--[\w-]+)[^']*' argument '([\s\S]*)' is invalid\. /, '$1 $2: ')
    .replace(/: Allowed choices are (.*)\.$/m, ': expected one of $1')

/** Builds the whole command line. */
export const createProgram = (around: Surroundings, onExit: (code: number) => void): Command => {
  const paint = createPaint(around.stderr)
  const program = new Command('cofferdam')
    .description('Boots unmodified 64-bit kernels on a PC written in TypeScript.')
    .version(ownVersion(), '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show this')
    .helpCommand(false)
    .showHelpAfterError('Run with --help for the options and examples.')
    .configureOutput({
      writeOut: (text) => around.stdout.write(text),
      writeErr: (text) => around.stderr.write(text),
      outputError: (text, write) => write(`${paint('bold', 'cofferdam:')} ${ownMessage(text)}`),
    })
    .exitOverride()
  program.addHelpText('after', '\nStart with: cofferdam boot\n')
  addBoot(program, around, onExit)
  addImages(program, around)
  addMeasure(program, around)
  addRules(program, around)
  addAttestation(program, around, onExit)
  return program
}

const printError = (error: unknown, { stderr }: Surroundings): void => {
  const paint = createPaint(stderr)
  const message = error instanceof Error ? error.message : String(error)
  stderr.write(`${paint('bold', 'cofferdam:')} ${message}\n`)
  if (isCliError(error) && error.hint !== undefined) stderr.write(`${error.hint}\n`)
  if (process.env.COFFERDAM_DEBUG && error instanceof Error) stderr.write(`${error.stack ?? ''}\n`)
  else if (!isCliError(error)) stderr.write('This is a bug of cofferdam; COFFERDAM_DEBUG=1 shows where.\n')
}

/**
 * Runs the command line.
 * @param args - without the program's name
 * @returns the exit code
 */
export const runCli = async (args: readonly string[], around: Surroundings): Promise<number> => {
  let exitCode = 0
  const program = createProgram(around, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(args, { from: 'user' })
    return exitCode
  } catch (error) {
    // commander has already said what was wrong; showing help is no error
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    printError(error, around)
    return exitCodeOfError(error)
  }
}
