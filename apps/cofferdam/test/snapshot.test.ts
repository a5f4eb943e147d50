import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { snapshotCodecs } from '../src/snapshot/codec.ts'
import { parseInterval } from '../src/snapshot/options.ts'
import { runReal } from './real.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-snapshot-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const path = (name: string): string => join(folder, name)

/**
 * A flat Multiboot kernel of 32-bit code: sends a counter of a byte to the serial port for ever, as `@` and two
 * letters, after it has spun for a while; at `PP` it powers off.
 */
const kernel = ((): string => {
  const at = 0x10_0000
  const header = Int32Array.of(0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), at, at, 0, 0, at + 0x20)
  const code = [
    0x31, 0xdb, /*                          */ // xor ebx, ebx
    0xb9, 0x40, 0x42, 0x0f, 0x00, 0x49, 0x75, 0xfd, // again: mov ecx, 1000000; dec ecx; jnz $ - 1
    0x66, 0xba, 0xf8, 0x03, 0xb0, 0x40, 0xee, // mov dx, 3F8h; mov al, '@'; out dx, al
    0x88, 0xd8, 0xc0, 0xe8, 0x04, 0x04, 0x41, 0xee, // mov al, bl; shr al, 4; add al, 'A'; out dx, al
    0x88, 0xd8, 0x24, 0x0f, 0x04, 0x41, 0xee, // mov al, bl; and al, 15; add al, 'A'; out dx, al
    0xfe, 0xc3, 0x75, 0xde, /*              */ // inc bl; jnz again
    0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0, 0x20, 0x66, 0xef, 0xf4, // mov dx, 604h; mov ax, 2000h; out dx, ax; hlt
  ]
  const file = path('counter')
  writeFileSync(file, Uint8Array.of(...new Uint8Array(header.buffer), ...code))
  return file
})()
const options = ['--kernel', kernel, '--initrd', 'none', '--memory', '64M']
const stats = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(path(name), 'utf8')) as Record<string, unknown>
const counted = (text: string): string[] => text.match(/@[A-P]{2}/g) ?? []

let straight: { out: string, instructions: unknown, virtualSeconds: unknown }
beforeAll(async () => {
  const { out, code } = await runReal([...options, '--stats', path('straight.json')])
  expect(code).toBe(0)
  straight = { out, ...stats('straight.json') as { instructions: unknown, virtualSeconds: unknown } }
}, 120_000)

describe('cofferdam boot --snapshot-at', () => {
  it('writes the machine and goes on; what goes on from it shows the rest, byte by byte', {
    timeout: 120_000,
  }, async () => {
    const file = path('at.snap')
    const run = await runReal([...options, '--snapshot-at', '@CA', '--snapshot', file])
    expect(run).toMatchObject({
      code: 0, out: straight.out, err: expect.stringContaining(`cofferdam: wrote ${file}\n`) as string,
    })
    const rest = await runReal(['--restore', file, '--stats', path('rest.json')])
    expect(rest.code).toBe(0)
    expect(counted(straight.out).length).toBe(256)
    expect(counted(rest.out).length).toBeGreaterThan(100)
    expect(straight.out.endsWith(rest.out)).toBe(true)
    expect(stats('rest.json')).toMatchObject({
      instructions: straight.instructions, virtualSeconds: straight.virtualSeconds, memoryBytes: 2 ** 26,
    })
  })

  it('stops there with --snapshot-stop', { timeout: 120_000 }, async () => {
    const file = path('stop.snap')
    const { code, out } = await runReal([...options, '--snapshot-at', '@CA', '--snapshot', file, '--snapshot-stop'])
    expect(code).toBe(0)
    expect(counted(out).length).toBeLessThan(60)
    const rest = await runReal(['--restore', file])
    expect(out + rest.out).toBe(straight.out)
  })

  it('fails when the console never shows the text', { timeout: 120_000 }, async () => {
    const { code, err } = await runReal([...options, '--snapshot-at', 'nothing', '--snapshot', path('never.snap')])
    expect(code).toBe(3)
    expect(err).toContain("the console did not show 'nothing': no snapshot was written")
    expect(existsSync(path('never.snap'))).toBe(false)
  })

  it('keeps a disk\'s overlay, and refuses an image that was changed', { timeout: 120_000 }, async () => {
    const [file, disk] = [path('disk.snap'), path('disk.img')]
    writeFileSync(disk, new Uint8Array(4096))
    const with_ = [...options, '--disk', disk]
    expect((await runReal([...with_, '--snapshot-at', '@CA', '--snapshot', file])).code).toBe(0)
    expect((await runReal(['--restore', file, '--disk', disk])).code).toBe(0)
    writeFileSync(disk, new Uint8Array(4096).fill(1))
    const { code, err } = await runReal(['--restore', file, '--disk', disk])
    expect({ code, err }).toMatchObject({ code: 2, err: expect.stringContaining('it was changed since') as string })
    expect(await runReal(['--restore', file]))
      .toMatchObject({ code: 2, err: expect.stringMatching(/^cofferdam: restore .*devices/) as string })
  })
})

