/** Leaving guests that let nobody in: whatever they do, the timeout, the keys and the signals act. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../src/images/store.ts'
import { createMachine } from '../src/machine.ts'
import { runCli } from '../src/program.ts'
import { flatKernel } from './flat-kernel.ts'
import { collectOutput, pipeInput, terminalInput } from './streams.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-leaving-'))
const kernel = join(folder, 'kernel')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const guests: Readonly<Record<string, string>> = {
  'spins with interrupts off': 'fa ebfe',
  'writes to its own next instruction, for ever': 'c605 27001000 eb ebf7',
  'reads a register of a device, for ever': '66ba0806 ed ebfd', // the PM timer
  'waits with interrupts off': 'fa f4',
}

const boot = async (args: readonly string[], stdin = pipeInput('')): Promise<{ code: number; err: string }> => {
  const err = collectOutput()
  const code = await runCli(['boot', '--kernel', kernel, '--memory', '64M', ...args], {
    stdin, stdout: collectOutput().stream, stderr: err.stream, store: openStore(join(folder, 'images')), createMachine,
    now: () => performance.now(),
  })
  return { code, err: err.text() }
}

describe.each(Object.entries(guests))('a guest that %s', (_what, code) => {
  beforeAll(() => writeFileSync(kernel, flatKernel(code)))

  it('is left at --timeout', async () => {
    const { code: status, err } = await boot(['--timeout', '0.3'], terminalInput().stream)
    expect([status, err]).toEqual([3, expect.stringContaining('no end after 0.3 s')])
  })

  it('is left at Ctrl-A X', async () => {
    const keyboard = terminalInput()
    setTimeout(() => keyboard.press('\x01x'), 200)
    expect(await boot([], keyboard.stream)).toMatchObject({ code: 0 })
  })

  it('is left at SIGTERM', async () => {
    setTimeout(() => process.emit('SIGTERM'), 200)
    expect(await boot([], terminalInput().stream)).toMatchObject({ code: 143 })
  })
})
