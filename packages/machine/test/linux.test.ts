import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { MachineOptions, RunResult } from '../src/index.ts'
import { debianGuest } from './kernels.ts'

/** Debian's kernel of its stable release: small, and the quickest of the catalog to its shell. */
const guest = await debianGuest('trixie-cloud')

/** What must be the same in every run. */
interface Boot {
  readonly console: string
  readonly result: RunResult
  readonly instructions: number
  readonly virtualTime: number
  /** Over every device access, interrupt and idle time. */
  readonly traceHash: string | undefined
}

/** Boots until the console shows `until`, or something else ends it. */
function boot(options: Partial<MachineOptions>, until = 'cofferdam: shell ready'): Boot {
  if ('missing' in guest) throw new Error(guest.missing)
  let console = ''
  const machine = createMachine({
    ...guest, append: 'console=ttyS0,115200 panic=-1 cryptomgr.notests=1', memory: 512 * 2 ** 20, vcpus: 1, seed: 1,
    engine: 'auto', cpu: 'intel', traceHash: true,
    onSerial: (bytes) => { console += String.fromCharCode(...bytes) },
    ...options,
  })
  let result: RunResult = { reason: 'budget' }
  while (!console.includes(until) && machine.stats().instructions < 4e9) {
    result = machine.run({ instructions: 2e6 })
    if (result.reason !== 'budget' && !(result.reason === 'idle' && result.idleUntil !== undefined)) break
  }
  const { instructions, virtualTime, traceHash, jit } = machine.stats()
  // Otherwise the engines' tests would compare the interpreter with itself.
  if (options.engine === 'interp') expect(jit).toBeNull()
  else expect(jit).toHaveProperty('regions', expect.toSatisfy((n: number) => n > 100))
  return { console, result, instructions, virtualTime, traceHash }
}

const first = new Map<string, Boot>()
/** The same boot for all tests that want one like it. */
const bootOnce = (options: Partial<MachineOptions>): Boot => {
  const key = JSON.stringify(options)
  const made = first.get(key) ?? boot(options)
  first.set(key, made)
  return made
}

describe.skipIf('missing' in guest)(`Debian's kernel${'missing' in guest ? ` (${guest.missing})` : ''}`, () => {
  it('boots unmodified to a shell', { timeout: 300_000 }, () => {
    const { console } = bootOnce({})
    expect(console).toMatch(/^\[ {4}0\.000000\] Linux version 6\.\d+\.\d+\S*-cloud-amd64 /m)
    expect(console).toContain('Run /init as init process')
    expect(console.trimEnd()).toContain('cofferdam: shell ready')
    expect(console).not.toMatch(/BUG:|WARNING:|Oops|Call Trace|Kernel panic|unchecked MSR|[Uu]nstable/)
  })

  it('retires the same instructions and writes the same bytes on every run', { timeout: 300_000 }, () => {
    expect(boot({})).toEqual(bootOnce({}))
  })

  it('does so in the interpreter alone too', { timeout: 300_000 }, () => {
    expect(boot({ engine: 'interp' })).toEqual(bootOnce({}))
  })

  it('starts a second processor, with the same turns in both engines', { timeout: 300_000 }, () => {
    const both = bootOnce({ vcpus: 2 })
    expect(both.console).toContain('smp: Brought up 1 node, 2 CPUs')
    expect(both.console).toContain('cofferdam: shell ready')
    expect(boot({ vcpus: 2, engine: 'interp' })).toEqual(both)
  })
})
