import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { openStore } from '../src/images/store.ts'
import { createMachine } from '../src/machine.ts'
import { runCli } from '../src/program.ts'
import { debianMissing, runReal } from './real.ts'
import { collectOutput, pipeInput } from './streams.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-snp-snapshot-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const path = (name: string): string => join(folder, name)

/** Another command than `boot`. */
const run = async (...args: readonly string[]) => {
  const [out, err] = [collectOutput(), collectOutput()]
  const code = await runCli(args, {
    stdin: pipeInput(''), stdout: out.stream, stderr: err.stream, store: openStore(), createMachine, now: () => 0,
  })
  return { code, out: out.text(), err: err.text() }
}

interface Figures {
  readonly instructions: number
  readonly virtualSeconds: number
  readonly machine: { readonly snp: { readonly exits: object, readonly measurement: string } }
}
const figures = (name: string): Figures => JSON.parse(readFileSync(path(name), 'utf8')) as Figures

const typed = 'grep -c processor /proc/cpuinfo\nsev-report nonce\n'

describeUnless(debianMissing, 'cofferdam boot --restore of an SNP guest', () => {
  it.each([
    ['one processor', ['--vcpus', '1'], 'Freeing SMP alternatives'],
    ['two processors, in user space', ['--vcpus', '2', '--accept', 'lazy'], 'shell ready'],
    ['two processors under an SVSM', ['--vcpus', '2', '--svsm'], 'Run /init'],
  ])('goes on to the same bytes, counts and a valid report: %s', { timeout: 600_000 }, async (_, how, at) => {
    const file = path('snp.snap')
    const straight = await runReal([
      '--cc', 'snp', '--memory', '512M', '--append', 'cryptomgr.notests=1', ...how,
      '--snapshot-at', at, '--snapshot', file, '--stats', path('straight.json'),
    ], typed)
    expect(straight.code, straight.err).toBe(0)
    const rest = await runReal(['--restore', file, '--stats', path('rest.json')], typed)
    expect(rest.code, rest.err).toBe(0)
    expect(straight.out.endsWith(rest.out)).toBe(true)
    const [one, other] = ['straight.json', 'rest.json'].map(figures)
    expect([other.instructions, other.virtualSeconds]).toEqual([one.instructions, one.virtualSeconds])
    expect([other.machine.snp.exits, other.machine.snp.measurement])
      .toEqual([one.machine.snp.exits, one.machine.snp.measurement])

    expect((await run('certs', path('certs'))).code).toBe(0)
    writeFileSync(path('console.txt'), rest.out)
    const verified =
      await run('verify', path('console.txt'), '--certs', path('certs'), '--measurement', one.machine.snp.measurement)
    const accepted = expect.stringContaining('accepted: signed by the VCEK') as string
    expect(verified, rest.out).toMatchObject({ code: 0, out: accepted })
  })

  it('refuses what contradicts the file, and leaves one behind by --snapshot-every', { timeout: 600_000 }, async () => {
    const file = path('every.snap')
    const { code } = await runReal([
      '--cc', 'snp', '--memory', '512M', '--snapshot-every', '200M', '--snapshot', file,
      '--until', 'Freeing SMP alternatives',
    ])
    expect(code).toBe(0)
    for (const [given, message] of [
      [['--cc', 'none'], 'cc: it has snp; asked for none'],
      [['--cc', 'snp', '--svsm'], 'svsm: it has none; asked for the guest at VMPL2'],
      [['--cc', 'snp', '--hostile', 'flip@7'], 'hostile: it has none; asked for flip@7'],
      [['--vcpus', '2'], 'vcpus: it has 1; asked for 2'],
    ] as const) {
      const { code: refused, err } = await runReal(['--restore', file, ...given])
      expect([refused, err]).toEqual([2, expect.stringContaining(`restore ${file}: ${message}`)])
    }
    expect((await runReal(['--restore', file, '--until', 'Run /init', '--report', path('report.json')])).code).toBe(0)
  })
})
