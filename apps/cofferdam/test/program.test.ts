import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { openStore } from '../src/images/store.ts'
import { createProgram, runCli } from '../src/program.ts'
import type { Surroundings } from '../src/surroundings.ts'
import { createFakeMachine, shellBoot } from './fake-machine.ts'
import { collectOutput, pipeInput } from './streams.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-program-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const surroundings = (): { around: Surroundings; out: () => string; err: () => string } => {
  const [out, err] = [collectOutput(), collectOutput()]
  const around = {
    stdin: pipeInput(''), stdout: out.stream, stderr: err.stream, store: openStore(folder),
    createMachine: createFakeMachine({ boot: shellBoot }), now: () => 0,
  }
  return { around, out: out.text, err: err.text }
}

/** Each command with its parents' names: `['images', 'fetch']`. */
const commands = (program = createProgram(surroundings().around, () => undefined)): string[][] =>
  program.commands.flatMap(
    (command) => [[command.name()], ...commands(command).map((rest) => [command.name(), ...rest])]
  )

describe('help', () => {
  const named = commands().map((words) => [words.join(' '), words] as const)
  it.each(named)('of %s names it and exits with 0', async (_, words) => {
    const { around, out, err } = surroundings()
    expect(await runCli([...words, '--help'], around)).toBe(0)
    expect(out()).toContain(`Usage: cofferdam ${words.join(' ')}`)
    expect(err()).toBe('')
  })

  it('comes with exit code 2 when there is no command', async () => {
    const { around, err } = surroundings()
    expect(await runCli([], around)).toBe(2)
    expect(err()).toContain('Start with: cofferdam boot')
  })
})

describe('the program', () => {
  const main = join(import.meta.dirname, '../src/main.ts')
  const piped = (command: string): ReturnType<typeof spawnSync> => {
    const env = { ...process.env, NODE: process.execPath, MAIN: main }
    const script = `set -o pipefail; cofferdam() { "$NODE" --conditions=@cofferdam/source "$MAIN" "$@"; }; ${command}`
    return spawnSync('bash', ['-c', script], { encoding: 'utf8', env })
  }

  it('says nothing of a reader that goes away', () => {
    expect(piped('cofferdam rules | true')).toMatchObject({ status: 0, stderr: '' })
  })

  it.skipIf(process.platform !== 'linux')('exits with 2 where its output does not fit', () => {
    const { status, stderr } = piped('cofferdam rules >/dev/full')
    expect(stderr).toBe('cofferdam: standard output: the disk is full\n')
    expect(status).toBe(2)
  })
})