describe('cofferdam boot --snapshot-every', () => {
  it('leaves a snapshot that a killed run goes on from, to the same end', { timeout: 240_000 }, async () => {
    const file = path('every.snap')
    const args = [...options, '--snapshot-every', '20M', '--snapshot', file]
    const main = join(import.meta.dirname, '../src/main.ts')
    const child = spawn(process.execPath, ['--conditions=@cofferdam/source', main, 'boot', ...args], { stdio: 'pipe' })
    let shown = ''
    const killed = new Promise<NodeJS.Signals | null>((resolve) => child.on('close', (_, signal) => resolve(signal)))
    child.stdin.end()
    child.stdout.on('data', (bytes: Buffer) => { shown += bytes.toString('latin1') })
    let writes = 0
    child.stderr.on('data', (bytes: Buffer) => {
      writes += bytes.toString().match(/wrote/g)?.length ?? 0
      if (writes >= 3) child.kill('SIGKILL')
    })
    expect(await killed).toBe('SIGKILL')
    const rest = await runReal(['--restore', file, '--stats', path('resumed.json')])
    expect(rest.code).toBe(0)
    expect(straight.out.startsWith(shown)).toBe(true)
    expect(straight.out.endsWith(rest.out)).toBe(true)
    expect(counted(shown).length + counted(rest.out).length).toBeGreaterThanOrEqual(256)
    expect(stats('resumed.json')).toMatchObject({ instructions: straight.instructions })
  })

  it('writes the same files whatever happens around it, by instructions and time', { timeout: 240_000 }, async () => {
    const hashes = []
    for (const [name, every] of [['a', '100M'], ['b', '100M'], ['c', '0.1s']] as const) {
      const { err } = await runReal([...options, '--snapshot-every', every, '--snapshot', path(`${name}.snap`)])
      hashes.push([
        createHash('sha256').update(readFileSync(path(`${name}.snap`))).digest('hex'), err.match(/wrote/g)?.length,
      ])
    }
    expect(hashes[1]).toEqual(hashes[0])
    // 512 million instructions, a nanosecond each.
    expect(hashes[0]?.[1]).toBe(5)
    expect(hashes[2]?.[1]).toBe(5)
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([])
  })

  it.each([
    ['10s', 'nanoseconds', 1e10], ['0.5s', 'nanoseconds', 5e8], ['500M', 'instructions', 5e8],
    ['2G', 'instructions', 2e9],
  ])(
    'takes %s', (text, unit, every) => {
      expect(parseInterval(text)).toEqual({ unit, every })
    })
  it.each(['', '10', '0s', '0.0001s', '-1s', '1e9M', '10m', '9999999999s'])('refuses %j', (text) => {
    expect(() => parseInterval(text)).toThrow('expected seconds of the machine such as 10s')
  })
})

