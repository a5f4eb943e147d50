import type { Machine, ProcessorPlace, RunResult } from '../machine-port.ts'
import type { ConsoleWatch } from './console-watch.ts'
import type { Debugger } from './gdb-server.ts'
import type { Saving } from '../snapshot/saving.ts'
import type { InputQueue } from './input.ts'
import { createScript, type Script, type ScriptState } from './script.ts'
import type { Leaving } from './terminal.ts'

/** How a session ended. `ok` is exit code 0, `guest` is exit code 3 with `why`. */
export type Outcome =
  | { readonly kind: 'ok'; readonly how: 'poweroff' | 'halt' | 'until' | 'snapshot' | 'reset' | 'debug-exit' | Leaving }
  /** A test kernel left through the debug exit that the person asked for: its status is the process's. */
  | { readonly kind: 'status'; readonly how: 'debug-exit'; readonly status: number }
  | GuestFailure

/** A guest that did not end as it should. */
export interface GuestFailure {
  readonly kind: 'guest'
  readonly how: 'panic' | 'crash' | 'emulator' | 'timeout' | 'hang' | 'status' | 'reset' | 'snapshot'
  /** In words. */
  readonly why: string
  readonly lastLines: readonly string[]
  readonly places: readonly ProcessorPlace[]
  /** Registers of the processor that shut down, in lines. */
  readonly state?: readonly string[]
  /** What the machine threw, when it broke rather than the guest. */
  readonly cause?: unknown
}

/** What a session works with. */
export interface SessionOptions {
  /** Makes the machine; again after a reset. Its serial output must go to `watch` and to the person. */
  readonly start: () => Machine
  readonly watch: ConsoleWatch
  readonly input: InputQueue
  /** A person sits at the console: waiting takes wall time. Otherwise virtual time is skipped at once. */
  readonly interactive: boolean
  /** The guest is our own initramfs, which knows `poweroff`. */
  readonly ownShell: boolean
  /** Whether a reset ends the session instead of starting the machine again. */
  readonly noReboot: boolean
  /** The debug exit is there by `--device`: its status is the session's. */
  readonly debugExit?: boolean
  /** Wall seconds after which the session is given up. */
  readonly timeout?: number
  /** Wall time in milliseconds. */
  readonly now: () => number
  /** Resolves when the person's terminal or pipe has taken what was written, and other events had their turn. */
  readonly breathe: () => Promise<void>
  /** Whether the person asked to leave (`left`) or a signal came (`interrupted`). */
  readonly leaving: () => Leaving | undefined
  /**
   * The host may connect to the guest: waiting takes wall time, and the guest may wait for ever. Answers whether
   * something has come since the last call; something that comes wakes `input`.
   */
  readonly outside?: () => boolean
  /** Called when the machine starts again after a reset. */
  readonly onRestart?: () => void
  /** Called when piped input does not come and the session powers off. */
  readonly onNoInput?: () => void
  /** Takes snapshots. */
  readonly saving?: Saving
  /** What a snapshot kept of the script; the machine goes on from there. */
  readonly scriptBefore?: ScriptState
  /** Whether and when the machine may run. */
  readonly debugger?: Debugger
  /** Instructions per slice. */
  readonly slice?: number
}

// A slice takes a few milliseconds at 10⁹ instructions a second: short enough for a keystroke.
const defaultSlice = 4_000_000
// One that takes longer (code that changes itself, registers of devices) is looked after so often, in wall
// milliseconds.
const lookAfter = 50
// Restarts without a shell in between are a loop.
const restartsWithoutShell = 3

interface Session extends SessionOptions {
  machine: Machine
  readonly script: Script
  readonly deadline: number
  restarts: number
  shellsBefore: number
}

const guest = (session: Session, how: GuestFailure['how'], why: string): GuestFailure => ({
  kind: 'guest',
  how,
  why,
  lastLines: session.watch.lastLines(),
  places: session.machine.places(),
})

