/** Linux's drivers in an SNP guest: what they give to devices goes through memory that the guest shares. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { sha256 } from '../src/images/store.ts'
import { debianMissing, runReal } from './real.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-snp-devices-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const noise = Uint8Array.from({ length: 2 ** 21 }, (_, i) => Math.imul(i, 0x9e37_79b1) >>> 13)

describeUnless(debianMissing, 'an SNP guest', () => {
  it('uses disk, folder, network, entropy and console by its bounce buffers', { timeout: 300_000 }, async () => {
    const [disk, share, text] = [join(folder, 'disk'), join(folder, 'share'), join(folder, 'console')]
    writeFileSync(disk, noise)
    mkdirSync(share)
    writeFileSync(join(share, 'file'), noise.subarray(0, 100_001))
    const command = [
      'dmesg | grep -c "software bounce buffering"', 'sha256sum /dev/vda',
      'dd if=/dev/vda of=/dev/vda bs=64k skip=4 seek=20 count=8 conv=fsync,notrunc 2>/dev/null',
      'mkdir /s; mount -t 9p -o trans=virtio,version=9p2000.L share /s; sha256sum /s/file; cp /s/file /s/copy',
      'head -c 64 /dev/hwrng | wc -c', 'echo from hvc0 >/dev/hvc0',
      'ifconfig eth0 up; udhcpc -i eth0 -n -q >/dev/null 2>&1; ping -c 1 10.0.2.2 | grep received',
      'dmesg | grep -cE "BUG|WARNING|Call Trace" || true',
    ].join('\n')
    const { code, out, err } = await runReal([
      '--cc', 'snp', '--kernel', 'sid-generic', '--vcpus', '2', '--disk', `${disk},rw`, '--share', `${share},rw`,
      '--net', 'user', '--device', 'virtio-rng', '--device', `virtio-console,file=${text}`,
      '--append', 'quiet cryptomgr.notests=1', '--run', command, '--timeout', '250',
    ])
    expect(code, out + err).toBe(0)
    expect(out.replaceAll('\r', '')).toContain([
      '1', `${sha256(noise)}  /dev/vda`, `${sha256(noise.subarray(0, 100_001))}  /s/file`, '64',
      '1 packets transmitted, 1 packets received, 0% packet loss', '0',
    ].join('\n'))
    const written = noise.slice()
    written.set(noise.subarray(4 * 65_536, 12 * 65_536), 20 * 65_536)
    expect(sha256(readFileSync(disk))).toBe(sha256(written))
    expect(sha256(readFileSync(join(share, 'copy')))).toBe(sha256(noise.subarray(0, 100_001)))
    expect(readFileSync(text, 'latin1')).toContain('from hvc0')
  })
})
