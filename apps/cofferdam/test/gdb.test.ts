import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { symbolFile } from './symbols.ts'

const main = join(import.meta.dirname, '../src/main.ts')
const kernels = join(import.meta.dirname, '../../../../shared/kernels/linux-7.2.13-coco')
const folder = mkdtempSync(join(tmpdir(), 'cofferdam-gdb-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const present = (command: string): boolean => {
  try {
    execFileSync(command, ['--version'])
    return true
  } catch {
    return false
  }
}

let guest: ChildProcess | undefined
afterEach(() => {
  guest?.kill('SIGKILL')
  guest = undefined
})

/** Starts a guest that waits for gdb on a port of its choice; answers the port. */
const waiting = async (words: readonly string[]): Promise<number> => {
  const boot = ['--conditions=@cofferdam/source', main, 'boot', '--gdb', '0', '--timeout', '100', ...words]
  const child = spawn(process.execPath, boot, {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  guest = child
  let said = ''
  return new Promise((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
      const port = /waiting on 127\.0\.0\.1:(\d+)/.exec(said)?.[1]
      if (port !== undefined) resolve(Number(port))
    })
    child.on('exit', (code) => { reject(new Error(`left with ${String(code)}: ${said}`)) })
  })
}

const gdb = (port: number, commands: readonly string[], symbols?: string): Promise<string> => new Promise((resolve) => {
  const all = [
    'set pagination off', 'set confirm off', 'set remotetimeout 60', `target remote 127.0.0.1:${port}`, ...commands
  ]
  const child = spawn(
    'gdb', ['-nx', '-batch', ...(symbols === undefined ? [] : [symbols]), ...all.flatMap((c) => ['-ex', c])],
  )
  let out = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => { out += text })
  }
  child.on('close', () => { resolve(out) })
})

const missing = !present('gdb') ? 'no gdb here' : !existsSync(kernels) ? 'no kernel with a map here' : ''

describe.skipIf(missing !== '')(`gdb${missing === '' ? '' : ` (${missing})`}`, () => {
  const kernel = ['--kernel', join(kernels, 'bzImage'), '--initrd', 'none', '--append', 'nokaslr', '--vcpus', '2']
  const symbols = join(folder, 'symbols')

  it('sees an SNP guest in plain text, stops it and steps it', { timeout: 120_000 }, async () => {
    const map = execFileSync('xz', ['-dc', join(kernels, 'System.map.xz')], { encoding: 'latin1', maxBuffer: 2 ** 28 })
    writeFileSync(symbols, symbolFile(map, ['start_kernel', 'linux_banner', '_text']))
    const out = await gdb(await waiting([...kernel, '--cc', 'snp', '--memory', '512M']), [
      'print/x $rip', 'hbreak start_kernel', 'continue', 'x/s &linux_banner', 'stepi', 'x/2i $pc', 'info threads',
      'detach',
    ], symbols)
    expect(out).toMatch(/hit Breakpoint 1, 0x[0-9a-f]+ in start_kernel/)
    expect(out).toMatch(/<linux_banner>:\s+"Linux version 7\.2\.13/)
    expect(out).toMatch(/=> 0x[0-9a-f]+ <start_kernel\+\d+>/)
  })

  it('stops at a symbol, looks around, steps, watches memory, switches processors, lets go', {
    timeout: 120_000,
  }, async () => {
    const map = execFileSync('xz', ['-dc', join(kernels, 'System.map.xz')], { encoding: 'latin1', maxBuffer: 2 ** 28 })
    writeFileSync(symbols, symbolFile(map, ['start_kernel', 'linux_banner', 'jiffies', '_text']))
    const out = await gdb(await waiting(kernel), [
      'hbreak start_kernel', 'continue', 'x/s &linux_banner', 'print/x $cr0', 'stepi', 'x/2i $pc', 'delete',
      'watch *(long *)&jiffies', 'continue', 'delete', 'info threads',
      'print/x *(unsigned short *)&_text', 'monitor phys on', 'x/1xh 0x1000000', 'monitor phys off',
      'print/x *(long *)0xdead000000000000',
      'set $rbx = 0x1234', 'print/x $rbx', 'set *(int *)&linux_banner = 0x41424344', 'x/s &linux_banner',
      'thread 2', 'print/x $rip', 'detach',
    ], symbols)
    expect(out).toMatch(/hit Breakpoint 1, 0x[0-9a-f]+ in start_kernel/)
    expect(out).toMatch(/<linux_banner>:\s+"Linux version 7\.2\.13/)
    expect(out).toMatch(/\$1 = 0x8005003[0-9a-f]/)
    expect(out).toMatch(/=> 0x[0-9a-f]+ <start_kernel\+\d+>/)
    expect(out).toMatch(/hit Hardware watchpoint 2[^]*Old value = (-?\d+)\nNew value = (-?\d+)/)
    expect(out).toMatch(/Thread 2 \(vCPU 1 waits for a start-up IPI\)/)
    // The same bytes by their virtual and their physical address.
    const [, virtual] = /\$2 = 0x([0-9a-f]+)/.exec(out) ?? []
    const [, physical] = /0x1000000\S*:\s+0x([0-9a-f]+)/.exec(out) ?? []
    expect(Number.parseInt(physical ?? '', 16)).toBe(Number.parseInt(virtual ?? 'none', 16))
    expect(out).toContain('Cannot access memory at address 0xdead000000000000')
    expect(out).toMatch(/\$\d+ = 0x1234\n/)
    expect(out).toMatch(/<linux_banner>:\s+"DCBAx version/)
    expect(out).toMatch(/\$\d+ = 0xfff0\n/)
    expect(out).toContain('detached')
  })

  it('comes back when gdb interrupts a guest that runs', { timeout: 120_000 }, async () => {
    // A Multiboot kernel of one instruction that jumps to itself.
    const [magic, at, entry] = [0x1bad_b002, 0x10_0000, 0x10_0020]
    const spin = join(folder, 'spin')
    writeFileSync(spin, Uint8Array.of(
      ...new Uint8Array(Int32Array.of(magic, 0x1_0000, -(magic + 0x1_0000), at, at, 0, 0, entry).buffer), 0xeb, 0xfe,
    ))
    const out = await gdb(await waiting(['--kernel', spin, '--initrd', 'none']), [
      'python import threading, time',
      'python interrupt = lambda: gdb.post_event(lambda: gdb.execute("interrupt"))',
      'python threading.Thread(target=lambda: (time.sleep(1), interrupt())).start()',
      'continue', 'print/x $rip', 'kill',
    ])
    expect(out).toMatch(/received signal SIGINT[^]*\$1 = 0x100020|Python scripting is not supported/)
  })
})
