/**
 * A TPM 2.0 for the SVSM's vTPM protocol: swtpm (libtpms), as a child process with its state in a folder. The machine
 * waits for its answers; what it draws at random is its own, so that runs with a TPM are not repeatable.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { inputError, plainReason, usageError } from '../errors.ts'
import { ANSWER, ANSWER_BYTES, answerOf, type SwtpmWorkerData } from './answer.ts'

/** A TPM that the SVSM can use. */
export interface Swtpm {
  /** Has the TPM carry out a command; null when it does not answer. */
  command(command: Uint8Array): Uint8Array | null
  /** A machine starts: the TPM does as well. */
  powerOn(): void
  close(): void
}

export interface SwtpmOptions {
  /** Where its state is kept; a folder of the run's own without it. */
  readonly state?: string
  readonly warn: (text: string) => void
  /** Where programs are looked for, as in PATH. */
  readonly path?: string
}

/** Milliseconds: what swtpm may take to start, and to answer (an RSA key is the slowest). */
const START = 5000
const TIMEOUT = 60_000

/** swtpm's path; undefined when it is not installed. */
export const findSwtpm = (path: string = process.env.PATH ?? ''): string | undefined =>
  path.split(delimiter).filter(Boolean).map((folder) => join(folder, 'swtpm')).find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return statSync(file).isFile()
    } catch {
      return false
    }
  })

const workerFile = (): URL =>
  new URL(import.meta.url.endsWith('.ts') ? './swtpm-worker.ts' : './tpm/swtpm-worker.js', import.meta.url)

/** A swtpm that runs, and the worker that talks to it. */
interface Running {
  readonly process: ChildProcess
  readonly worker: Worker
  readonly memory: SharedArrayBuffer
}

/** Finds swtpm and prepares its folder; it is started when it is first used. @throws CliError */
export const openSwtpm = ({ state, warn, path }: SwtpmOptions): Swtpm => {
  const program = findSwtpm(path)
  if (program === undefined) {
    throw usageError(
      '--svsm-vtpm: swtpm is not installed (Debian: apt install swtpm); without the option the SVSM offers no vTPM'
    )
  }
  const own = mkdtempSync(join(tmpdir(), 'cofferdam-tpm-'))
  const folder = state ?? own
  try {
    mkdirSync(folder, { recursive: true })
  } catch (error) {
    rmSync(own, { recursive: true })
    throw inputError(`svsm-vtpm ${folder}`, plainReason(error), 'a folder for the state of the TPM')
  }
  let running: Running | undefined
  let warned = false

  const stop = (): void => {
    // What lasts is written when it changes; a TPM that nobody keeps need not tidy up.
    running?.process.kill(state === undefined ? 'SIGKILL' : 'SIGTERM')
    void running?.worker.terminate()
    running = undefined
  }

  const start = (): Running => {
    // Where sockets may have names; 108 bytes are the most that a path has.
    const data = join(own, 'data')
    rmSync(data, { force: true })
    const child = spawn(program, [
      'socket', '--tpm2', '--tpmstate', `dir=${folder}`, '--server', `type=unixio,path=${data}`,
      '--flags', 'not-need-init,startup-clear',
    ], { stdio: 'ignore' })
    child.on('error', () => undefined)
    child.unref()
    const memory = new SharedArrayBuffer(ANSWER_BYTES)
    const worker = new Worker(
      workerFile(), { workerData: { path: data, memory, deadline: START } satisfies SwtpmWorkerData },
    )
    worker.on('error', () => undefined)
    worker.unref()
    return { process: child, worker, memory }
  }

  return {
    command(bytes) {
      running ??= start()
      const { state: word, bytes: response, length } = answerOf(running.memory)
      Atomics.store(word, 0, ANSWER.waiting)
      running.worker.postMessage(bytes)
      const waited = Atomics.wait(word, 0, ANSWER.waiting, TIMEOUT)
      if (waited !== 'timed-out' && Atomics.load(word, 0) === ANSWER.ready) return response.slice(0, length[0])
      stop()
      if (!warned) warn('swtpm does not answer: the guest has no TPM any more')
      warned = true
      return null
    },
    powerOn: stop,
    close() {
      stop()
      rmSync(own, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
    },
  }
}
