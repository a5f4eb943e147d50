import { createHash } from 'node:crypto'
import type { Findings, ReportInput } from '@cofferdam/findings'
import type { HostileDeed, Machine, MachineEvent, MachineOptions } from '../machine-port.ts'
import { collectFindings, printFindings, writeReport, type SessionFindings } from '../findings/report.ts'
import { RULES } from '../findings/rules.ts'
import { ownVersion } from '../version.ts'
import { formatMemory, traceFormat } from '../parse.ts'
import { createProgressLine } from '../progress.ts'
import { openGdbServer, type Debugger } from '../run/gdb-server.ts'
import { openDebugConsole, type DebugConsole } from '../run/debug-console.ts'
import { createConsoleWatch, type ConsoleWatch } from '../run/console-watch.ts'
import { createSerialOutput, type SerialOutput } from '../run/output.ts'
import { createPhases, type Moment, type Phases } from '../run/phases.ts'
import { openRecording, type Recording } from '../run/recording.ts'
import { writeSnapshot, type RestoredRun } from '../snapshot/file.ts'
import { createSaving, type Saving } from '../snapshot/saving.ts'
import { runSession, type Outcome, type SessionOptions } from '../run/session.ts'
import { openTerminal, type Terminal } from '../run/terminal.ts'
import { openTrace, type TraceWriter } from '../run/trace.ts'
import { createHostileWatch, hostileLines, type HostileWatch } from '../hostile.ts'
import { createPaint, type Surroundings } from '../surroundings.ts'
import { exitCodeOf, printOutcome, writeStats } from './boot-report.ts'
import { writeVariables } from './boot-firmware.ts'
import type { BootImages, BootOptions } from './boot-options.ts'

interface Session {
  readonly restored: RestoredRun | undefined
  readonly options: BootOptions
  readonly images: BootImages
  readonly commandLine: string
  readonly around: Surroundings
  readonly terminal: Terminal
  readonly output: SerialOutput
  readonly watch: ConsoleWatch
  readonly phases: Phases
  readonly trace: TraceWriter | undefined
  readonly debug: DebugConsole | undefined
  readonly recording: Recording | undefined
  readonly moment: () => Moment
  readonly start: () => Machine
  /** Of each machine that was started. */
  readonly findings: readonly Findings[]
  readonly consoleSha256: () => string
  readonly hostile: HostileWatch | undefined
  readonly machine: () => Machine | undefined
}

const openTraceOf = ({ trace, vcpus }: BootOptions): TraceWriter | undefined =>
  trace === undefined ? undefined : openTrace(trace, traceFormat(trace) ?? 'lines', vcpus)

interface Wiring extends Pick<MachineOptions, 'onSerial' | 'onDebugConsole' | 'vars' | 'wallClock'> {
  readonly trace: TraceWriter | undefined
}

/** What a machine is made from; `restored` only for the first one of a session, since a reset is a new start. */
const machineOptions = (
  options: BootOptions, images: BootImages, append: string, wiring: Wiring, restored: RestoredRun | undefined,
): MachineOptions => {
  const { memory, vcpus, seed, engine, cpu, cc, accept, svsm, sevFeatures, cpuErratum, hostile } = options
  const { kernel, initrd, firmware } = images
  const { trace, onSerial, onDebugConsole, vars, wallClock } = wiring
  return {
    ...{ memory, vcpus, seed, engine, cpu, cc, append, onSerial },
    ...(sevFeatures !== undefined && { sevFeatures }),
    ...(cpuErratum !== undefined && { errata: [cpuErratum] }),
    ...(accept !== undefined && { accept: accept === 'eager' ? 'eager' : 'lazy' }),
    ...(svsm !== undefined && { svsm: { vmpl: svsm, ...(images.vtpm && { vtpm: images.vtpm }) } }),
    ...(restored && { restore: restored.snapshot }),
    ...(hostile && { hostile }),
    ...(kernel && { kernel }),
    ...(initrd && { initrd }),
    ...(firmware && { firmware }),
    ...(vars && { vars }),
    ...(images.symbols && { symbols: images.symbols }),
    ...(images.disks.length > 0 && { disks: images.disks }),
    ...(images.devices.length > 0 && { devices: images.devices }),
    ...(onDebugConsole && { onDebugConsole }),
    ...(wallClock && { wallClock }),
    ...(trace && { onEvent: (event: MachineEvent) => trace.event(event) }),
  }
}

