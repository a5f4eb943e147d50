import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { grubDisk } from './grub-disk.ts'
import { cocoKernel, complaints, debianMissing, runReal } from './real.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-ovmf-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A BIOS for a PC, where a package has put one. */
const seabios = '/usr/share/seabios/bios-256k.bin'

describeUnless(debianMissing, 'OVMF', () => {
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

  it('resets by its runtime services, and starts the kernel again', { timeout: 300_000 }, async () => {
    const { code, out, err } = await runReal(
      ['--firmware', 'ovmf', '--kernel', 'trixie-cloud', '--append', 'cryptomgr.notests=1 reboot=efi'], 'reboot\n')
    expect(code, err).toBe(0)
    expect(out.split('EFI stub: Loaded initrd').length).toBe(3)
    expect(out).toContain('reboot: Power down')
  })

  it('boots GRUB from the EFI system partition of a disk, and GRUB the kernel', { timeout: 300_000 }, async () => {
    const disk = join(folder, 'esp.img')
    writeFileSync(disk, await grubDisk('uname -r'))
    const empty = join(folder, 'empty.img')
    writeFileSync(empty, Buffer.alloc(2 ** 20))
    const { code, out, err } = await runReal([
      '--firmware', 'ovmf', '--kernel', 'none', '--disk', empty, '--disk', disk,
    ])
    expect(code, err).toBe(0)
    expect(out).toMatch(/starting Boot\w+ "UEFI Misc Device.*" from PciRoot\(0x0\)\/Pci\(0x2,0x0\)/)
    expect(out).toContain('BOOT_IMAGE=/VMLINUZ')
    expect(out).toContain('command left with status 0')
    expect(out).not.toMatch(complaints)
  })

  it.skipIf(cocoKernel === undefined)(
    `lets the kernel set variables, which last${cocoKernel === undefined ? ' (no kernel with efivarfs here)' : ''}`,
    { timeout: 300_000 }, async () => {
      const vars = join(folder, 'vars.fd')
      const file = '/sys/firmware/efi/efivars/Test-12345678-1234-1234-1234-123456789abc'
      const boot = (command: string, ...more: string[]): ReturnType<typeof runReal> => runReal([
        '--firmware', 'ovmf', '--kernel', cocoKernel ?? '', '--save-vars', vars, ...more, '--run',
        `mount -t efivarfs none /sys/firmware/efi/efivars && ${command}`,
      ])
      const set = await boot(`printf '\\007\\000\\000\\000first' > ${file}`)
      expect(set.code, set.err).toBe(0)
      const get = await boot(`tail -c +5 ${file}`, '--vars', vars)
      expect(get.code, get.err).toBe(0)
      expect(get.out).toContain('firstcofferdam: command left')
    },
  )
})

describe.skipIf(!existsSync(seabios))(`SeaBIOS${existsSync(seabios) ? '' : ` (no ${seabios})`}`, () => {
  it('shadows itself, finds a disk, and starts its boot sector in real mode', { timeout: 120_000 }, async () => {
    const code = [
      0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x1d, 0x7c, // xor ax, ax; mov ds, ax; mov si, 7C1Dh
      // next: lodsb; test; jz; mov dx, 3F8h; out; jmp next
      0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5,
      0xcd, 0x12, 0xb0, 0x00, 0xe7, 0xf4, 0xf4, 0xeb, 0xfd, // int 12h; mov al, 0; out F4h, ax; hlt
    ]
    const sector = Buffer.alloc(2 ** 20)
    sector.set(code)
    sector.write('boot sector\r\n\0', 0x1d)
    sector.writeUInt16LE(0xaa55, 510)
    const disk = join(folder, 'boot-sector.img')
    writeFileSync(disk, sector)
    const { out, err } = await runReal([
      '--firmware', seabios, '--kernel', 'none', '--disk', disk, '--debug-console', '--timeout', '60',
      '--device', 'isa-debug-exit,iobase=0xf4,iosize=2',
    ])
    expect(err).toContain('SeaBIOS (version')
    expect(out).toContain('boot sector\r\n')
  })
})
