import { describe, expect, it } from 'vitest'
import { debianMissing, runReal } from './real.ts'

const complaints = /BUG:|WARNING:|Oops|Call Trace|Kernel panic|unchecked MSR|Firmware Bug/

describe.skipIf(debianMissing !== undefined)(`OVMF${debianMissing === undefined ? '' : ` (${debianMissing})`}`, () => {
  it.each([
    ['sid-cloud', '2G', 1, 'intel'], ['bookworm-cloud', '512M', 1, 'intel'], ['sid-generic', '2G', 1, 'intel'],
    ['trixie-cloud', '2G', 2, 'intel'], ['trixie-cloud', '4095M', 4, 'intel'], ['trixie-cloud', '8G', 2, 'amd'],
    ['sid-cloud', '256G', 4, 'amd'],
  ] as const)('boots %s with %s and %i vCPUs (%s)', { timeout: 300_000 }, async (kernel, memory, vcpus, cpu) => {
    const { code, out, err } = await runReal([
      '--firmware', 'ovmf', '--kernel', kernel, '--memory', memory, '--vcpus', String(vcpus), '--cpu', cpu,
      '--run', 'echo "processors: $(nproc)"',
    ])
    expect(code, err).toBe(0)
    expect(out).toContain(`processors: ${vcpus}`)
    expect(out).toMatch(/efi: EFI v2/)
    expect(out).not.toMatch(complaints)
  })

  it('starts the kernel again after a reboot, with what the guest wrote to its flash', { timeout: 300_000 }, async () => {
    const { code, out, err } = await runReal(
      ['--firmware', 'ovmf', '--kernel', 'trixie-cloud', '--append', 'cryptomgr.notests=1'], 'reboot\n')
    expect(code, err).toBe(0)
    expect(out.split('EFI stub: Loaded initrd').length).toBe(3)
    expect(out).toContain('reboot: Power down')
  })
})
