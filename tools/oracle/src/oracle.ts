import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, renameSync, unlinkSync, writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { copyBatch, type Batch } from './batch.ts'

const FLAGS = [
  '-O2', '-static', '-no-pie', '-fno-stack-protector', '-Wl,-Ttext-segment=0x5a000000', '-fcf-protection=none',
  '-mfsgsbase', '-mxsave',
]

/** The real processor, or why there is none. */
export type Oracle =
  | {
    readonly available: true
    /** Runs all cases and returns the answers: `into`, a batch of the same shape, or a new one. */
    run(batch: Batch, into?: Batch): Batch
    /** Flags of /proc/cpuinfo. */
    readonly features: ReadonlySet<string>
    /** As CPUID leaf 0 spells it. */
    readonly vendor: string
    readonly model: string
  }
  | { readonly available: false, readonly reason: string }

/**
 * Builds the program (once per version of its source) and offers to run batches. Without an x86-64 Linux, gcc or the
 * XSAVE and FSGSBASE instructions it says so and runs nothing; tests then skip and show the reason.
 *
 * `run` is synchronous, leaves its argument alone and throws when the program dies, which a case brings about that
 * writes over the program itself.
 */
export function createOracle(): Oracle {
  if (process.platform !== 'linux' || process.arch !== 'x64') return { available: false, reason: 'no x86-64 Linux' }
  const cpuinfo = readFileSync('/proc/cpuinfo', 'utf8')
  const features = new Set(/^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.trim().split(' '))
  const vendor = /^vendor_id\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? 'unknown'
  const model = /^model name\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? 'unknown'
  for (const needed of ['avx', 'xsave', 'fsgsbase']) {
    if (!features.has(needed)) return { available: false, reason: `the processor lacks ${needed}` }
  }
  const program = build()
  if (!program.path) return { available: false, reason: program.reason }
  return {
    available: true, features, vendor, model,
    run: (batch, into = copyBatch(batch)) => runBatch(program.path, batch, into),
  }
}

function build(): { path: string, reason: string } {
  const source = fileURLToPath(new URL('oracle.c', import.meta.url))
  const hash = createHash('sha256').update(readFileSync(source)).update(FLAGS.join(' ')).digest('hex').slice(0, 16)
  const folder = join(tmpdir(), `cofferdam-oracle-${process.getuid?.() ?? 0}`)
  const path = join(folder, hash)
  if (existsSync(path)) return { path, reason: '' }
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const draft = `${path}.${process.pid}`
  const gcc = spawnSync('gcc', [...FLAGS, '-o', draft, source], { encoding: 'utf8' })
  if (gcc.error) return { path: '', reason: `gcc does not start: ${gcc.error.message}` }
  if (gcc.status !== 0) return { path: '', reason: `gcc: ${gcc.stderr.slice(0, 400)}` }
  renameSync(draft, path)
  return { path, reason: '' }
}

/** A file in memory where there is such a folder. It has no name any more when the program starts. */
function scratchFile(): number {
  const folder = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  const path = join(folder, `cofferdam-oracle.${process.pid}.${scratchFiles++}`)
  const file = openSync(path, 'wx+', 0o600)
  unlinkSync(path)
  return file
}
let scratchFiles = 0

const writeAll = (file: number, bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at, bytes.length - at, at)
}
const readAll = (file: number, bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length;) {
    const n = readSync(file, bytes, at, bytes.length - at, at)
    if (n === 0) throw new Error(`oracle: its file ends after ${at} of ${bytes.length} bytes`)
    at += n
  }
}

function runBatch(path: string, batch: Batch, into: Batch): Batch {
  const file = scratchFile()
  try {
    writeAll(file, batch.bytes)
    const child = spawnSync(path, [], { stdio: ['ignore', 'inherit', 'inherit', file] })
    if (child.error) throw child.error
    if (child.status !== 0) throw new Error(`oracle: ended with ${child.signal ?? child.status}`)
    readAll(file, into.bytes)
  } finally {
    closeSync(file)
  }
  return into
}

/** What the meanings of vector and x87 instructions are compared with: an Intel processor that has all of them. */
const ALL = ['avx2', 'fma', 'f16c', 'aes', 'pclmulqdq', 'sha_ni', 'sse4_2']

/** Why this processor's answers are not those that the meanings follow in every detail; empty when they are. */
export function unsuitable(oracle: Oracle): string {
  if (!oracle.available) return oracle.reason
  if (oracle.vendor !== 'GenuineIntel') return `${oracle.vendor} approximates and faults differently in places`
  const missing = ALL.filter(feature => !oracle.features.has(feature))
  return missing.length ? `the processor lacks ${missing.join(', ')}` : ''
}
