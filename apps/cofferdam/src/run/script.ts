import type { Machine } from '../machine-port.ts'
import type { ConsoleWatch } from './console-watch.ts'
import type { InputQueue } from './input.ts'

/** What a script writer works with. */
export interface ScriptOptions {
  readonly watch: ConsoleWatch
  /** Lines for the guest. */
  readonly input: InputQueue
  /** The guest is our own initramfs: it says when its shell is ready, and knows `poweroff`. */
  readonly ownShell: boolean
  /** Wall time in milliseconds. */
  readonly now: () => number
  /** What a snapshot kept. */
  readonly before?: ScriptState | undefined
  /** Called when no input comes from an open pipe and it is given up. */
  readonly onNoInput?: (() => void) | undefined
}

/** Types the lines of a pipe into a guest's console, each when the guest waits for it. */
export interface Script {
  /** Gives the guest more of the current line, as much as it takes. */
  type(machine: Machine): void
  /**
   * The guest idles: decides what to type next, waits for the pipe where there is nothing else to do.
   * @param idleUntil - the guest's next timer, virtual nanoseconds
   * @returns why the guest will never go on, if so
   */
  onIdle(machine: Machine, idleUntil: number | undefined): Promise<string | undefined>
  /** The guest is busy. */
  onBusy(): void
  /** Whether a line is being typed. */
  typing(): boolean
  /** The guest starts anew. */
  restart(): void
  /** What a snapshot keeps: what is being typed, and how long the guest has been idle. */
  save(): ScriptState
}

/** Where a script writer is. */
export interface ScriptState {
  /** What is left of the line that is being typed. */
  readonly line: readonly number[]
  /** Virtual nanoseconds. */
  readonly idleSince: number | null
  readonly typedAhead: number
  readonly poweroffTyped: boolean
  readonly endDelay: number
}

// A pipe that was never written to is waited for at a prompt for so long (wall milliseconds).
const silentPipeMs = 10_000
// A program that reads its input shows no prompt; after so long (virtual nanoseconds) it gets the next line anyway…
const noPromptDelay = 1e9
// …but a terminal holds no more than 4096 characters that nobody reads (n_tty(4)).
const typedAheadLimit = 2048
// With no more input to come, a program that reads it gets an end of file; a terminal that is switched between its
// modes may lose that, so it is typed again, after a minute and after an hour.
const endDelayGrowth = 60
// A guest that waits at a prompt with no more input to come is given up after ten minutes of virtual time, and one that
// waits for something else after six hours.
const endOfPrompt = 600e9
const endOfPatience = 21_600e9

const endOfFile = 4
const encoder = new TextEncoder()

interface State {
  line: Uint8Array
  idleSince: number | undefined
  promptSince: number | undefined
  typedAhead: number
  poweroffTyped: boolean
  endDelay: number
}

const fresh = (): State => ({
  line: new Uint8Array(0),
  idleSince: undefined,
  promptSince: undefined,
  typedAhead: 0,
  poweroffTyped: false,
  endDelay: noPromptDelay,
})

/** The state that a snapshot kept. A pipe that stays silent is waited for anew. */
const resumed = ({ line, idleSince, typedAhead, endDelay, poweroffTyped }: ScriptState): State => ({
  ...fresh(), line: Uint8Array.from(line), idleSince: idleSince ?? undefined, typedAhead, endDelay, poweroffTyped,
})

/** Makes a script writer. */
export const createScript = ({ watch, input, ownShell, now, before, onNoInput }: ScriptOptions): Script => {
  let state = before === undefined ? fresh() : resumed(before)

  const typeNext = (bytes: Uint8Array): void => {
    state.line = bytes
    state.typedAhead += bytes.length
    state.idleSince = undefined
  }

  /** Whether something was found to type. */
  const typeLine = (): boolean => {
    const bytes = input.take()
    if (bytes !== undefined) typeNext(bytes)
    return bytes !== undefined
  }

  const waitForPipe = async (): Promise<void> => {
    state.promptSince ??= now()
    if (!input.started && now() - state.promptSince > silentPipeMs) {
      onNoInput?.()
      input.end()
      return
    }
    await input.wait(1000)
  }

  const atPrompt = async (idleFor: number): Promise<string | undefined> => {
    state.typedAhead = 0
    if (typeLine()) return undefined
    if (!input.ended) {
      await waitForPipe()
      return undefined
    }
    if (ownShell && !state.poweroffTyped) {
      state.poweroffTyped = true
      typeNext(encoder.encode('poweroff\n'))
      return undefined
    }
    return idleFor > endOfPrompt ? 'the guest waits for input and there is no more' : undefined
  }

  const withoutPrompt = async (idleFor: number): Promise<string | undefined> => {
    if (idleFor < noPromptDelay || (ownShell && watch.shells === 0)) return undefined
    if (state.typedAhead < typedAheadLimit && typeLine()) return undefined
    if (!input.ended) {
      await input.wait(10)
      return undefined
    }
    if (ownShell && input.empty && !state.poweroffTyped && idleFor >= state.endDelay) {
      state.endDelay *= endDelayGrowth
      typeNext(Uint8Array.of(endOfFile))
    }
    return idleFor > endOfPatience ? 'the guest idles and nothing more will happen' : undefined
  }

  return {
    type: (machine) => {
      if (state.line.length > 0) state.line = state.line.subarray(machine.serialInput(state.line))
    },
    onIdle: async (machine, idleUntil) => {
      if (state.line.length > 0) return undefined
      const time = machine.stats().virtualTime
      state.idleSince ??= time
      const prompt = watch.promptShown && (!ownShell || watch.shells > 0)
      const verdict = await (prompt ? atPrompt(time - state.idleSince) : withoutPrompt(time - state.idleSince))
      if (verdict !== undefined || state.line.length > 0) return verdict
      if (idleUntil !== undefined || (prompt && !input.ended)) return undefined
      return 'every processor waits for an interrupt and no timer runs'
    },
    typing: () => state.line.length > 0,
    onBusy: () => {
      if (!watch.promptShown) state.promptSince = undefined
    },
    restart: () => {
      state = fresh()
    },
    save: () => {
      const { line, idleSince, typedAhead, poweroffTyped, endDelay } = state
      return { line: [...line], idleSince: idleSince ?? null, typedAhead, poweroffTyped, endDelay }
    },
  }
}
