import { expect, it } from 'vitest'
import { shellReadyText } from '../src/initramfs/init-script.ts'
import type { RunResult } from '../src/machine-port.ts'
import { createConsoleWatch } from '../src/run/console-watch.ts'
import { createInputQueue } from '../src/run/input.ts'
import type { ScriptState } from '../src/run/script.ts'
import { runSession } from '../src/run/session.ts'
import type { Saving } from '../src/snapshot/saving.ts'
import { createFakeMachine } from './fake-machine.ts'

it('a snapshot of a shell that waits holds nothing of the lines that are typed after it', async () => {
  const watch = createConsoleWatch({ snapshotAt: 'shell ready' })
  const encoder = new TextEncoder()
  const fake = createFakeMachine({ boot: [] })({
    onSerial: (bytes) => { watch.see(bytes) },
  } as Parameters<ReturnType<typeof createFakeMachine>>[0])
  let runs = 0
  const machine = {
    ...fake,
    // The shell is ready, and waits, before the slice is over.
    run(): RunResult {
      if (runs++ > 0) return fake.run({ instructions: 1e6 })
      watch.see(encoder.encode(`${shellReadyText}\r\ncofferdam:~# `))
      return { reason: 'idle', idleUntil: 1e9 }
    },
  }
  const input = createInputQueue({ lines: true })
  input.push(encoder.encode('echo one\necho two\n'))
  input.end()
  const kept: ScriptState[] = []
  const saving: Saving = {
    isDue: () => kept.length === 0 && watch.snapshotSeen,
    async take(_machine, script) {
      kept.push(script.save())
      return await Promise.resolve(false)
    },
    missed: undefined,
  }
  const outcome = await runSession({
    start: () => machine, watch, input, interactive: false, ownShell: true, noReboot: true, now: () => 0,
    breathe: () => Promise.resolve(), leaving: () => undefined, saving,
  })
  expect(outcome).toEqual({ kind: 'ok', how: 'poweroff' })
  expect(kept).toMatchObject([{ line: [], typedAhead: 0 }])
  expect(watch.lastLines().join('\n')).toMatch(/one[^]*two/)
})