const openSession = (
  options: BootOptions, images: BootImages, commandLine: string, around: Surroundings,
  restored: RestoredRun | undefined,
): Session => {
  const trace = openTraceOf(options)
  const phases = createPhases()
  const hash = createHash('sha256')
  let machine: Machine | undefined
  const findings: Findings[] = []
  const moment = (): Moment => {
    const stats = machine?.stats()
    return { wall: around.now(), virtual: stats?.virtualTime ?? 0, instructions: stats?.instructions ?? 0 }
  }
  const watch = createConsoleWatch({
    ...(options.until !== undefined && { until: options.until }),
    ...(options.snapshotAt !== undefined && { snapshotAt: options.snapshotAt }),
    ...(restored && { before: restored.attachment.console }),
    onMilestone: (milestone) => phases.reach(milestone, moment()),
  })
  const onSerial = (bytes: Uint8Array): void => {
    hash.update(bytes)
    watch.see(bytes)
    hostile?.see(bytes)
    output.write(bytes)
    recording?.output(bytes, machine?.stats().virtualTime ?? 0)
  }
  const deeds = (): readonly HostileDeed[] => machine?.stats().snp?.hostile ?? []
  const hostile = options.hostile && createHostileWatch(() => deeds().some(({ did }) => did !== null))
  const recording = options.record === undefined ? undefined : openRecording(options.record)
  const debug = options.debugConsole === undefined ? undefined : openDebugConsole(options.debugConsole, around)
  const start = (): Machine => {
    // What the guest has put into its variables outlives a reset.
    const left = machine?.variables()
    const vars = left === undefined ? images.vars : { name: 'variables', bytes: left }
    const wiring: Wiring = {
      onSerial, trace, ...(debug && { onDebugConsole: debug.byte }), ...(vars && { vars }),
      ...(options.stats !== undefined && { wallClock: around.now }),
    }
    const first = machine === undefined ? restored : undefined
    images.vtpm?.powerOn()
    machine = around.createMachine(machineOptions(options, images, commandLine, wiring, first))
    if (machine.findings) findings.push(machine.findings)
    phases.reach(first === undefined ? 'machine' : 'restored', moment())
    return machine
  }
  const output = createSerialOutput(around.stdout, () => terminal.leave('interrupted'))
  const terminal = openTerminal(around.stdin, around.stderr, () => output.release())
  const shared = {
    restored, options, images, commandLine, around, terminal, output, watch, phases, trace, debug, recording, moment,
    start, findings,
    hostile,
  }
  return { ...shared, consoleSha256: () => hash.digest('hex'), machine: () => machine }
}

const greet = ({ options, images, restored, watch, around: { stderr } }: Session): void => {
  if (!stderr.isTTY) return
  const vcpus = `${options.vcpus} vCPU${options.vcpus === 1 ? '' : 's'}`
  const keys = 'Ctrl-A X leaves, Ctrl-A H helps'
  const name = createPaint(stderr)('bold', 'cofferdam:')
  const what = [images.firmware, images.kernel].flatMap((image) => (image ? [image.name] : [])).join(', ')
  if (restored === undefined) {
    stderr.write(`${name} booting ${what}, ${formatMemory(options.memory)}, ${vcpus} (${keys})\n`)
    return
  }
  // What a person would see on a terminal that stayed.
  const { booted } = restored.attachment
  stderr.write(`${name} restored ${booted}, ${formatMemory(options.memory)}, ${vcpus} (${keys})\n`)
  stderr.write(`${watch.lastLines().join('\n')}${watch.atLineStart ? '\n' : ' '}`)
}

/** What takes the session's snapshots. */
const savingOf = ({ options, images, restored, commandLine, watch, around }: Session): Saving | undefined => {
  const { snapshot: path } = options
  if (path === undefined) return undefined
  const kernel = images.kernel?.name ?? images.firmware?.name ?? ''
  return createSaving({
    choice: options,
    watch,
    booted: { booted: restored?.attachment.booted ?? kernel, commandLine, ownShell: images.ownInitramfs },
    write: async (snapshot) => {
      await writeSnapshot(path, snapshot)
      around.stderr.write(`cofferdam: wrote ${path}\n`)
    },
  })
}

