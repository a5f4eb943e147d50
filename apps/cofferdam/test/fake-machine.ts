import type { Findings } from '@cofferdam/findings'
import { shellReadyText } from '../src/initramfs/init-script.ts'
import type { CreateMachine, Machine, MachineOptions, RunResult, HostileDeed } from '../src/machine-port.ts'

/** What a fake guest does: text it prints, then why `run` comes back. A function sees each line typed at the prompt. */
export interface FakeGuest {
  /** Printed one item per `run`, before the shell. */
  readonly boot: readonly (string | RunResult)[]
  /** What a typed line does: prints a text, or ends the run. */
  readonly onLine?: (line: string) => string | RunResult
  /** What a typed byte prints at once; it is then no part of a line. */
  readonly onByte?: (byte: number) => string | undefined
  /** Called with the options that the machine was made with. */
  readonly onCreate?: (options: MachineOptions) => void
  /** What it prints or does when it is started again after a reset; the same as at first unless told. */
  readonly again?: readonly (string | RunResult)[]
  /** What it breaks, for each time that it is started. */
  readonly findings?: readonly Findings[]
  /** What a hostile host has done to it. */
  readonly deeds?: readonly HostileDeed[]
  /** What its firmware's variable store holds. */
  readonly variables?: Uint8Array
  /** What an idle guest reports. Default: a timer one virtual second ahead. */
  readonly idle?: (virtualTime: number) => RunResult
}

const encoder = new TextEncoder()
const endOfFile = 4

/** The boot of the default initramfs, as far as a console shows it. */
export const shellBoot = [
  '[    0.000000] Linux version 7.2.13\r\n',
  '[    1.982406] Run /init as init process\r\n',
  `${shellReadyText}\r\ncofferdam:~# `,
]

/** A shell that knows `poweroff`, `reboot` and `echo`. */
export const fakeShell = (line: string): string | RunResult => {
  if (line === 'poweroff') return { reason: 'poweroff' }
  if (line === 'reboot') return { reason: 'reset' }
  return `${line.replace(/^echo /, '')}\r\ncofferdam:~# `
}

/**
 * A machine that follows a script: each `run` takes a million instructions and a virtual millisecond, and the serial
 * port takes 16 bytes at a time.
 */
export const createFakeMachine = (
  { boot, again = boot, onLine = fakeShell, onByte, onCreate, idle, variables, deeds, findings = [] }: FakeGuest,
): CreateMachine => {
  let starts = 0
  return (options): Machine => {
    onCreate?.(options)
    const steps = [...starts === 0 ? boot : again]
    const found = findings[starts++]
    let typed = ''
    let runs = 0
    let virtualTime = 0
    const say = (step: string | RunResult): RunResult => {
      if (typeof step !== 'string') return step
      options.onSerial(encoder.encode(step))
      return { reason: 'budget' }
    }
    const waitForTimer = (): RunResult => {
      virtualTime += 1e9
      return idle?.(virtualTime) ?? { reason: 'idle', idleUntil: virtualTime + 1e9 }
    }
    return {
      run: () => {
        runs++
        virtualTime += 1e6
        options.onEvent?.({ at: virtualTime, cpu: 0, kind: 'exit', name: 'step', data: { runs } })
        const step = steps.shift()
        if (step !== undefined) return say(step)
        const newline = typed.indexOf('\n')
        if (newline < 0) return waitForTimer()
        const line = typed.slice(0, newline)
        typed = typed.slice(newline + 1)
        options.onSerial(encoder.encode(`${line}\r\n`))
        return say(onLine(line))
      },
      serialInput: (bytes) => {
        const taken = bytes.subarray(0, 16)
        for (const byte of taken) {
          const answer = byte < 10 ? onByte?.(byte) : undefined
          if (answer !== undefined) options.onSerial(encoder.encode(answer))
          else if (byte !== endOfFile) typed += String.fromCharCode(byte)
        }
        return taken.length
      },
      stats: () => ({ instructions: runs * 1e6, virtualTime, ...(deeds && { snp: { hostile: deeds } }) }),
      variables: () => variables,
      snapshot: () => { throw new Error('a fake machine has no snapshot') },
      places: () => [{
        cpu: 0, rip: 0xffff_ffff_8100_0000n, mode: '64-bit kernel', symbol: 'start+0x0/0x9', stack: ['entry+0x1/0x2'],
      }],
      ...(found && { findings: found }),
    }
  }
}
