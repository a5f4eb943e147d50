import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { cocoKernel, debianMissing, runReal } from './real.ts'
import { ownInitramfs } from './snp-stats.ts'
import { describeUnless } from './unless.ts'

/** What a kernel says when it is not well. */
const complaints = /BUG:|WARNING:|Oops|Call Trace|Kernel panic|unchecked MSR|soft lockup|\bstall/

/** Boots as an SNP guest and tells what the guest says of itself. */
async function facts(kernel: string, vcpus: number, memory: string, ...more: readonly string[]) {
  const { code, out, err } = await runReal([
    '--cc', 'snp', '--kernel', kernel, '--vcpus', String(vcpus), '--memory', memory,
    '--append', 'cryptomgr.notests=1', ...more,
    '--run', 'dmesg | grep -E "SEV|Memory:"; echo "processors: $(nproc)"; grep -E "MemTotal|Unaccepted" /proc/meminfo',
  ])
  expect(code, err).toBe(0)
  expect(out).not.toMatch(complaints)
  expect(out).toMatch(/Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP/)
  const kib = (name: string): number | undefined => {
    const found = new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(out)
    return found === null ? undefined : Number(found[1])
  }
  const memoryLine = /Memory: (\d+)K\/(\d+)K available/.exec(out)
  return {
    /** What the kernel was given. */
    present: Number(memoryLine?.[2]),
    processors: Number(/processors: (\d+)/.exec(out)?.[1]), total: kib('MemTotal') ?? NaN, unaccepted: kib('Unaccepted'), out,
  }
}

/**
 * Nothing of so many KiB is lost. The kernel is given all but the first megabyte's hole, and keeps what is not in
 * MemTotal: 64 bytes for each page, bounce buffers (6 %, a power of two of 64 MiB to 1 GiB), hash tables, its code.
 */
function expectAll({ present, total }: { readonly present: number, readonly total: number }, given: number): void {
  expect(present).toBeGreaterThan(given - 1024)
  expect(present).toBeLessThan(given)
  const bounce = 2 ** Math.min(20, Math.max(16, Math.ceil(Math.log2(given * 0.06))))
  expect(total).toBeGreaterThan(given * (1 - 1 / 64 - 1 / 256) - bounce - 80 * 1024)
  expect(total).toBeLessThan(present)
}

const kernels = [
  'sid-cloud', 'trixie-cloud', 'bookworm-cloud', 'sid-generic', ...(cocoKernel === undefined ? [] : [cocoKernel]),
]
const cases = kernels.flatMap((kernel) => [1, 2, 4].map((vcpus) => [kernel.replace(/.*\/(.*)\/.*/, '$1'), vcpus, kernel] as const))

