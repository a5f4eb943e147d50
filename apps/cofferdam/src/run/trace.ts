import { createHash } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { inputError, plainReason } from '../errors.ts'
import type { MachineEvent } from '../machine-port.ts'
import type { TraceFormat } from '../parse.ts'

/** A part of the boot, from one milestone to the next. */
export interface Phase {
  readonly name: string
  /** Virtual nanoseconds. */
  readonly from: number
  readonly to: number
}

/** Writes what happened to a file. Nothing in it depends on wall time. */
export interface TraceWriter {
  event(event: MachineEvent): void
  phase(phase: Phase): void
  /** Writes what is left and closes the file. Returns the SHA-256 of the whole trace. */
  close(): string
}

const flushAt = 1 << 16

const perfettoPhases = 0
const threadOf = (cpu: number): number => cpu + 1

// Chrome's Trace Event Format: times in microseconds, `X` complete events, `i` instants, `M` names
const perfettoEvent = (event: MachineEvent): object => ({
  name: event.name,
  cat: event.kind,
  ph: event.duration === undefined ? 'i' : 'X',
  ts: event.at / 1000,
  ...(event.duration === undefined ? { s: 't' } : { dur: event.duration / 1000 }),
  pid: 1,
  tid: threadOf(event.cpu),
  ...(event.data && { args: event.data }),
})

const perfettoPhase = ({ name, from, to }: Phase): object => ({
  name,
  cat: 'phase',
  ph: 'X',
  ts: from / 1000,
  dur: (to - from) / 1000,
  pid: 1,
  tid: perfettoPhases,
})

const perfettoName = (what: 'process_name' | 'thread_name', tid: number, name: string): object => ({
  name: what,
  ph: 'M',
  pid: 1,
  tid,
  args: { name },
})

/**
 * Opens a trace file.
 * @param format - `lines`: one JSON object a line; `perfetto`: a JSON trace that ui.perfetto.dev opens
 * @throws an input error when the file can't be written
 */
export const openTrace = (path: string, format: TraceFormat, vcpus: number): TraceWriter => {
  const file = attempt(path, () => openSync(path, 'w'))
  const hash = createHash('sha256')
  let pending = ''
  let first = true

  const flush = (): void => {
    hash.update(pending)
    attempt(path, () => writeSync(file, pending))
    pending = ''
  }
  const write = (text: string): void => {
    pending += text
    if (pending.length > flushAt) flush()
  }
  const record = (value: object): void => {
    if (format === 'lines') write(`${JSON.stringify(value)}\n`)
    else write(`${first ? '' : ',\n'}${JSON.stringify(value)}`)
    first = false
  }

  if (format === 'perfetto') {
    write('{"displayTimeUnit":"ns","traceEvents":[\n')
    record(perfettoName('process_name', 0, 'cofferdam'))
    record(perfettoName('thread_name', perfettoPhases, 'phases'))
    for (let cpu = 0; cpu < vcpus; cpu++) record(perfettoName('thread_name', threadOf(cpu), `cpu ${cpu}`))
  }

  return {
    event: (event) => record(format === 'lines' ? event : perfettoEvent(event)),
    phase: (phase) => {
      const { name, from, to } = phase
      record(format === 'lines' ? { at: from, kind: 'phase', name, duration: to - from } : perfettoPhase(phase))
    },
    close: () => {
      if (format === 'perfetto') write('\n]}\n')
      flush()
      closeSync(file)
      return hash.digest('hex')
    },
  }
}

const attempt = <T>(path: string, action: () => T): T => {
  try {
    return action()
  } catch (error) {
    throw inputError(`trace ${path}`, plainReason(error), 'a file that can be written')
  }
}
