import { describe, expect, it } from 'vitest'
import { median, reportRow, table } from '../src/report.ts'
import { bootArguments, medianRun, snpBoots, snpRows, snpTable, type SnpStats } from '../src/snp.ts'
import { watch } from '../src/watch.ts'
import { guestCommands, sessions } from '../src/workload.ts'

const program = (script: string): { command: string; args: string[] } => ({
  command: process.execPath,
  args: ['-e', script],
})

describe('watch', () => {
  it('gives the time of each mark and ends the program after the last', async () => {
    const script = 'console.log("one\\r"); setTimeout(() => { console.log("two") }, 100); setInterval(() => {}, 1000)'
    const marks = [{ name: 'a', line: /^one$/ }, { name: 'b', line: /^two$/ }]
    const { marks: times, failure, peakMemory } = await watch(program(script), marks, 20)
    expect(failure).toBeUndefined()
    expect((times.b ?? 0) - (times.a ?? 0)).toBeGreaterThan(0.05)
    if (process.platform === 'linux') expect(peakMemory).toBeGreaterThan(2 ** 20)
  })

  it('gives the program its input', async () => {
    const echo = { ...program('process.stdin.pipe(process.stdout)'), input: 'typed\n' }
    expect((await watch(echo, [{ name: 'a', line: /^typed$/ }], 20)).failure).toBeUndefined()
  })

  it('says which mark never came and what the program said', async () => {
    const watched = await watch(program('console.error("no kernel"); process.exit(3)'), [{ name: 'a', line: /^a$/ }], 20)
    expect(watched.failure).toBe('left with 3 before a: no kernel')
  })

  it('ends a program that takes too long', async () => {
    const watched = await watch(program('setInterval(() => {}, 1000)'), [{ name: 'a', line: /^a$/ }], 0.3)
    expect(watched.failure).toContain('no end after 0.3 s')
  })
})

describe('the report', () => {
  it.each([[[3, 1, 2], 2], [[4, 1, 2, 3], 2.5], [[], undefined]])('takes the median of %j', (values, expected) => {
    expect(median(values)).toBe(expected)
  })

  it('divides ours by the peer\'s, and shows a dash where one is missing', () => {
    const row = reportRow({ name: 'boot', about: 'boot', unit: 's' }, [3, 1, 2], [4])
    expect(row.ratio).toBe(0.5)
    const missing = reportRow({ name: 'm', about: 'memory', unit: 'bytes' }, [2 ** 30], [])
    expect(table([row, missing], 'us', 'them').split('\n').slice(2)).toEqual([
      '| boot   |   2.00 s | 4.00 s | 0.50 × |',
      '| memory | 1024 MiB |      – |      – |',
    ])
  })
})

describe('the workload', () => {
  it('fits the kernel\'s command line', () => {
    const longest = Math.max(...sessions.map(({ append }) => append.length))
    expect(longest).toBeLessThan(2048 - 'console=ttyS0,115200 panic=-1 '.length)
  })

  it('types a line whose echo is not taken for its answer', () => {
    for (const { restores, marks } of sessions) {
      if (restores) expect(marks.some(({ line }) => line.test(restores.line))).toBe(false)
    }
    expect(sessions.filter(({ restores }) => restores).map(({ name }) => name)).toEqual(['restore'])
  })

  it('prints every mark that its rows use', () => {
    for (const session of sessions) {
      const names = session.marks.map(({ name }) => name)
      for (const { from, to } of session.rows) expect(names).toEqual(expect.arrayContaining([from ?? to, to]))
    }
    expect(guestCommands).toContain('echo bench-gzip-end')
  })
})

describe('the table of SNP boots', () => {
  const boots = snpBoots(['4G'])
  const stats = boots.map(({ cc }, i): SnpStats => ({
    wallSeconds: 2 + i, virtualSeconds: 1 + i, machine: cc === 'none' ? {} : {
      snp: {
        exits: { hlt: 10, 'page-state-change': 20, 'msr:page-state': 2 }, operations: { pvalidate: 40 }, costs: {},
        memory: { backed: 2 ** 30 },
      },
    },
  }))

  it('has a row for each boot, with ratios to the plain and the eager one', () => {
    const rows = snpTable(boots, stats).split('\n')
    expect(rows).toHaveLength(6)
    expect(rows[2]).toBe('| 4G plain | 2.00 s | 1.00 × | 1.00 s | 4.00 × | – | – | – | – |')
    expect(rows[3]).toBe('| 4G lazy | 3.00 s | 1.50 × | 2.00 s | 2.00 × | 16/s | 20/s | 11/s | 1024 MiB |')
  })

  it('takes the run in the middle of several, and gives the same figures as numbers', () => {
    const [first, ...more] = [3, 1, 2].map((wallSeconds): SnpStats => ({ wallSeconds, virtualSeconds: 1, machine: {} }))
    expect(medianRun([first, ...more].filter((run) => run !== undefined)).wallSeconds).toBe(2)
    expect(snpRows(boots, stats)[1]).toEqual({
      name: 'lazy', memory: '4G', wallSeconds: 3, toPlain: 1.5, virtualSeconds: 2, eagerTo: 2, exits: 16,
      pvalidates: 20, pageStateChanges: 11, backed: 2 ** 30,
    })
  })

  it('boots with the policy that the row names', () => {
    expect(bootArguments(boots[3], 'k', 'i', 's')).toEqual(expect.arrayContaining(['--cc', 'snp', '--accept', 'eager']))
    expect(bootArguments(boots[0], 'k', 'i', 's')).not.toContain('--accept')
    // `--accept background` would want the default initramfs, and refuse the one that all boots have.
    expect(bootArguments(boots[2], 'k', 'i', 's'))
      .toEqual(expect.arrayContaining(['--accept', 'lazy', 'cryptomgr.notests=1 cofferdam.accept=background']))
  })
})
