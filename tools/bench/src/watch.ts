import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** A program to start. */
export interface Program {
  readonly command: string
  readonly args: readonly string[]
  /** What its standard input holds; nothing by default. */
  readonly input?: string
}

/** A moment to wait for in a program's output. */
export interface Mark {
  readonly name: string
  /** Tested against each line, without its end. */
  readonly line: RegExp
}

/** What a program did. */
export interface Watched {
  /** Seconds from the start of the process to each mark that came. */
  readonly marks: Readonly<Record<string, number>>
  /** Highest resident memory, bytes, at the last mark; undefined where the system does not tell. */
  readonly peakMemory: number | undefined
  /** Why marks are missing. */
  readonly failure: string | undefined
}

// proc(5): "VmHWM: Peak resident set size"
const peakMemory = (pid: number): number | undefined => {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
  } catch {
    return undefined
  }
}

const lastWords = (text: string): string => text.trim().split('\n').slice(-3).join(' | ').slice(-300)

/**
 * Runs a program until all marks have come, in any order, and ends it then.
 * @param timeout - seconds after which it is given up
 */
export const watch = (program: Program, marks: readonly Mark[], timeout: number): Promise<Watched> =>
  new Promise((resolve) => {
    const started = performance.now()
    const found: Record<string, number> = {}
    let memory: number | undefined
    let line = ''
    let errors = ''
    let failure: string | undefined
    const child = spawn(program.command, program.args, { stdio: ['pipe', 'pipe', 'pipe'] })
    // It may end without reading.
    child.stdin.on('error', () => undefined).end(program.input ?? '')
    const give = (why: string): void => {
      failure ??= why
      child.kill('SIGKILL')
    }
    const timer = setTimeout(() => give(`no end after ${timeout} s: ${lastWords(line)}`), timeout * 1000)
    const look = (text: string): void => {
      for (const mark of marks) {
        if (mark.name in found || !mark.line.test(text)) continue
        found[mark.name] = (performance.now() - started) / 1000
        if (child.pid !== undefined) memory = peakMemory(child.pid) ?? memory
      }
      if (marks.every(({ name }) => name in found)) child.kill('SIGKILL')
    }
    child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
      const lines = (line + chunk).split('\n')
      line = lines.pop() ?? ''
      for (const text of lines) look(text.replace(/\r$/, ''))
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      errors = (errors + chunk).slice(-4000)
    })
    child.on('error', (error) => give(error.message))
    child.on('close', (code) => {
      clearTimeout(timer)
      const missing = marks.filter(({ name }) => !(name in found)).map(({ name }) => name)
      const how = `left with ${code ?? 'a signal'} before ${missing.join(', ')}`
      if (missing.length > 0) failure ??= `${how}: ${lastWords(errors)}`
      resolve({ marks: found, peakMemory: memory, failure })
    })
  })
