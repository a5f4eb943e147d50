/**
 * Four processors at work for minutes of the guest's time: no stall, no lost signal or byte, no processor that stays
 * away.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { debianMissing, runReal } from './real.ts'
import { stressScript } from './stress.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-stress-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const script = (cycles: 'each' | 'once'): string => {
  const path = join(folder, `${cycles}.sh`)
  writeFileSync(path, stressScript(150, cycles))
  return path
}

describeUnless(debianMissing, 'four processors', () => {
  it.each([
    ['of a plain machine', 'each', []], ['of a plain AMD machine', 'each', ['--cpu', 'amd', '--seed', '2']],
    // Linux takes the GHCB of a processor that it sends away (sev_es_ap_hlt_loop), and never gives it back when a new
    // VMSA starts it again: the backup GHCB is all that it has from then on, and the second time it panics.
    ['of an SNP guest', 'once', ['--cc', 'snp']],
  ] as const)('%s fork, pipe, signal, fill memory, go and come back', {
    timeout: 1_800_000,
  }, async (_, cycles, words) => {
    const { code, out, err } = await runReal([
      ...words, '--kernel', 'sid-cloud', '--vcpus', '4', '--append', 'quiet cryptomgr.notests=1', '--timeout', '1700',
      '--add', `${script(cycles)}:/stress.sh`, '--run', 'sh /stress.sh',
    ])
    expect(code, out + err).toBe(0)
    const [, rounds] = /^stress: (\d+) rounds on 4 processors, 0 problems\r?$/m.exec(out) ?? []
    expect(Number(rounds), out).toBeGreaterThan(20)
    expect(out).not.toMatch(/BUG:|WARNING:|Call Trace|soft lockup|stall|hung task/)
  })
})
