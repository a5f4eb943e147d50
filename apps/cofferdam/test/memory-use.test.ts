/** What the process needs beside a guest's memory, whatever the guest does with that. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { flatKernel } from './flat-kernel.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-memory-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const MiB = 2 ** 20
/** Stated in README.md: code of the program, 64 MiB of decoded code, compiled code, and what Node needs. */
const OVERHEAD = 384 * MiB
const little = (value: number): string => Buffer.from(Uint32Array.of(value).buffer).toString('hex')

it('a guest that writes to every page takes its memory and the stated overhead, and no more', () => {
  const memory = 512 * MiB
  const [kernel, stats] = [join(folder, 'kernel'), join(folder, 'stats.json')]
  // mov edi,200000h; again: mov [edi],edi; add edi,1000h; cmp edi,END; jb again; power off
  writeFileSync(kernel, flatKernel(`
    bf ${little(2 * MiB)} 893f 81c7 ${little(4096)} 81ff ${little(memory - MiB)} 72f0 66ba0406 66b80020 66ef f4`.replaceAll(/\s/g, '')))
  const main = join(import.meta.dirname, '../src/main.ts')
  const { status, stderr } = spawnSync(process.execPath, [
    '--conditions=@cofferdam/source', main, 'boot', '--kernel', kernel, '--memory', '512M', '--timeout', '100',
    '--stats', stats,
  ], { input: '', encoding: 'utf8' })
  expect(status, stderr).toBe(0)
  const { peakMemoryBytes, machine } = JSON.parse(readFileSync(stats, 'utf8')) as {
    peakMemoryBytes: number; machine: { memoryBacked: number }
  }
  expect(machine.memoryBacked).toBeGreaterThan(memory - 4 * MiB)
  expect(peakMemoryBytes).toBeLessThan(memory + OVERHEAD)
}, 120_000)
