/**
 * Runs cases in a process of their own, which may hang or die: that case is noted, and the rest go on in a new
 * process.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** One line of the process's output. */
export interface CaseLine {
  readonly number: number
  /** For a person: the kind of case, and how it ended. */
  readonly ended: string
  /** What went wrong, or null. */
  readonly problem: string | null
  /** Bytes of the process in memory. */
  readonly resident: number
}

export interface WatchOptions {
  readonly what: string
  readonly seed: number
  readonly from: number
  readonly cases: number
  /** Milliseconds that one case may compute for. */
  readonly limit: number
  readonly until: () => boolean
  readonly each: (line: CaseLine) => void
}

const main = fileURLToPath(new URL('../main.ts', import.meta.url))

const begin = ({ what, seed }: WatchOptions, from: number, cases: number): ChildProcess => spawn(
  process.execPath,
  [
    ...process.execArgv, main, 'survive', '--inside', '--what', what, '--seed', String(seed), '--from', String(from),
    '--cases', String(cases),
  ],
  { stdio: ['ignore', 'pipe', 'inherit'] },
)

/** Answers once all cases have ended, or `until` says so. */
export async function runWatched(options: WatchOptions): Promise<void> {
  const end = options.from + options.cases
  for (let next = options.from; next < end && !options.until();) {
    const child = begin(options, next, end - next)
    const reason = await watch(child, options, (line) => {
      next = line.number + 1
      options.each(line)
    })
    if (reason !== null) options.each({ number: next++, ended: reason, problem: `the process ${reason}`, resident: 0 })
  }
}

/** Clock ticks of Linux's /proc are hundredths of a second. */
const TICK = 10
/** A case that does not compute is over after so many times its limit: it waits for something that never comes. */
const PATIENCE = 60

/**
 * Milliseconds that a process has computed for: a case that waits for its turn on a busy machine is no hang. Where the
 * system does not say (elsewhere than on Linux), time counts.
 */
function computedBy(pid: number | undefined): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')
    // Fields 14 and 15 of proc(5), of which the first two are cut off here.
    return TICK * (Number(fields[11]) + Number(fields[12]))
  } catch {
    return performance.now()
  }
}

/** Answers why the process went before its time; null when it did not. */
async function watch(
  child: ChildProcess, { limit, until }: WatchOptions, each: (line: CaseLine) => void,
): Promise<string | null> {
  let [last, lastAt] = [computedBy(child.pid), performance.now()]
  let reason: string | null = null
  let stopped = false
  const clock = setInterval(() => {
    stopped = until()
    // The first case waits for the program to be loaded.
    if (computedBy(child.pid) - last > limit) reason = `took more than ${limit / 1000} s`
    else if (performance.now() - lastAt > PATIENCE * limit) reason = `waited for more than ${PATIENCE * limit / 1000} s`
    if (stopped || reason !== null) child.kill('SIGKILL')
  }, 250)
  const exited = new Promise<string | null>((resolve) => {
    child.on('close', (code, signal) => { resolve(code === 0 ? null : `ended with ${signal ?? code}`) })
  })
  if (child.stdout === null) throw new Error('a pipe was asked for')
  for await (const text of createInterface({ input: child.stdout })) {
    [last, lastAt] = [computedBy(child.pid), performance.now()]
    each(JSON.parse(text) as CaseLine)
  }
  const end = await exited
  clearInterval(clock)
  return reason ?? (stopped ? null : end)
}
