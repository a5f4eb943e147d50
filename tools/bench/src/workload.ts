import type { Mark } from './watch.ts'

/** One boot to time: what is added to the kernel's parameters, and the marks on its console. */
export interface Session {
  readonly name: string
  readonly append: string
  /** It goes on from a snapshot of an idle shell, which our machine alone does; `line` is typed there. */
  readonly restores?: { readonly line: string }
  readonly marks: readonly Mark[]
  readonly rows: readonly Row[]
}

/** One figure: the time from one mark to another, in seconds. */
export interface Row {
  readonly name: string
  readonly about: string
  /** Mark to count from; the start of the process if absent. */
  readonly from?: string
  readonly to: string
}

const firstLine: Mark = { name: 'first-line', line: /^(\x1b\S*)?\[ *0\.0+\] Linux version / }
const shell: Mark = { name: 'shell', line: /^cofferdam: shell ready$/ }

/** Programs in the guest. Each is timed by the host between the lines that stand around it. */
const programs: readonly (readonly [name: string, about: string, command: string])[] = [
  ['sha256sum', 'sha256sum of 50 MB', 'sha256sum /tmp/data'],
  ['gzip', 'gzip of 50 MB', 'gzip -c /tmp/data >/dev/null'],
  ['loop', 'ash counts to 300,000', 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'],
  ['fork', '100 fork+exec', 'i=0; while [ $i -lt 100 ]; do /bin/busybox true; i=$((i+1)); done'],
]

// 25 copies of BusyBox are 50 MB that compress as programs do, and the same everywhere.
const prepare = 'i=0; while [ $i -lt 25 ]; do cat /bin/busybox; i=$((i+1)); done | head -c 50000000 >/tmp/data'

/** The commands that a guest runs, as /init takes them. */
export const guestCommands = [
  prepare,
  ...programs.flatMap(([name, , command]) => [`echo bench-${name}-start`, command, `echo bench-${name}-end`]),
].join('; ')

const programMarks = programs.flatMap(([name]) =>
  ['start', 'end'].map((edge): Mark => ({ name: `${name}-${edge}`, line: new RegExp(`^bench-${name}-${edge}$`) })))

/** The rows of the benchmark, by boot. */
export const sessions: readonly Session[] = [
  {
    name: 'boot',
    append: 'cryptomgr.notests=1',
    marks: [firstLine, shell],
    rows: [
      { name: 'first-line', about: 'first kernel line', to: 'first-line' },
      { name: 'boot', about: 'boot to the shell, no crypto self-tests', to: 'shell' },
    ],
  },
  {
    name: 'full-boot',
    append: '',
    marks: [shell],
    rows: [{ name: 'full-boot', about: 'boot to the shell, with self-tests', to: 'shell' }],
  },
  {
    name: 'programs',
    append: `cryptomgr.notests=1 quiet cofferdam.run64=${Buffer.from(guestCommands).toString('base64')}`,
    marks: programMarks,
    rows: programs.map(([name, about]) => ({ name, about, from: `${name}-start`, to: `${name}-end` })),
  },
  {
    name: 'restore',
    append: 'cryptomgr.notests=1',
    restores: { line: 'echo answer-$((6*7))' },
    marks: [{ name: 'answer', line: /^answer-42$/ }],
    rows: [{ name: 'restore', about: 'a shell that answers, from a snapshot', to: 'answer' }],
  },
]
