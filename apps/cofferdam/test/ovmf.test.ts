import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { debianMissing, runReal } from './real.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-ovmf-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describeUnless(debianMissing, 'OVMF', () => {
  it('boots a kernel by its EFI stub, types at its shell, and keeps its variables', { timeout: 300_000 }, async () => {
    const vars = join(folder, 'vars.fd')
    const { code, out, err } = await runReal(
      ['--firmware', 'ovmf', '--kernel', 'trixie-cloud', '--append', 'cryptomgr.notests=1', '--save-vars', vars],
      'ls /sys/firmware/efi/runtime; dmesg | grep -c "Remove mem.*MMIO range"\n',
    )
    expect(code, err).toBe(0)
    expect(out).toContain('EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path')
    expect(out).toMatch(/efi: EFI v2\.\d+ by .*EDK II/)
    expect(out).toMatch(/ACPI: MCFG 0x\w+ 00003C .*COFFER/)
    expect(out).toContain('DMI: Cofferdam Q35')
    expect(out).toMatch(/\r\n1\r\n/)
    expect(out).toContain('reboot: Power down')
    expect(out).not.toMatch(/BUG:|WARNING:|Oops|Call Trace|Kernel panic|unchecked MSR|Firmware Bug/)
    expect(readFileSync(vars).subarray(40, 44).toString()).toBe('_FVH')
  })
})