describe('a snapshot that cannot be', () => {
  it.each([
    [['--snapshot', 'x'], '--snapshot: says where; add --snapshot-at or --snapshot-every'],
    [['--snapshot-at', 'x'], '--snapshot-at: says when; add --snapshot FILE'],
    [['--snapshot-every', '1s'], '--snapshot-every: says when; add --snapshot FILE'],
    [['--snapshot-stop'], '--snapshot-stop: works with --snapshot-at'],
    [['--snapshot', 'x', '--snapshot-every', '1s', '--snapshot-stop'], '--snapshot-stop: works with --snapshot-at'],
    [['--snapshot', 'x', '--snapshot-every', '1s', '--snapshot-at', 'y'],
      '--snapshot-every: one file holds one snapshot'],
    [['--snapshot', 'x', '--snapshot-every', '1s', '--disk', 'd.img,rw'], 'what the guest goes on to write to d.img'],
    [['--snapshot', 'x', '--snapshot-at', 'y', '--disk', 'd.img,overlay=d.cow'],
      'what the guest goes on to write to d.cow'],
    [
      ['--cc', 'snp', '--svsm', '--svsm-vtpm', '--snapshot', 'x', '--snapshot-at', 'y'],
      '--snapshot: not with --svsm-vtpm: the TPM is a program of its own',
    ],
    [['--cc', 'snp', '--accept', 'eager', '--restore', 'x'],
      '--accept: the guest of a snapshot was launched already; leave it out'],
    [['--cc', 'snp', '--sev-features', 'secure-tsc', '--restore', 'x'],
      '--sev-features: the guest of a snapshot was launched already'],
    [['--cc', 'none', '--hostile', 'flip', '--restore', 'x'],
      '--hostile: works with an SNP guest; x holds a plain machine'],
    [['--restore', 'x', '--kernel', 'y'], '--kernel: the machine of a snapshot has started; leave it out'],
    [['--restore', 'x', '--append', 'y'], '--append: the machine of a snapshot has started; leave it out'],
    [['--restore', 'x', '--run', 'y'], '--run: the machine of a snapshot has started; type the command'],
    [['--restore', '/nowhere/x'], 'restore /nowhere/x: no such file: expected a file that --snapshot wrote'],
    [['--restore', '/'], 'restore /: it is no regular file: expected a file that --snapshot wrote'],
  ])('is refused before anything runs: %j', async (args, message) => {
    const { code, err } = await runReal(args)
    expect({ code, err }).toMatchObject({ code: 2, err: expect.stringContaining(message) as string })
  })

  it('is refused when its file is damaged, cut off, foreign or of other options', { timeout: 120_000 }, async () => {
    const file = path('good.snap')
    await runReal([...options, '--snapshot-at', '@CA', '--snapshot', file, '--snapshot-stop'])
    const good = readFileSync(file)
    const bad = async (bytes: Uint8Array, ...more: string[]): Promise<string> => {
      writeFileSync(path('bad.snap'), bytes)
      const { code, err } = await runReal(['--restore', path('bad.snap'), ...more])
      expect(code).toBe(2)
      return err.replace(`cofferdam: restore ${path('bad.snap')}: `, '')
    }
    const flipped = (at: number): Uint8Array => good.map((byte, i) => (i === at ? byte ^ 4 : byte))
    expect(await bad(flipped(good.length - 1)))
      .toMatch(/^memory\.contents\[\d+\]: expected another checksum: the file is damaged\n/)
    expect(await bad(flipped(60))).toBe('directory: expected another checksum: the file is damaged\n')
    expect(await bad(flipped(16))).toMatch(/^version: expected 2, got 6\n/)
    expect(await bad(good.subarray(0, 1000))).toMatch(/^sections: expected \d+ bytes, got \d+: the file is cut off\n/)
    expect(await bad(readFileSync(kernel))).toBe('magic: expected a snapshot of Cofferdam\n')
    expect(await bad(good, '--memory', '128M')).toBe('memory: it has 67108864; asked for 134217728\n')
    expect(await bad(good, '--vcpus', '2')).toBe('vcpus: it has 1; asked for 2\n')
  })
})

describe('codecs', () => {
  it.each(snapshotCodecs)('$name gives back what it got, and never more', async (codec) => {
    const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) >>> 9)
    const packed = await codec.compress(bytes)
    expect(packed.length).toBeLessThan(bytes.length)
    expect(new Uint8Array(await codec.decompress(packed, bytes.length))).toEqual(bytes)
    expect(() => codec.decompressNow?.(packed, bytes.length - 1)).toThrow(RangeError)
  })
})