const panic = (session: Session): GuestFailure => {
  const { panicReason } = session.watch
  return guest(session, 'panic', panicReason === '' ? 'the kernel panicked' : `the kernel panicked: ${panicReason}`)
}

/** The machine itself broke: a bug of ours, or more memory than this process can have. */
const broken = (session: Session, cause: unknown): GuestFailure => {
  const why = `the machine broke: ${cause instanceof Error ? cause.message : String(cause)}`
  try {
    return { ...guest(session, 'emulator', why), cause }
  } catch {
    return { kind: 'guest', how: 'emulator', why, lastLines: session.watch.lastLines(), places: [], cause }
  }
}

/** @param resumed - it goes on with a slice that was interrupted, in which a script types nothing */
const runSlice = (session: Session, instructions: number, resumed: boolean): RunResult | GuestFailure => {
  try {
    if (session.interactive) feed(session)
    else if (!resumed) session.script.type(session.machine)
    const until = session.now() + lookAfter
    return session.machine.run({ instructions, interrupted: () => session.now() >= until })
  } catch (error) {
    // A file that can't be used, found late: a piece of a snapshot.
    if (error instanceof Error && 'file' in error && 'field' in error) throw error
    return broken(session, error)
  }
}

/**
 * Runs a slice, and in between lets go what depends on the host's clock alone: signals, the timeout, a person's keys.
 * What a script types and what ends a session otherwise waits for the end of the slice, which no clock moves.
 */
const runWholeSlice = async (session: Session, instructions: number): Promise<RunResult | GuestFailure | Outcome> => {
  for (let left = instructions; ;) {
    const result = runSlice(session, left, left !== instructions)
    await session.breathe()
    if ('kind' in result || result.reason !== 'interrupted') return result
    const given = checkClock(session)
    if (given) return given
    // A debugger stops the machine wherever it is.
    if (session.debugger) return { reason: 'budget' }
    left = result.left
  }
}

const feed = ({ machine, input }: Session): void => {
  for (let bytes = input.take(); bytes !== undefined; bytes = input.take()) {
    const taken = machine.serialInput(bytes)
    if (taken === bytes.length) continue
    input.putBack(bytes.subarray(taken))
    return
  }
}

const timeLeft = (session: Session): number => Math.max(0, session.deadline - session.now())

/** A person's guest idles: sleep in wall time until the guest's next timer, a key, or something from outside. */
const waitForPerson = async (session: Session, idleUntil: number | undefined): Promise<void> => {
  if (session.interactive && !session.input.empty) return
  if (session.outside?.() === true) return
  const idleFor = idleUntil === undefined ? Infinity : (idleUntil - session.machine.stats().virtualTime) / 1e6
  const milliseconds = Math.min(idleFor, timeLeft(session), 60_000)
  if (milliseconds > 0.5) await session.input.wait(milliseconds)
}

const waitForScript = async (session: Session, idleUntil: number | undefined): Promise<Outcome | undefined> => {
  const why = await session.script.onIdle(session.machine, idleUntil)
  return why === undefined ? undefined : guest(session, 'hang', why)
}

const onReset = (session: Session): Outcome | undefined => {
  const { watch } = session
  if (watch.panicked) return panic(session)
  if (session.noReboot) return { kind: 'ok', how: 'reset' }
  session.restarts = watch.shells > session.shellsBefore ? 1 : session.restarts + 1
  session.shellsBefore = watch.shells
  if (session.restarts > restartsWithoutShell) {
    return guest(session, 'reset', `the guest reset ${session.restarts} times without reaching a shell`)
  }
  session.onRestart?.()
  session.machine = session.start()
  session.debugger?.started(session.machine)
  session.script.restart()
  return undefined
}

