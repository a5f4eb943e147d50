import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AttestationReport } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { findSwtpm } from '../src/tpm/swtpm.ts'
import { cocoKernel, debianMissing, runReal } from './real.ts'
import { describeUnless } from './unless.ts'

/** What a kernel says when it is not well. */
const complaints = /BUG:|WARNING:|Oops|Call Trace|Kernel panic|unchecked MSR|soft lockup|\bstall/

/** Boots under an SVSM; what the guest says, and what the SVSM was asked for. */
async function boot(run: string, ...how: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'cofferdam-svsm-'))
  const stats = join(folder, 'stats.json')
  const { code, out, err } = await runReal([
    '--cc', 'snp', '--svsm', '--append', 'cryptomgr.notests=1', '--stats', stats, ...how, '--run', run,
  ])
  expect(code, err).toBe(0)
  expect(out).not.toMatch(complaints)
  const { machine } = JSON.parse(readFileSync(stats, 'utf8')) as {
    machine: { svsm: { requests: Record<string, number>, refused: Record<string, number> } }
  }
  rmSync(folder, { recursive: true })
  return { out, svsm: machine.svsm }
}

describeUnless(debianMissing, 'SNP guests under an SVSM', () => {
  it.each([
    [1, '256M'], [2, '4095M'], [4, '4097M'], [4, '2G'], [2, '3147780K'], [2, '64G'],
  ])('with %i vCPUs and %s have it validate and create processors', { timeout: 600_000 }, async (vcpus, memory) => {
    const { out, svsm } =
      await boot('dmesg | grep SEV; echo "processors: $(nproc)"', '--vcpus', `${vcpus}`, '--memory', memory)
    expect(out).toMatch(/Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP/)
    expect(out).toContain('SEV: SNP running at VMPL2.')
    expect(out).toContain(`processors: ${vcpus}`)
    expect(svsm.requests['core.remap-ca']).toBe(1)
    expect(svsm.requests['core.pvalidate']).toBeGreaterThan(100)
    expect(svsm.requests['core.create-vcpu'] ?? 0).toBe(vcpus - 1)
    // Long lists are done in parts, and the ends of what was accepted in 2 MiB and is shared in 4 KiB pages page by
    // page; the vTPM is asked for and not there.
    const refused = Object.keys(svsm.refused)
      .filter((result) => !['core.pvalidate INCOMPLETE', 'core.pvalidate FAIL_SIZEMISMATCH'].includes(result))
    expect(refused).toEqual(['vtpm UNSUPPORTED_PROTOCOL'])
  })

  it.each([1, 3])('run at VMPL%i', { timeout: 600_000 }, async (level) => {
    const { out } = await boot('dmesg | grep VMPL', '--svsm', `${level}`)
    expect(out).toContain(`SEV: SNP running at VMPL${level}.`)
  })

  const kernels = ['sid-cloud', 'trixie-cloud']
  it.each(kernels)('of %s get reports for their own level, by their own key', { timeout: 600_000 }, async (kernel) => {
    const { out } = await boot('dmesg | grep VMPCK; sev-report nonce', '--kernel', kernel)
    expect(out).toContain('using VMPCK2 communication key')
    const [, text = ''] = /-----BEGIN SEV-SNP REPORT-----([^-]*)-----END/.exec(out) ?? []
    const report = new Uint8Array(Buffer.from(text, 'base64'))
    expect(report).toHaveLength(AttestationReport.size)
    expect(AttestationReport.get(new DataView(report.buffer), 'vmpl')).toBe(2)
  })

  it('have a TSC that the host cannot change, on all processors', { timeout: 600_000 }, async () => {
    const { out, svsm } = await boot(
      'dmesg | grep -iE "SEV|tsc"; echo "processors: $(nproc)"', '--vcpus', '4', '--sev-features', 'secure-tsc',
    )
    expect(out).toMatch(/SEV: Status:.* SecureTSC/)
    expect(out).toContain('SEV: SNP running at VMPL2.')
    expect(out).toContain('tsc: Detected 1000.000 MHz processor')
    expect(out).toContain('processors: 4')
    expect(out).not.toMatch(/Marking TSC unstable/)
    expect(svsm.requests['core.create-vcpu']).toBe(3)
  })

  it('end with the reason where the kernel knows no SVSM', { timeout: 600_000 }, async () => {
    const { code, err } = await runReal(['--cc', 'snp', '--svsm', '--kernel', 'bookworm-cloud'])
    expect(code).toBe(3)
    expect(err).toContain('the guest does not run at VMPL0')
  })
})

describe.skipIf(debianMissing !== undefined || cocoKernel === undefined || findSwtpm() === undefined)(
  'the services of an SVSM', () => {
    it('are a TPM, and reports that vouch for it', { timeout: 600_000 }, async () => {
      const report = '/sys/kernel/config/tsm/report/r'
      const { out, svsm } = await boot([
        'cat /sys/class/tpm/tpm0/tpm_version_major', 'mount -t configfs none /sys/kernel/config', `mkdir ${report}`,
        `cd ${report}`, 'echo svsm > service_provider', 'dd if=/dev/zero of=inblob bs=64 count=1',
        'echo "report: $(wc -c < outblob)"', 'echo "manifest: $(wc -c < manifestblob)"',
        'echo c476f1eb-0123-45a5-9641-b4e7dde5bfe3 > service_guid', 'echo "key: $(wc -c < manifestblob)"',
      ].join('; '), '--kernel', cocoKernel ?? '', '--svsm-vtpm')
      expect(out).toContain('tpm-svsm tpm-svsm: SNP SVSM vTPM 2.0 device')
      expect(out).toMatch(/report: 1184\r?\nmanifest: 362\r?\nkey: 314/)
      expect(svsm.requests).toMatchObject({ 'attestation.services': 1, 'attestation.single-service': 1 })
    })
  },
)
