import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMachine } from '@cofferdam/machine'
import { afterAll, expect, it } from 'vitest'
import { fetchImages } from '../src/images/fetch.ts'
import { openStore } from '../src/images/store.ts'
import { cocoKernel, debianMissing, runReal } from './real.ts'
import { grubDisk } from './grub-disk.ts'
import { ovmfAsIgvm } from './ovmf-igvm.ts'
import { ownInitramfs, readSnpStats } from './snp-stats.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-snp-ovmf-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const complaints = /BUG:|WARNING:|Oops|Call Trace|Kernel panic|unchecked MSR|Firmware Bug/
const MiB = 2 ** 20
const GiB = 2 ** 30
const stats = join(folder, 'stats.json')

/** A boot that says what it has: processors, and memory in bytes. */
async function boot(kernel: string, memory: string, vcpus: number, firmware = 'ovmf-amdsev', ...more: string[]) {
  const { code, out, err } = await runReal([
    '--cc', 'snp', '--firmware', firmware, '--kernel', kernel, '--memory', memory, '--vcpus', String(vcpus),
    '--append', 'cryptomgr.notests=1', '--stats', stats, ...more,
    '--run', 'dmesg | grep -iE "SEV|DMI:"; echo "processors: $(nproc)"; grep -E "MemTotal|Unaccepted" /proc/meminfo',
  ])
  const of = (name: string): number | undefined => {
    const found = new RegExp(`${name}: +(\\d+) kB`).exec(out)
    return found === null ? undefined : Number(found[1]) * 1024
  }
  expect(code, err).toBe(0)
  expect(out).toContain(`processors: ${vcpus}`)
  expect(out).toMatch(/efi: EFI v2/)
  expect(out).toMatch(/Memory Encryption Features active: AMD.* SEV SEV-ES SEV-SNP/)
  expect(out).not.toMatch(complaints)
  const { malformed, memory: { backed } } = readSnpStats(stats)
  expect(malformed).toEqual({})
  return { out, total: of('MemTotal') ?? 0, unaccepted: of('Unaccepted'), backed }
}