describeUnless(debianMissing, 'SNP guests', () => {
  it.each(cases)('boots %s with %i vCPUs', { timeout: 600_000 }, async (_, vcpus, kernel) => {
    const guest = await facts(kernel, vcpus, '2G')
    expect(guest.processors).toBe(vcpus)
    expectAll(guest, 2 ** 21)
    // Linux 6.1 knows nothing of unaccepted memory: it gets all of it accepted. Others accept 4 MiB with each
    // allocation until they know their watermarks (cond_accept_memory in mm/page_alloc.c), so how much is left depends
    // on the kernel.
    if (kernel === 'bookworm-cloud') expect(guest.unaccepted).toBeUndefined()
    else expect(guest.unaccepted).toBeGreaterThan(2 ** 18)
  })

  it('runs with a TSC of its own, and debug registers of its own', { timeout: 600_000 }, async () => {
    const { code, out, err } = await runReal([
      '--cc', 'snp', '--vcpus', '2', '--sev-features', 'secure-tsc,debug-swap', '--append', 'cryptomgr.notests=1',
      '--run',
      'dmesg | grep -E "SEV: Status|tsc"; cat /sys/devices/system/clocksource/clocksource0/current_clocksource',
    ])
    expect(code, err).toBe(0)
    expect(out).toMatch(/SEV: Status:.* DebugSwap .*SecureTSC/)
    expect(out).toMatch(/^tsc\r?$/m)
    // It asks the firmware, not the PIT, how fast its TSC is.
    expect(out).not.toContain('PIT calibration')
    expect(out).not.toMatch(complaints)
  })

  // The host's README tells why. When this fails the kernel was mended: stress.slow.test.ts can cycle in each round.
  it('panics when a processor goes away for the second time, by a bug of Linux', { timeout: 600_000 }, async () => {
    const { code, out } = await runReal([
      '--cc', 'snp', '--vcpus', '2', '--append', 'quiet cryptomgr.notests=1', '--run',
      'cd /sys/devices/system/cpu/cpu1; for n in 1 2; do echo "time $n"; echo 0 >online; echo 1 >online; done',
    ])
    expect(code).toBe(3)
    expect(out).toMatch(/time 1[^]*time 2[^]*Kernel panic[^]*GHCB and Backup GHCB are already in use/)
  })

  it('says which feature a kernel does not know', { timeout: 600_000 }, async () => {
    const { code, err } = await runReal(['--cc', 'snp', '--sev-features', 'vmsa-reg-prot'])
    expect(code).toBe(3)
    expect(err)
      .toContain('lacks SEV-SNP features that the guest needs (general reason 0x2); further information 0x10000')
  })

  it.each([
    ['256M', 256], ['4095M', 4095], ['4097M', 4097], ['3147780K', 3 * 1024 + 2 + 4 / 1024], ['64G', 64 * 1024],
  ] as const)('loses nothing of %s', { timeout: 600_000 }, async (memory, mebibytes) => {
    expectAll(await facts('sid-cloud', 2, memory), mebibytes * 1024)
  })

  it('takes no more than 5 % longer than without SNP, but for acceptance and exits', { timeout: 600_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cofferdam-snp-time-'))
    // An SNP guest has more drivers to load, which is user space's work: here both have none.
    const initrd = join(folder, 'initrd.cpio')
    writeFileSync(initrd, await ownInitramfs())
    const boot = async (name: string, ...how: readonly string[]) => {
      const stats = join(folder, name)
      const { code, err } = await runReal([
        '--kernel', 'sid-cloud', '--initrd', initrd, '--append', 'cryptomgr.notests=1', '--until', 'shell ready',
        '--stats', stats, ...how,
      ])
      expect(code, err).toBe(0)
      return JSON.parse(readFileSync(stats, 'utf8')) as {
        instructions: number, virtualSeconds: number
        machine: {
          snp?: { time: Record<'acceptance' | 'exits' | 'rest', { instructions: number, virtualSeconds: number }> }
        }
      }
    }
    const plain = await boot('plain.json', '--cpu', 'amd')
    const snp = await boot('snp.json', '--cc', 'snp')
    rmSync(folder, { recursive: true })
    const { acceptance, exits, rest } = snp.machine.snp?.time ?? {}
    expect(rest!.instructions / plain.instructions).toBeLessThan(1.05)
    expect(rest!.virtualSeconds / plain.virtualSeconds).toBeLessThan(1.05)
    expect(acceptance!.instructions + exits!.instructions + rest!.instructions).toBeCloseTo(snp.instructions, -1)
    // The kernel and what it uses is accepted; the console is written byte by byte.
    expect(acceptance!.virtualSeconds).toBeGreaterThan(0.01)
    expect(exits!.virtualSeconds).toBeGreaterThan(0.1)
  })

  it('has nothing left to accept when all was accepted before', { timeout: 600_000 }, async () => {
    expect((await facts('sid-cloud', 2, '4G', '--accept', 'eager')).unaccepted).toBe(0)
  })

  it.each(['lazy', 'background'])('keeps what a program writes everywhere (%s)', {
    timeout: 600_000,
  }, async (accept) => {
    const { code, out, err } = await runReal([
      '--cc', 'snp', '--memory', '768M', '--vcpus', '2', '--accept', accept,
      '--append', 'cryptomgr.notests=1', '--run', `
        mkdir /all; mount -t tmpfs -o size=100% all /all
        left() { sed -n 's/^Unaccepted: *\\([0-9]*\\).*/\\1/p' /proc/meminfo; }
        echo "before: $(left)"
        cat /bin/busybox /bin/busybox /bin/busybox /bin/busybox | head -c 8388608 >/base
        n=0; while [ $(left) -gt 0 ] && [ $n -lt 90 ]; do (echo $n; cat /base) >/all/$n || break; n=$((n + 1)); done
        echo "after: $(left)"
        i=0; while [ $i -lt $n ]; do
          [ "$(md5sum </all/$i)" = "$( (echo $i; cat /base) | md5sum)" ] || echo "lost: $i"
          i=$((i + 1))
        done
        echo "blocks: $n"`,
    ])
    expect(code, err).toBe(0)
    expect(out).not.toMatch(complaints)
    expect(out).not.toContain('lost:')
    expect(out).toMatch(/^after: 0\r?$/m)
    expect(Number(/blocks: (\d+)/.exec(out)?.[1])).toBeGreaterThan(accept === 'lazy' ? 40 : 0)
  })
})
