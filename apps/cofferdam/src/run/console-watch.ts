import { runStatusText, shellReadyText } from '../initramfs/init-script.ts'

/** Steps of a boot that its console shows. */
export type Milestone = 'kernel' | 'init' | 'shell'

/** What the console has shown so far. */
export interface ConsoleWatch {
  /** Takes in what the guest sent. */
  see(bytes: Uint8Array): void
  /** Whether the `--until` text has appeared. */
  readonly untilSeen: boolean
  /** Whether the `--snapshot-at` text has appeared. */
  readonly snapshotSeen: boolean
  /** Whether a line says that the kernel panicked. */
  readonly panicked: boolean
  /** What the kernel said of its first panic; empty before, and when a snapshot was taken after it. */
  readonly panicReason: string
  /** Whether the kernel has said that it stays where it is after a panic. */
  readonly panicEnded: boolean
  /** Whether the kernel has said that it halted the system. */
  readonly halted: boolean
  /** How often a shell became ready. */
  readonly shells: number
  /** Status of the `cofferdam.run` command, once it is done. */
  readonly runStatus: number | undefined
  /** Whether the last, unfinished line looks like a prompt. */
  readonly promptShown: boolean
  /** Whether the cursor is at the start of a line. */
  readonly atLineStart: boolean
  /** The last lines, without control characters, oldest first. */
  lastLines(): string[]
  /** What a snapshot keeps. */
  save(): ConsoleState
}

/** What was seen of a console, apart from the texts that a session looks for. */
export interface ConsoleState {
  /** The unfinished line, with control characters. */
  readonly line: string
  readonly lines: readonly string[]
  readonly reached: readonly string[]
  readonly panicked: boolean
  readonly panicEnded: boolean
  readonly halted: boolean
  readonly shells: number
  readonly runStatus: number | null
}

/** Options of {@link createConsoleWatch}. */
export interface ConsoleWatchOptions {
  readonly until?: string
  readonly snapshotAt?: string
  /** What a snapshot kept. */
  readonly before?: ConsoleState
  readonly onMilestone?: (milestone: Milestone) => void
}

const keptLines = 12
// A guest that never ends its line must not grow our memory.
const longestLine = 4096

// CSI and OSC sequences, two-character escapes, then other control characters (ECMA-48 5.4)
const controls = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g

/** Text without terminal control. */
export const plain = (text: string): string => text.replaceAll(controls, '')

const panicLine = /^(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?Kernel panic - not syncing(?:: )?(.*)/
const panicEnd = /^(\[ *\d+\.\d+\](\[ *[TC]\d+\])? )?---\[ end Kernel panic/
const haltLine = /^(\[ *\d+\.\d+\](\[ *[TC]\d+\])? )?reboot: System halted/
const kernelLine = /^\[ *\d+\.\d+\]/
const initLine = /Run \/\S+ as init process/
const prompt = /(#|\$|>|:|~) $/

/** Looks for a text in a stream of pieces. */
const createFinder = (wanted: string | undefined): { see: (text: string) => void; seen: boolean } => {
  let tail = ''
  const finder = {
    seen: false,
    see: (text: string): void => {
      if (wanted === undefined || finder.seen) return
      tail += text
      finder.seen = tail.includes(wanted)
      const keep = wanted.length - 1
      tail = keep > 0 ? tail.slice(-keep) : ''
    },
  }
  return finder
}

/** Follows the text on a serial console line by line. */
export const createConsoleWatch = (
  { until, snapshotAt, before, onMilestone }: ConsoleWatchOptions = {},
): ConsoleWatch => {
  const decoder = new TextDecoder()
  const lines: string[] = [...(before?.lines ?? [])]
  const reached = new Set<string>(before?.reached)
  let line = before?.line ?? ''
  const [untilFinder, snapshotFinder] = [createFinder(until), createFinder(snapshotAt)]
  const { panicked = false, panicEnded = false, halted = false, shells = 0 } = before ?? {}
  const state = { panicked, panicEnded, halted, shells }
  let runStatus = before?.runStatus ?? undefined
  let panicReason = ''

  const reach = (milestone: Milestone): void => {
    if (reached.has(milestone)) return
    reached.add(milestone)
    onMilestone?.(milestone)
  }

  const finish = (text: string): void => {
    if (kernelLine.test(text)) reach('kernel')
    if (initLine.test(text)) reach('init')
    if (text === shellReadyText) {
      state.shells++
      reach('shell')
    }
    if (text.startsWith(runStatusText)) {
      runStatus = Number(text.slice(runStatusText.length))
      reach('shell')
    }
    panicReason ||= panicLine.exec(text)?.[1] ?? ''
    state.panicked ||= panicLine.test(text)
    state.panicEnded ||= panicEnd.test(text)
    state.halted ||= haltLine.test(text)
    if (text === '' && lines.at(-1) === '') return
    lines.push(text)
    if (lines.length > keptLines) lines.shift()
  }

  return {
    see: (bytes) => {
      const text = decoder.decode(bytes, { stream: true })
      untilFinder.see(text)
      snapshotFinder.see(text)
      const parts = (line + text).split('\n')
      line = parts.pop() ?? ''
      for (const part of parts) finish(plain(part))
      if (line.length > longestLine) {
        finish(plain(line))
        line = ''
      }
    },
    get untilSeen() {
      return untilFinder.seen
    },
    get snapshotSeen() {
      return snapshotFinder.seen
    },
    get panicked() {
      return state.panicked
    },
    get panicReason() {
      return panicReason
    },
    get panicEnded() {
      return state.panicEnded
    },
    get halted() {
      return state.halted
    },
    get shells() {
      return state.shells
    },
    get runStatus() {
      return runStatus
    },
    get promptShown() {
      return prompt.test(plain(line))
    },
    get atLineStart() {
      return line === ''
    },
    lastLines: () => [...lines, ...(plain(line) === '' ? [] : [plain(line)])].slice(-keptLines),
    save: () => ({ line, lines: [...lines], reached: [...reached], ...state, runStatus: runStatus ?? null }),
  }
}
