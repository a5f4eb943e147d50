import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { fetchImages } from '../src/images/fetch.ts'
import { openStore } from '../src/images/store.ts'
import { ovmfAsIgvm } from './ovmf-igvm.ts'
import { debianMissing, runMeasure, runReal } from './real.ts'
import { ownInitramfs, readSnpStats } from './snp-stats.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-snp-ovmf-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describeUnless(debianMissing, 'OVMF in an SNP guest', () => {
  it('boots a kernel that it has verified, and was launched as `measure` says', { timeout: 300_000 }, async () => {
    const stats = join(folder, 'stats.json')
    const initrd = join(folder, 'initrd.cpio')
    writeFileSync(initrd, await ownInitramfs())
    const append = 'cryptomgr.notests=1'
    const { code, out, err } = await runReal([
      '--cc', 'snp', '--firmware', 'ovmf-amdsev', '--kernel', 'sid-cloud', '--initrd', initrd, '--vcpus', '2',
      '--append', append, '--until', 'cofferdam: shell ready', '--stats', stats,
    ])
    expect(code, err).toBe(0)
    expect(out).toMatch(/efi: EFI v2\.\d+ by .*EDK II/)
    expect(out).toContain('Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP')
    expect(out).toMatch(/smp: Brought up 1 node, 2 CPUs/)
    expect(out).not.toMatch(/BUG:|WARNING:|Call Trace|unchecked MSR/)
    const { malformed, measurement } = readSnpStats(stats)
    expect(malformed).toEqual({})
    const measured = await runMeasure([
      '--firmware', 'ovmf-amdsev', '--kernel', 'sid-cloud', '--initrd', initrd, '--vcpus', '2', '--cpu-sig', '0xa10f11',
      '--append', `console=ttyS0,115200 panic=-1 ${append}`,
    ])
    expect(measured).toEqual({ code: 0, out: `${measurement}\n`, err: '' })
  })

  it('has the same measurement when it is packed as an IGVM file', { timeout: 60_000 }, async () => {
    const options = { store: openStore(), refresh: false, onProgress: () => undefined }
    const [image] = await fetchImages(['ovmf-amdsev'], options)
    const packed = join(folder, 'ovmf.igvm')
    writeFileSync(packed, ovmfAsIgvm(new Uint8Array(readFileSync(image?.path ?? '')), 2))
    const direct = await runMeasure(['--firmware', 'ovmf-amdsev', '--vcpus', '2', '--cpu-sig', '0xa10f11'])
    expect(direct.out).toMatch(/^[0-9a-f]{96}\n$/)
    expect(await runMeasure(['--firmware', packed])).toEqual(direct)
  })

  it('decides itself what it accepts', async () => {
    const { code, err } = await runReal(['--cc', 'snp', '--firmware', 'ovmf-amdsev', '--accept', 'eager'])
    expect([code, err]).toEqual([2, expect.stringContaining('--accept eager: --firmware decides itself')])
  })

  it('has no variables that could be given or kept', async () => {
    for (const option of ['--vars', '--save-vars']) {
      const { code, err } = await runReal(['--cc', 'snp', '--firmware', 'ovmf-amdsev', option, join(folder, 'vars.fd')])
      expect(code).toBe(2)
      expect(err).toMatch(new RegExp(`${option}: firmware of an SNP guest has no variable store`))
    }
  })
})
