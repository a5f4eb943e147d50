/** The course of a machine: what it tells of itself, what its platform sends out, and how it ends, once. */
import type { PlatformOptions } from '@cofferdam/devices'
import { HostError } from '@cofferdam/host'
import { BackingExhausted } from '@cofferdam/memory'
import type { Emit, EventKind, MachineEvent } from './events.ts'
import type { MachineOptions, RunRequest, RunResult } from './options.ts'
import type { RunLoop } from './run-loop.ts'

/** What a platform has to say to the world outside. */
type Outputs = Pick<PlatformOptions, 'onSerial' | 'onDebugConsole' | 'onPowerOff' | 'onReset' | 'onDebugExit'>

export interface CourseOptions {
  /** The loop that runs the machine; called for once there is something to tell. */
  readonly loop: () => Pick<RunLoop, 'now' | 'current' | 'run' | 'left' | 'stop'>
  /** Who hears of what happens; undefined when nobody listens. */
  readonly emit: Emit | undefined
  /** Who hears of what the guest sends. */
  readonly listeners: Pick<MachineOptions, 'onSerial' | 'onDebugConsole'>
}

export interface Course {
  readonly outputs: Outputs
  /** Emits an event of now. */
  tell(kind: EventKind, name: string, data?: MachineEvent['data']): void
  /** Ends the machine; what it ended with first stays. */
  end(result: RunResult): void
  /** What it ended with, or null. */
  ended(): RunResult | null
  /**
   * Runs the loop, as far as is asked for.
   * @param isDone whether the machine has ended, looked at before each slice
   * @param flush called when the loop comes back
   * @param state lines about the running processor, for the end when there is no more memory behind the guest's, or the
   * host's program meets something that it cannot have made
   */
  run(request: RunRequest, isDone: () => boolean, flush: () => void, state: () => readonly string[]): RunResult
  /** A step of the loop, which may end the machine in the same way. */
  step(act: () => void, state: () => readonly string[]): void
}

/** A machine's course, from power-on. */
export function createCourse({ loop, emit, listeners }: CourseOptions): Course {
  let ended: RunResult | null = null
  const serialOut = new Uint8Array(1)

  const tell = (kind: EventKind, name: string, data?: MachineEvent['data']): void => {
    emit?.({ at: loop().now(), cpu: loop().current(), kind, name, data })
  }
  const end = (result: RunResult): void => {
    if (ended !== null) return
    ended = result
    tell('machine', result.reason)
    loop().stop()
  }

  /** The end of a machine that cannot go on. Other errors are the emulator's own, and stay what they are. */
  const fail = (error: unknown, state: () => readonly string[]): RunResult => {
    if (!(error instanceof BackingExhausted || error instanceof HostError)) throw error
    const message = error instanceof HostError ? `the host cannot go on: ${error.message}` : error.message
    const result: RunResult = { reason: 'shutdown', message, state: state() }
    end(result)
    return ended ?? result
  }

  return {
    tell, end,
    ended: () => ended,
    outputs: {
      onSerial: (byte) => {
        serialOut[0] = byte
        listeners.onSerial?.(serialOut)
      },
      onDebugConsole: (byte) => { listeners.onDebugConsole?.(byte) },
      onPowerOff: () => { end({ reason: 'poweroff' }) },
      onReset: (by) => { end({ reason: 'reset', by }) },
      // QEMU's status is twice what was written, and 1.
      onDebugExit: (status) => { end({ reason: 'debug-exit', code: status >> 1, status }) },
    },
    run({ instructions, interrupted }, isDone, flush, state) {
      try {
        const idleUntil = loop().run(instructions, isDone, interrupted)
        flush()
        isDone()
        if (ended !== null) return ended
        const left = loop().left()
        if (left > 0) return { reason: 'interrupted', left }
        if (idleUntil === undefined) return { reason: 'budget' }
        return idleUntil === Infinity ? { reason: 'idle' } : { reason: 'idle', idleUntil }
      } catch (error) {
        return fail(error, state)
      }
    },
    step(act, state) {
      try {
        act()
      } catch (error) {
        fail(error, state)
      }
    },
  }
}