const run = async (session: Session, held: Debugger | undefined): Promise<Outcome> => {
  const { options, images, around, terminal, output } = session
  const progress = createProgressLine(around.stderr)
  // the guest's own output takes the place of the progress line as soon as there is some
  const breathe = async (): Promise<void> => {
    if (!output.silent()) progress.clear()
    else if (around.stderr.isTTY) {
      const millions = session.moment().instructions / 1e6
      progress.show(`booting: ${millions.toFixed(0)} million instructions`, undefined)
    }
    await output.flush()
  }
  const saving = savingOf(session)
  const sessionOptions: SessionOptions = {
    start: session.start,
    watch: session.watch,
    input: terminal.input,
    interactive: around.stdin.isTTY,
    ownShell: images.ownInitramfs && options.run === undefined,
    // A restored machine is started anew by firmware only: there is no kernel to load.
    noReboot: !options.reboot || (session.restored !== undefined && !images.firmware),
    debugExit: options.device?.some(({ kind }) => kind === 'isa-debug-exit') ?? false,
    ...(options.timeout !== undefined && { timeout: options.timeout }),
    ...(held && { debugger: held }),
    ...(saving && { saving }),
    ...(session.restored && { scriptBefore: session.restored.attachment.script }),
    now: around.now,
    breathe,
    leaving: () => terminal.leaving(),
    ...(images.forwards.any && { outside: () => images.forwards.stirred() }),
    onNoInput: () => around.stderr.write('\ncofferdam: no input for 10 s: powering off\n'),
  }
  images.forwards.onStir(() => terminal.input.wake())
  const outcome = await runSession(sessionOptions)
  progress.clear()
  return outcome
}

const reportInput = (
  { options, images, commandLine }: Session, outcome: Outcome, found: SessionFindings,
): ReportInput => ({
  ...found,
  tool: { name: 'cofferdam', version: ownVersion() },
  run: {
    kernel: images.kernel?.name ?? images.firmware?.name ?? 'none', commandLine, seed: options.seed,
    vcpus: options.vcpus,
    memoryBytes: options.memory, outcome: outcome.how,
  },
  rules: RULES,
})

const finish = (session: Session, outcome: Outcome): number => {
  const { options, images, commandLine, around, output, phases, trace, terminal } = session
  const end = session.moment()
  const list = phases.list(end)
  for (const { stats, from, to } of list) trace?.phase({ name: stats.name, from: from.virtual, to: to.virtual })
  const found = collectFindings(session.findings)
  const exitCode = terminal.signalCode() ?? exitCodeOf(outcome, found.findings.length)
  const traceSha256 = trace?.close()
  session.debug?.close()
  session.recording?.close()
  if (!output.silent() && !output.atLineStart()) around.stderr.write('\n')
  printOutcome(outcome, around)
  const stats = session.machine()?.stats()
  const deeds = stats?.snp?.hostile ?? []
  printFindings(found, around, deeds.some(({ did }) => did !== null))
  if (options.report !== undefined) writeReport(options.report, reportInput(session, outcome, found))
  const story = hostileLines({
    deeds, unvalidated: stats?.unvalidatedAccesses ?? 0,
    failure: outcome.kind === 'guest' ? outcome : undefined, noticed: session.hostile?.noticed(),
  })
  for (const line of story) around.stderr.write(`cofferdam: ${line}\n`)
  if (options.saveVars !== undefined) writeVariables(options.saveVars, session.machine())
  if (options.stats !== undefined) {
    const hashes = { consoleSha256: session.consoleSha256(), traceSha256 }
    const shared = { options, images, commandLine, outcome, exitCode, end, found, machine: session.machine() }
    writeStats(options.stats, { ...shared, ...hashes, phases: list.map(({ stats }) => stats) })
  }
  return exitCode
}

/** Boots images that are loaded and stays until the guest ends. Returns the exit code. */
export const bootSession = async (
  options: BootOptions,
  images: BootImages,
  commandLine: string,
  around: Surroundings,
  restored?: RestoredRun,
): Promise<number> => {
  const session = openSession(options, images, commandLine, around, restored)
  try {
    greet(session)
    const held =
      options.gdb && await openGdbServer(options.gdb, (line) => { around.stderr.write(`cofferdam: ${line}\n`) })
    const exitCode = finish(session, await run(session, held))
    held?.close(exitCode)
    return exitCode
  } finally {
    session.terminal.detach()
  }
}
