/** A person inside of firmware: its menu is reached by a key, the machine is left by another. */
import { describe, expect, it } from 'vitest'
import { openStore } from '../src/images/store.ts'
import { createMachine } from '../src/machine.ts'
import { runCli } from '../src/program.ts'
import { debianMissing } from './real.ts'
import { collectOutput, terminalInput } from './streams.ts'

/** Presses keys, each once the screen shows what it waits for; answers the exit code and the screen. */
const session = async (keys: readonly (readonly [shown: string, keys: string])[]): Promise<{ code: number; screen: string }> => {
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
  const code = await runCli(['boot', '--firmware', 'ovmf', '--kernel', 'none', '--timeout', '280'], {
    stdin: keyboard.stream, stdout: out.stream, stderr: err.stream, store: openStore(), createMachine,
    now: () => performance.now(),
  })
  return { code, screen: out.text() }
}

const nothingToBoot = 'Press any key to enter the Boot Manager Menu.'

describe.skipIf(debianMissing !== undefined)(`OVMF${debianMissing === undefined ? '' : ` (${debianMissing})`}`, () => {
  it('is left by Ctrl-A X', { timeout: 300_000 }, async () => {
    expect((await session([[nothingToBoot, '\x01x']])).code).toBe(0)
  })

  it('powers off from its own shell', { timeout: 300_000 }, async () => {
    const { code, screen } = await session([[nothingToBoot, '\r'], ['EFI Internal Shell', '\x1b[B\r'], ['Shell>', 'reset -s\r']])
    expect(code, screen).toBe(0)
  })
})
