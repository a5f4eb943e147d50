import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { viewBatch, type Batch } from './batch.ts'

const FLAGS = ['-O2', '-static', '-no-pie', '-fno-stack-protector', '-fcf-protection=none', '-mfsgsbase', '-mxsave']

/** The real processor, or why there is none. */
export type Oracle =
  | {
    readonly available: true
    /** Runs all cases and returns the answers. */
    run(batch: Batch): Batch
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
  return { available: true, features, vendor, model, run: batch => run(program.path, batch) }
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

function run(path: string, batch: Batch): Batch {
  const size = batch.count * batch.stride
  const child = spawnSync(path, [], { input: batch.bytes, maxBuffer: size + 1, stdio: ['pipe', 'pipe', 'inherit'] })
  if (child.error) throw child.error
  if (child.status !== 0 || child.stdout.length !== size) {
    throw new Error(`oracle: ended with ${child.signal ?? child.status} after ${child.stdout.length} of ${size} bytes`)
  }
  const answer = viewBatch(batch.count, batch.window, new ArrayBuffer(64 + size))
  answer.u8.set(child.stdout)
  return answer
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
