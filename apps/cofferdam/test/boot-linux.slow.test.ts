/** Unmodified kernels on a plain machine, entered directly: each, at every size, and a person at its console. */
import { expect, it } from 'vitest'
import { cocoKernel, complaints, debianMissing, runPerson, runReal } from './real.ts'
import { describeUnless } from './unless.ts'

const [MiB, GiB] = [2 ** 20, 2 ** 30]

/** The fewest bytes that Linux must have of a machine's memory: page structures and its image are not in MemTotal. */
const leastMemory = (bytes: number): number => bytes * 0.98 - 128 * MiB

const quick = ['--append', 'cryptomgr.notests=1', '--timeout', '280']

const findings = [
  'echo "processors: $(nproc)"', "awk '/MemTotal/ { print \"memory:\", $2 * 1024 }' /proc/meminfo",
  'echo "clocks: $(cat /sys/devices/system/clocksource/clocksource0/available_clocksource)"',
  'echo "clock: $(ls /sys/class/rtc)"', 'echo "PCI: $(ls /sys/bus/pci/devices | xargs)"',
].join('; ')

describeUnless(debianMissing, 'Linux', () => {
  it.each([
    ['sid-cloud', '2G', 1, 'intel', 2 * GiB], ['sid-cloud', '128M', 2, 'amd', 128 * MiB],
    ['trixie-cloud', '4095M', 4, 'intel', 4095 * MiB], ['trixie-cloud', '512M', 1, 'amd', 512 * MiB],
    ['bookworm-cloud', '4097M', 4, 'amd', 4097 * MiB], ['bookworm-cloud', '8G', 2, 'intel', 8 * GiB],
    ['sid-generic', '3G', 4, 'intel', 3 * GiB], ['sid-generic', '64G', 2, 'amd', 64 * GiB],
    ...(cocoKernel === undefined ? [] : [[cocoKernel, '2G', 4, 'intel', 2 * GiB] as const]),
  ] as const)('%s boots with %s and %i vCPUs (%s), and finds all of it', { timeout: 300_000 }, async (...row) => {
    const [kernel, memory, vcpus, cpu, bytes] = row
    const options = ['--kernel', kernel, '--memory', memory, '--vcpus', String(vcpus), '--cpu', cpu]
    const { code, out, err } = await runReal([...options, '--run', findings, ...quick])
    expect(code, err).toBe(0)
    expect(out).toContain(`processors: ${vcpus}\r\n`)
    const [, found] = /^memory: (\d+)\r$/m.exec(out) ?? []
    expect(Number(found)).toBeGreaterThan(leastMemory(bytes))
    expect(Number(found)).toBeLessThan(bytes)
    // Where CPUID does not tell the frequency (AMD), Linux measures it for a second before it trusts the counter.
    expect(out).toMatch(/^clocks: tsc(?:-early)? hpet acpi_pm ?\r$/m)
    expect(out).toContain('clock: rtc0\r\n')
    expect(out).toContain('PCI: 0000:00:00.0 0000:00:1f.0\r\n')
    expect(out).not.toMatch(complaints)
  })

  it('has a terabyte, of which only what it touches costs any', { timeout: 900_000 }, async () => {
    const { code, out, err } = await runReal(['--memory', '1T', '--run', findings, '--append', 'cryptomgr.notests=1'])
    expect(code, err).toBe(0)
    const [, found] = /^memory: (\d+)\r$/m.exec(out) ?? []
    expect(Number(found)).toBeGreaterThan(leastMemory(2 ** 40))
  })

  it('lies where KASLR and the seed put it, and with nokaslr where it was linked', { timeout: 300_000 }, async () => {
    const placeWith = async (...words: string[]): Promise<string | undefined> => {
      const run = ['--run', "grep -m 1 ' _text$' /proc/kallsyms"]
      const { code, out, err } = await runReal(['--kernel', 'trixie-cloud', ...run, ...words])
      expect(code, err).toBe(0)
      return /^([\da-f]{16}) T _text\r$/m.exec(out)?.[1]
    }
    expect(await placeWith('--append', 'nokaslr cryptomgr.notests=1')).toBe('ffffffff81000000')
    const seeded = await Promise.all(['1', '2', '2'].map((seed) => placeWith('--seed', seed, ...quick)))
    expect(seeded).not.toContain(undefined)
    expect(seeded[0]).not.toBe(seeded[1])
    expect(seeded[1]).toBe(seeded[2])
  })

  it('starts again at reboot, to a shell that powers off', { timeout: 300_000 }, async () => {
    const { code, out, err } = await runReal(['--kernel', 'bookworm-cloud', ...quick], 'reboot\n')
    expect(code, err).toBe(0)
    expect(out.split('cofferdam: shell ready').length).toBe(3)
    expect(out).toContain('reboot: Power down')
  })

  it('leaves with 3 when it panics, and the reason, its last lines and where it was', {
    timeout: 300_000,
  }, async () => {
    const { code, err } = await runReal(['--kernel', 'trixie-cloud', ...quick, '--run', 'echo c >/proc/sysrq-trigger'])
    expect(code).toBe(3)
    expect(err).toContain('cofferdam: the kernel panicked: sysrq triggered crash\n')
    expect(err).toMatch(/last lines of the console:\n(?: {2}.*\n)+cpu 0: RIP 0xffffffff/)
  })

  it('gives Ctrl-C to what runs at its console, and the rest to its shell', { timeout: 300_000 }, async () => {
    // The quotes keep the echo of what is typed from being taken for what it prints.
    const { code, out } = await runPerson(['--kernel', 'trixie-cloud', ...quick], [
      ['# ', 'echo sp""inning; while :; do :; done\r'], ['spinning', '\x03'],
      ['# ', 'echo sl""eeping; sleep 1000; echo sl""ept\r'], ['sleeping', '\x03'],
      ['# ', 'echo "still $((40 + 2))"\r'], ['still 42', '\x01x'],
    ])
    expect(code).toBe(0)
    expect(out).toContain('still 42')
    expect(out).not.toContain('slept')
  })
})
