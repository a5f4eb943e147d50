/** A person inside of firmware: its menu is reached by a key, the machine is left by another. */
import { expect, it } from 'vitest'
import { debianMissing, runPerson } from './real.ts'
import { describeUnless } from './unless.ts'

const session = (keys: Parameters<typeof runPerson>[1]): ReturnType<typeof runPerson> =>
  runPerson(['--firmware', 'ovmf', '--kernel', 'none', '--timeout', '280'], keys)

const nothingToBoot = 'Press any key to enter the Boot Manager Menu.'

describeUnless(debianMissing, 'OVMF', () => {
  it('is left by Ctrl-A X', { timeout: 300_000 }, async () => {
    expect((await session([[nothingToBoot, '\x01x']])).code).toBe(0)
  })

  it('powers off from its own shell', { timeout: 300_000 }, async () => {
    const { code, out } = await session([
      [nothingToBoot, '\r'], ['EFI Internal Shell', '\x1b[B\r'], ['Shell>', 'reset -s\r'],
    ])
    expect(code, out).toBe(0)
  })
})
