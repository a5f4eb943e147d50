import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { debianMissing, runReal } from './real.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-snp-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describeUnless(debianMissing, 'an SNP guest', () => {
  it('is Debian\'s kernel, on two processors, with memory that it accepts lazily', { timeout: 300_000 }, async () => {
    const stats = join(folder, 'stats.json')
    const { code, out, err } = await runReal([
      '--cc', 'snp', '--kernel', 'sid-cloud', '--vcpus', '2', '--append', 'cryptomgr.notests=1', '--stats', stats,
      '--run', 'dmesg | grep -E "SEV|BUG|WARN"; nproc; grep -E "MemTotal|Unaccepted" /proc/meminfo',
    ])
    expect(code, err).toBe(0)
    expect(out).toContain('Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP')
    expect(out).toContain('SEV: SNP running at VMPL0.')
    expect(out).toMatch(/^2\r?$/m)
    expect(out).not.toMatch(/BUG:|WARNING:|Call Trace|unchecked MSR/)
    const unaccepted = Number(/Unaccepted: +(\d+) kB/.exec(out)?.[1]) * 1024
    const { machine: { snp } } = JSON.parse(readFileSync(stats, 'utf8')) as {
      machine: { snp: { malformed: object, memory: { backed: number } } }
    }
    expect(snp.malformed).toEqual({})
    expect(unaccepted).toBeGreaterThan(2 ** 30)
    // What the guest has not accepted, the host has not given; but for the last pages of all kinds, 2 MiB each.
    expect(snp.memory.backed).toBeLessThan(2 ** 31 - unaccepted + 2 ** 26)
  })
})
