/** Runs the command line with the real machine and Debian's packages from the user's cache. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { aptMissing, machineMirror } from '../src/images/apt.ts'
import { openStore } from '../src/images/store.ts'
import { createMachine } from '../src/machine.ts'
import { runCli } from '../src/program.ts'
import { collectOutput, pipeInput, terminalInput } from './streams.ts'

/** Why there are no Debian packages here; undefined when there are. */
export const debianMissing: string | undefined =
  (await aptMissing()) ?? (await machineMirror().then(() => undefined, (error: unknown) => String(error)))

/**
 * A kernel with efivarfs, virtio and the TPM of an SVSM built in, beside its `System.map.xz`; it comes with the
 * workplace, or from the folder that `COFFERDAM_KERNELS` names, not from Debian. Undefined when there is none.
 */
export const cocoKernel: string | undefined = [
  process.env.COFFERDAM_KERNELS ?? '', join(import.meta.dirname, '../../../../shared/kernels'),
].filter(Boolean).map((place) => join(place, 'linux-7.2.13-coco/bzImage')).find(existsSync)

/** What a kernel says when something is wrong with the machine. */
export const complaints = /BUG:|WARNING:|Oops|Call Trace|Kernel panic|unchecked MSR|Firmware Bug/

/** What a command gave. */
export interface RealRun {
  readonly code: number
  readonly out: string
  readonly err: string
}

const runCommand = async (args: readonly string[], typed: string): Promise<RealRun> => {
  const [out, err] = [collectOutput(), collectOutput()]
  const code = await runCli(args, {
    stdin: pipeInput(typed),
    stdout: out.stream,
    stderr: err.stream,
    store: openStore(),
    createMachine,
    now: () => performance.now(),
  })
  return { code, out: out.text(), err: err.text() }
}

/** `cofferdam boot` with `typed` coming from a pipe. */
export const runReal = (args: readonly string[], typed = ''): Promise<RealRun> => runCommand(['boot', ...args], typed)

/** `cofferdam measure`. */
export const runMeasure = (args: readonly string[]): Promise<RealRun> => runCommand(['measure', ...args], '')

/**
 * `cofferdam boot` with a person at the terminal, who presses keys once the screen shows what each of them waits for.
 */
export const runPerson = async (
  args: readonly string[], keys: readonly (readonly [shown: string, keys: string])[],
): Promise<RealRun> => {
  const [out, err, keyboard] = [collectOutput(), collectOutput(), terminalInput()]
  const waiting = [...keys]
  let seen = 0
  out.stream.on('data', () => {
    const next = waiting[0]
    if (next === undefined || !out.text().includes(next[0], seen)) return
    waiting.shift()
    seen = out.text().length
    keyboard.press(next[1])
  })
  const code = await runCli(['boot', ...args], {
    stdin: keyboard.stream, stdout: out.stream, stderr: err.stream, store: openStore(), createMachine,
    now: () => performance.now(),
  })
  return { code, out: out.text(), err: err.text() }
}
