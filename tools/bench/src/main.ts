/**
 * `npm run bench [-- OPTIONS]`: times our machine and the installed QEMU's TCG on the same boots, in turns, and prints
 * medians and their ratios. See README.md.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from '@cofferdam/tool-workspace'
import { built, ours, prepareImages, qemu, type Contestant } from './contestants.ts'
import { reportRow, table, type ReportRow } from './report.ts'
import { medianRun, runBoot, snpBoots, snpRows, snpTable } from './snp.ts'
import { watch, type Watched } from './watch.ts'
import { sessions, type Row, type Session } from './workload.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: sessions.map(({ name }) => name).join(',') },
    contestants: { type: 'string', default: 'both' },
    kernel: { type: 'string', default: 'sid-cloud' },
    engine: { type: 'string', default: 'auto' },
    timeout: { type: 'string', default: '300' },
    snp: { type: 'boolean', default: false },
    memory: { type: 'string', default: '4G,64G' },
    json: { type: 'string', default: join(root, 'tools/bench/dist/bench.json') },
  },
})

interface Run extends Watched {
  readonly contestant: string
  readonly session: string
  readonly round: number
}

const say = (text: string): void => void process.stderr.write(`${text}\n`)

const once = async (contestant: Contestant, session: Session, round: number): Promise<Run> => {
  const { append, restores } = session
  const program = (restores && contestant.resume?.(append, restores.line)) ?? contestant.program(append)
  const watched = await watch(program, session.marks, Number(options.timeout))
  const seconds = Math.max(0, ...Object.values(watched.marks)).toFixed(2)
  say(`round ${round} ${session.name}, ${contestant.name}: ${watched.failure ?? `${seconds} s`}`)
  return { ...watched, contestant: contestant.name, session: session.name, round }
}

/** In each round every session is run by each contestant, and who begins changes. */
const runAll = async (chosen: readonly Session[], contestants: readonly Contestant[]): Promise<Run[]> => {
  const runs: Run[] = []
  for (let round = 1; round <= Number(options.rounds); round++) {
    const order = round % 2 === 1 ? contestants : contestants.toReversed()
    for (const session of chosen) {
      for (const contestant of order) {
        if (!session.restores || contestant.resume) runs.push(await once(contestant, session, round))
      }
    }
  }
  return runs
}

const seconds = (runs: readonly Run[], contestant: string, session: string, { from, to }: Row): number[] =>
  runs
    .filter((run) => run.contestant === contestant && run.session === session)
    .map(({ marks }) => (marks[to] ?? NaN) - (from === undefined ? 0 : marks[from] ?? NaN))
    .filter((value) => !Number.isNaN(value))

const memory = (runs: readonly Run[], contestant: string, session: string): number[] =>
  runs
    .filter((run) => run.contestant === contestant && run.session === session && run.failure === undefined)
    .map(({ peakMemory }) => peakMemory)
    .filter((value) => value !== undefined)

const rowsOf = (runs: readonly Run[], session: Session, us: string, them: string): ReportRow[] => [
  ...session.rows.map((row) => reportRow(
    { name: row.name, about: row.about, unit: 's' },
    seconds(runs, us, session.name, row),
    seconds(runs, them, session.name, row),
  )),
  reportRow(
    { name: `${session.name}-memory`, about: `peak memory (${session.name})`, unit: 'bytes' },
    memory(runs, us, session.name),
    memory(runs, them, session.name),
  ),
]

const writeJson = (contents: object): void => {
  const machine = { processor: cpus()[0]?.model, processors: cpus().length }
  mkdirSync(dirname(options.json), { recursive: true })
  writeFileSync(options.json, `${JSON.stringify({ machine, ...contents }, null, 2)}\n`)
}

/** SNP guests beside a plain boot, instead of the peer: in each round every boot once. */
const snp = (): number => {
  const folder = mkdtempSync(join(tmpdir(), 'cofferdam-bench-'))
  try {
    const { kernel, initramfs } = prepareImages(folder, options.kernel)
    const boots = snpBoots(options.memory.split(','))
    const rounds = Array.from({ length: Number(options.rounds) }, (_, round) => boots.map((boot) => {
      const stats = runBoot(boot, [process.execPath, built], kernel, initramfs, folder)
      say(`round ${round + 1} ${boot.memory} ${boot.name}: ${stats.wallSeconds.toFixed(2)} s`)
      return stats
    }))
    const stats = boots.map((_, i) => medianRun(rounds.map((round) => round[i]).filter((run) => run !== undefined)))
    const runs = rounds.flatMap((round) => round.map((run, i) => ({ ...boots[i], ...run })))
    writeJson({ kernel, rows: snpRows(boots, stats), runs })
    process.stdout.write(`${snpTable(boots, stats)}\n`)
    return 0
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const main = async (): Promise<number> => {
  const folder = mkdtempSync(join(tmpdir(), 'cofferdam-bench-'))
  try {
    const images = prepareImages(folder, options.kernel)
    const us = ours(images, options.engine, folder)
    const them = qemu(images)
    if (!them) say('QEMU is not installed (Debian: qemu-system-x86): there is nothing to compare with')
    const contestants = [us, them].filter((one) => one !== undefined)
      .filter((one) => options.contestants === 'both' || (options.contestants === 'peer') === (one !== us))
    const chosen = sessions.filter(({ name }) => options.only.split(',').includes(name))
    const runs = await runAll(chosen, contestants)
    const rows = chosen.flatMap((session) => rowsOf(runs, session, us.name, them?.name ?? ''))
    const versions = Object.fromEntries(contestants.map(({ name, version }) => [name, version]))
    writeJson({ kernel: images.kernel, versions, rows, runs })
    process.stdout.write(`${table(rows, us.name, them?.name ?? 'peer')}\n`)
    return runs.some(({ failure }) => failure !== undefined) ? 1 : 0
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

process.exitCode = options.snp ? snp() : await main()