describeUnless(debianMissing, 'OVMF in an SNP guest', () => {
  it.each([
    ['sid-cloud', '256M', 1, 256 * MiB], ['sid-cloud', '3147780K', 2, 3 * GiB + 2 * MiB + 4096],
    ['sid-cloud', '4097M', 4, 4097 * MiB], ['trixie-cloud', '2G', 1, 2 * GiB],
    ['trixie-cloud', '4095M', 2, 4095 * MiB], ['trixie-cloud', '4097M', 4, 4097 * MiB],
    ['bookworm-cloud', '2G', 1, 2 * GiB], ['bookworm-cloud', '4095M', 4, 4095 * MiB],
    ['sid-generic', '2G', 2, 2 * GiB], ['sid-generic', '4097M', 4, 4097 * MiB],
  ] as const)('boots %s with %s and %i vCPUs', { timeout: 600_000 }, async (kernel, memory, vcpus, bytes) => {
    const { out, total } = await boot(kernel, memory, vcpus)
    expect(out).toContain('DMI: Cofferdam Q35')
    // What the kernel keeps for itself, its map of all pages and bounce buffers above all, is no part of MemTotal.
    expect(total).toBeGreaterThan(bytes * 0.9 - 128 * MiB)
    expect(total).toBeLessThan(bytes)
  })

  it.skipIf(cocoKernel === undefined).each([1, 2, 4])(
    'boots a kernel of our own with %i vCPUs', { timeout: 600_000 },
    async (vcpus) => { await boot(cocoKernel ?? '', '2G', vcpus) })

  it.each([1, 2])('boots through generic OVMF, too, with %i vCPUs', { timeout: 600_000 }, async (vcpus) => {
    await boot('trixie-cloud', '2G', vcpus, 'ovmf')
  })

  it('boots GRUB from a disk through generic OVMF, and GRUB the kernel', { timeout: 600_000 }, async () => {
    const disk = join(folder, 'esp.img')
    writeFileSync(disk, await grubDisk('dmesg | grep Memory.Encryption'))
    const { code, out, err } = await runReal(['--cc', 'snp', '--firmware', 'ovmf', '--kernel', 'none', '--disk', disk])
    expect(code, err).toBe(0)
    expect(out).toContain('BOOT_IMAGE=/VMLINUZ')
    expect(out).toMatch(/Memory Encryption Features active: AMD.* SEV SEV-ES SEV-SNP/)
    expect(out).not.toMatch(complaints)
  })

  it.each([
    [1, '256M'], [1, '2G'], [2, '2G'], [4, '2G'], [2, '3147780K'], [2, '4095M'], [4, '4097M'], [2, '64G'],
  ])('runs at VMPL2 under our SVSM, and the kernel too: %i vCPUs, %s', { timeout: 600_000 }, async (vcpus, memory) => {
    const { out } = await boot('sid-cloud', memory, vcpus, 'ovmf-amdsev', '--svsm')
    expect(out).toContain('SEV: SNP running at VMPL2.')
    // OVMF has the host's list of processors, and the SVSM make their VMSAs.
    expect(readSnpStats(stats).exits['apic-id-list'] ?? 0).toBe(vcpus > 1 ? 2 : 0)
  })

  it('boots from an IGVM file as from its own image, with the same measurement', { timeout: 600_000 }, async () => {
    const [image, kernel] = await fetchImages(
      ['ovmf-amdsev', 'sid-cloud'], { store: openStore(), refresh: false, onProgress: () => undefined })
    const read = (path = ''): Uint8Array => new Uint8Array(readFileSync(path))
    const initrd = join(folder, 'initrd.cpio')
    writeFileSync(initrd, await ownInitramfs())
    const append = 'cryptomgr.notests=1'
    const packed = join(folder, 'ovmf.igvm')
    writeFileSync(packed, ovmfAsIgvm(read(image?.path), 2, {
      kernel: read(kernel?.path), initrd: read(initrd), append: `console=ttyS0,115200 panic=-1 ${append}`,
    }))
    const measured: string[] = []
    for (const firmware of ['ovmf-amdsev', packed]) {
      const { code, out, err } = await runReal([
        '--cc', 'snp', '--firmware', firmware, '--kernel', 'sid-cloud', '--initrd', initrd, '--vcpus', '2',
        '--append', append, '--until', 'cofferdam: shell ready', '--stats', stats,
      ])
      expect(code, err).toBe(0)
      expect(out).toMatch(/smp: Brought up 1 node, 2 CPUs/)
      measured.push(readSnpStats(stats).measurement)
    }
    expect(measured[1]).toBe(measured[0])
  })

  it('leaves memory above 4 GiB to a kernel that accepts it when it needs it', { timeout: 600_000 }, async () => {
    const { total, unaccepted, backed } = await boot('sid-cloud', '64G', 4)
    expect(total).toBeGreaterThan(61 * GiB)
    expect(unaccepted).toBeGreaterThan(55 * GiB)
    expect(backed).toBeLessThan(68 * GiB - (unaccepted ?? 0))
  })

  it('accepts all memory for a kernel that does not know how: Linux 6.1 has it all', { timeout: 600_000 }, async () => {
    const { total, unaccepted, backed } = await boot('bookworm-cloud', '6G', 2)
    expect(unaccepted).toBeUndefined()
    expect(total).toBeGreaterThan(5.25 * GiB)
    expect(backed).toBeGreaterThan(5.9 * GiB)
  })

  it('starts a kernel whose hash is the measured one, and no other', { timeout: 600_000 }, async () => {
    const images = await fetchImages(
      ['ovmf-amdsev', 'trixie-cloud'], { store: openStore(), refresh: false, onProgress: () => undefined })
    const [firmware, kernel] = images.map(({ path }) => new Uint8Array(readFileSync(path)))
    const budget = 5e9
    const run = (hashed: Uint8Array) => {
      let out = ''
      const machine = createMachine({
        cc: 'snp', cpu: 'amd', engine: 'auto', seed: 1, memory: 2 * GiB, vcpus: 1, append: 'console=ttyS0 panic=-1',
        firmware: { name: 'firmware', bytes: firmware }, kernel: { name: 'kernel', bytes: kernel },
        hashed: { kernel: hashed, append: 'console=ttyS0 panic=-1' },
        onSerial: (bytes) => { out += String.fromCharCode(...bytes) },
      })
      let left = budget
      while (left > 0 && !out.includes('Linux version')) {
        if (machine.run({ instructions: 50e6 }).reason !== 'budget') break
        left -= 50e6
      }
      const { snp } = machine.stats()
      return { out, used: budget - left, measurement: snp?.measurement ?? '' }
    }
    const honest = run(kernel)
    expect(honest.out).toContain('Linux version 6.12')
    expect(honest.used).toBeLessThan(budget / 2)
    const other = kernel.slice()
    other[other.length - 1] ^= 1
    const lying = run(other)
    expect(lying.out).not.toContain('Linux')
    expect(lying.used).toBe(budget)
    expect(lying.measurement).not.toBe(honest.measurement)
  })
})
