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

/** Arguments of `cofferdam boot`, up to a shell. */
export const bootArguments = ({ memory, cc, accept }: SnpBoot, kernel: string, initramfs: string, stats: string): string[] => [
  'boot', '--kernel', kernel, '--initrd', initramfs, '--memory', memory, '--cc', cc, '--stats', stats,
  ...(cc === 'none' ? ['--cpu', 'amd'] : []), ...(accept === undefined ? [] : ['--accept', accept]),
  '--append', 'cryptomgr.notests=1', '--until', 'cofferdam: shell ready',
]

/** Boots, and answers what `--stats` says. */
export function runBoot(boot: SnpBoot, program: readonly string[], kernel: string, initramfs: string, folder: string): SnpStats {
  const stats = join(folder, `${boot.name}-${boot.memory}.json`)
  const [command = '', ...first] = program
  execFileSync(command, [...first, ...bootArguments(boot, kernel, initramfs, stats)], { stdio: ['ignore', 'ignore', 'inherit'] })
  return JSON.parse(readFileSync(stats, 'utf8')) as SnpStats
}

const PSC = ['page-state-change', 'msr:page-state'] as const
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** A row of figures; `plain` is the plain boot with the same memory, `eager` the eager one. */
export function figures({ wallSeconds, virtualSeconds, machine: { snp } }: SnpStats, plain: SnpStats, eager: SnpStats): string[] {
  const rate = (count: number): string => `${Math.round(count / virtualSeconds)}/s`
  return [
    `${wallSeconds.toFixed(2)} s`, `${(wallSeconds / plain.wallSeconds).toFixed(2)} ×`,
    `${virtualSeconds.toFixed(2)} s`, `${(eager.virtualSeconds / virtualSeconds).toFixed(2)} ×`,
    ...(snp === undefined ? ['–', '–', '–', '–'] : [
      rate(sum(Object.values(snp.exits))), rate(snp.operations.pvalidate ?? 0), rate(sum(PSC.map((name) => snp.exits[name] ?? 0))),
      `${Math.round(snp.memory.backed / 2 ** 20)} MiB`,
    ]),
  ]
}

/** The table in Markdown. */
export function snpTable(boots: readonly SnpBoot[], stats: readonly SnpStats[]): string {
  const of = (memory: string, name: string): SnpStats => {
    const found = stats[boots.findIndex((boot) => boot.memory === memory && boot.name === name)]
    if (found === undefined) throw new Error(`bench: no boot ${name} with ${memory}`)
    return found
  }
  const head = ['boot', 'wall', '/ plain', 'virtual', 'eager /', 'exits', 'PVALIDATE', 'PSC', 'given']
  const rows = boots.map(({ name, memory }) => [
    `${memory} ${name}`, ...figures(of(memory, name), of(memory, 'plain'), of(memory, 'eager')),
  ])
  return [head, head.map((_, i) => (i === 0 ? '-' : '-:')), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}