const onResult = async (session: Session, result: RunResult): Promise<Outcome | undefined> => {
  const { watch } = session
  switch (result.reason) {
    case 'watch':
    case 'interrupted':
      return undefined
    case 'budget':
      session.script.onBusy()
      return undefined
    case 'idle':
      if (watch.halted) return { kind: 'ok', how: 'halt' }
      if (!session.interactive) {
        const end = await waitForScript(session, result.idleUntil)
        if (!session.outside) return end
        if (session.script.typing()) return undefined
      }
      await waitForPerson(session, result.idleUntil)
      return undefined
    case 'poweroff': {
      if (watch.panicked) return panic(session)
      const status = watch.runStatus ?? 0
      if (status !== 0) return guest(session, 'status', `the command left with status ${status}`)
      return { kind: 'ok', how: 'poweroff' }
    }
    case 'reset':
      return onReset(session)
    case 'debug-exit':
      if (session.debugExit === true) return { kind: 'status', how: 'debug-exit', status: result.status }
      return result.code === 0
        ? { kind: 'ok', how: 'debug-exit' }
        : guest(session, 'status', `the guest left through the debug exit with code ${result.code}`)
    case 'shutdown':
      if (watch.panicked) return panic(session)
      return { ...guest(session, 'crash', result.message), ...(result.state && { state: result.state }) }
    default:
      return result satisfies never
  }
}

/** What ends a session at any instant. */
const checkClock = (session: Session): Outcome | undefined => {
  const { watch, timeout } = session
  const leaving = session.leaving()
  if (leaving !== undefined) return { kind: 'ok', how: leaving }
  if (timeLeft(session) > 0) return undefined
  if (watch.panicked) return panic(session)
  return guest(session, 'timeout', `no end after ${timeout ?? 0} s of wall time`)
}

const checkAround = (session: Session): Outcome | undefined => {
  const { watch } = session
  if (session.leaving() === undefined) {
    if (watch.untilSeen) return { kind: 'ok', how: 'until' }
    if (watch.panicEnded) return panic(session)
  }
  return checkClock(session)
}

/**
 * Takes a snapshot; an outcome when the session is to stop with it. Called between two slices only: a machine that goes
 * on from there does what this one does next.
 */
const save = async ({ saving, machine, script }: Session): Promise<Outcome | undefined> =>
  (await saving?.take(machine, script)) === true ? { kind: 'ok', how: 'snapshot' } : undefined

/** A session that ended well without the snapshot that it was to take. */
const withoutSnapshot = (session: Session, outcome: Outcome): Outcome => {
  const missed = session.saving?.missed
  if (missed === undefined || outcome.kind !== 'ok' || outcome.how === 'left' || outcome.how === 'interrupted') {
    return outcome
  }
  return guest(session, 'snapshot', `the console did not show '${missed}': no snapshot was written`)
}

/**
 * Runs a machine from its first instruction to the end of the session, in slices, so that the console and the keyboard
 * get their turn in between.
 */
export const runSession = async (options: SessionOptions): Promise<Outcome> => {
  const session: Session = {
    ...options,
    machine: options.start(),
    deadline: options.timeout === undefined ? Infinity : options.now() + options.timeout * 1000,
    script: createScript({ ...options, before: options.scriptBefore }),
    restarts: 0,
    shellsBefore: 0,
  }
  const instructions = options.slice ?? defaultSlice
  const { debugger: held } = session
  held?.started(session.machine)
  const isDue = (): boolean => session.saving?.isDue(session.machine) === true
  for (let due = isDue(); ;) {
    const saved = due ? await save(session) : undefined
    if (saved) return saved
    await held?.ready(() => checkAround(session) !== undefined)
    const given = checkAround(session)
    if (given) return withoutSnapshot(session, given)
    const result = await runWholeSlice(session, instructions)
    if ('kind' in result) return result
    due = isDue()
    if (held?.after(result) === true) continue
    const around = checkAround(session)
    // The slice that shows the last text may be the one that shows the snapshot's.
    if (due && around?.kind === 'ok' && around.how === 'until') await save(session)
    // Next comes the snapshot. What the script would type now is typed after it, by whoever goes on.
    if (due && around === undefined && (result.reason === 'idle' || result.reason === 'budget')) continue
    const outcome = around ?? (await onResult(session, result))
    if (outcome) return withoutSnapshot(session, outcome)
  }
}
