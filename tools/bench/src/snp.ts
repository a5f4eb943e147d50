/**
 * `npm run bench -- --snp`: boots of one kernel as an SNP guest beside a plain boot, by policy of acceptance. Ratios
 * of boots are of
 * virtual time, which the cost table decides (`COSTS` of `@cofferdam/host`, in each `--stats`); wall time is ours.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** What a `--stats` file says that is used here. */
export interface SnpStats {
  readonly wallSeconds: number
  readonly virtualSeconds: number
  readonly machine: {
    readonly snp?: {
      readonly exits: Readonly<Record<string, number>>
      readonly operations: Readonly<Record<string, number>>
      readonly costs: Readonly<Record<string, number>>
      readonly memory: { readonly backed: number }
    }
  }
}

/** One boot: its name in the table, and what it adds to the command line. */
export interface SnpBoot {
  readonly name: string
  readonly memory: string
  readonly cc: 'none' | 'snp'
  readonly accept?: 'lazy' | 'eager' | 'background'
}

/** The boots with so much memory. */
export const snpBoots = (memories: readonly string[]): SnpBoot[] => memories.flatMap((memory): SnpBoot[] => [
  { name: 'plain', memory, cc: 'none' },
  ...(['lazy', 'background', 'eager'] as const).map((accept): SnpBoot => ({ name: accept, memory, cc: 'snp', accept })),
])

/**
 * Arguments of `cofferdam boot`, up to a shell. All boots have one initramfs, ours in a file: it is told of background
 * acceptance as `--accept background` tells the default one, which may have more drivers.
 */
export const bootArguments = (
  { memory, cc, accept }: SnpBoot, kernel: string, initramfs: string, stats: string,
): string[] => [
  'boot', '--kernel', kernel, '--initrd', initramfs, '--memory', memory, '--cc', cc, '--stats', stats,
  ...(cc === 'none' ? ['--cpu', 'amd'] : []),
  ...(accept === undefined ? [] : ['--accept', accept === 'eager' ? 'eager' : 'lazy']),
  '--append', `cryptomgr.notests=1${accept === 'background' ? ' cofferdam.accept=background' : ''}`,
  '--until', 'cofferdam: shell ready',
]

/** Boots, and answers what `--stats` says. */
export function runBoot(
  boot: SnpBoot, program: readonly string[], kernel: string, initramfs: string, folder: string,
): SnpStats {
  const stats = join(folder, `${boot.name}-${boot.memory}.json`)
  const [command = '', ...first] = program
  execFileSync(
    command, [...first, ...bootArguments(boot, kernel, initramfs, stats)], { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  return JSON.parse(readFileSync(stats, 'utf8')) as SnpStats
}

const PSC = ['page-state-change', 'msr:page-state'] as const
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** One row as numbers. Rates are for each virtual second; they are of SNP guests only. */
export interface SnpRow {
  readonly name: string
  readonly memory: string
  readonly wallSeconds: number
  /** Wall time divided by that of the plain boot. */
  readonly toPlain: number
  readonly virtualSeconds: number
  /** The eager boot's virtual time divided by this one's. */
  readonly eagerTo: number
  readonly exits?: number
  readonly pvalidates?: number
  readonly pageStateChanges?: number
  /** Bytes of memory that the host gave. */
  readonly backed?: number
}

/** Of several runs of one boot, which differ in wall time alone, the one in the middle. */
export function medianRun(runs: readonly SnpStats[]): SnpStats {
  const run = runs.toSorted((a, b) => a.wallSeconds - b.wallSeconds)[Math.floor((runs.length - 1) / 2)]
  if (run === undefined) throw new Error('bench: no run of a boot')
  return run
}

/** The rows of boots, from what each says. */
export const snpRows = (boots: readonly SnpBoot[], stats: readonly SnpStats[]): SnpRow[] => {
  const of = (memory: string, name: string): SnpStats => {
    const found = stats[boots.findIndex((boot) => boot.memory === memory && boot.name === name)]
    if (found === undefined) throw new Error(`bench: no boot ${name} with ${memory}`)
    return found
  }
  return boots.map(({ name, memory }) => {
    const { wallSeconds, virtualSeconds, machine: { snp } } = of(memory, name)
    const rate = (count: number): number => Math.round(count / virtualSeconds)
    return {
      name, memory, wallSeconds, toPlain: wallSeconds / of(memory, 'plain').wallSeconds,
      virtualSeconds, eagerTo: of(memory, 'eager').virtualSeconds / virtualSeconds,
      ...(snp !== undefined && {
        exits: rate(sum(Object.values(snp.exits))), pvalidates: rate(snp.operations.pvalidate ?? 0),
        pageStateChanges: rate(sum(PSC.map((exit) => snp.exits[exit] ?? 0))), backed: snp.memory.backed,
      }),
    }
  })
}

const cells = (row: SnpRow): string[] => {
  const rate = (value: number | undefined): string => (value === undefined ? '–' : `${value}/s`)
  return [
    `${row.memory} ${row.name}`, `${row.wallSeconds.toFixed(2)} s`, `${row.toPlain.toFixed(2)} ×`,
    `${row.virtualSeconds.toFixed(2)} s`, `${row.eagerTo.toFixed(2)} ×`, rate(row.exits), rate(row.pvalidates),
    rate(row.pageStateChanges), row.backed === undefined ? '–' : `${Math.round(row.backed / 2 ** 20)} MiB`,
  ]
}

/** The table in Markdown. */
export function snpTable(boots: readonly SnpBoot[], stats: readonly SnpStats[]): string {
  const head = ['boot', 'wall', '/ plain', 'virtual', 'eager /', 'exits', 'PVALIDATE', 'PSC', 'given']
  return [head, head.map((_, i) => (i === 0 ? '-' : '-:')), ...snpRows(boots, stats).map(cells)]
    .map((row) => `| ${row.join(' | ')} |`).join('\n')
}
