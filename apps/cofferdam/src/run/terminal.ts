import type { ReadStream, WriteStream } from 'node:tty'
import { attachInput, createInputQueue, createKeyFilter, type InputQueue } from './input.ts'

const keyHelp = `
Ctrl-A X       leave
Ctrl-A H       this help
Ctrl-A Ctrl-A  send Ctrl-A to the guest
Ctrl-C and every other key go to the guest.
`

/** How the person leaves: by the key, or because a signal came or the reader went away. */
export type Leaving = 'left' | 'interrupted'

/** Standard input and the signals, towards the guest. */
export interface Terminal {
  readonly input: InputQueue
  leaving(): Leaving | undefined
  leave(how: Leaving): void
  /** The exit code of the signal that came, if one came. */
  signalCode(): number | undefined
  /** Gives the terminal back as it was. */
  detach(): void
}

// 128 + the signal's number, as shells report it
const signalCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

/**
 * Takes standard input: a terminal becomes the serial console's own, raw, and a pipe is read by lines.
 * @param onLeave - called when leaving begins
 */
export const openTerminal = (stdin: ReadStream, stderr: WriteStream, onLeave: () => void): Terminal => {
  let leaving: Leaving | undefined
  let code: number | undefined
  const leave = (how: Leaving): void => {
    leaving ??= how
    input.wake()
    onLeave()
  }
  const input = createInputQueue({
    lines: !stdin.isTTY,
    onFull: (full) => {
      if (full) stdin.pause()
      else if (stdin.isPaused()) stdin.resume()
    },
  })
  const filter = createKeyFilter((key) => {
    if (key === 'leave') leave('left')
    else stderr.write(keyHelp)
  })
  const detachInput = attachInput(stdin, input, stdin.isTTY ? filter : undefined)
  const offs = Object.entries(signalCodes).map(([name, value]) => {
    const handler = (): void => {
      code = value
      leave('interrupted')
    }
    process.on(name, handler)
    return () => process.off(name, handler)
  })
  return {
    input,
    leaving: () => leaving,
    leave,
    signalCode: () => code,
    detach: () => {
      detachInput()
      // a guest may have left colours on
      if (stdin.isTTY && stderr.isTTY) stderr.write('\x1b[0m')
      for (const off of offs) off()
    },
  }
}
