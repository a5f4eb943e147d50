/** Linux's own drivers on the PSP: `ccp` finds its mailbox, `/dev/sev` gives commands, `kvm_amd` initialises SEV. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSevIdentity, DEFAULT_FACTS, encodeTcb } from '@cofferdam/sev'
import { PspStatus, SevPlatformState, SevPlatformStatus, SnpPlatformState, SnpPlatformStatus } from '@cofferdam/spec'
import { afterAll, expect, it } from 'vitest'
import { sevAnswers, sevProgram, type SevIoctlName } from './ioctl-program.ts'
import { debianMissing, runReal } from './real.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-psp-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const commands = [
  'PLATFORM_STATUS', 'SNP_PLATFORM_STATUS', 'PEK_GEN', 'GET_ID2', 'FACTORY_RESET', 'PLATFORM_STATUS', 'SNP_COMMIT',
] as const satisfies readonly SevIoctlName[]
const EIO = -5

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

describeUnless(debianMissing, 'Linux on a machine with a PSP', () => {
  it('finds it, commands it by /dev/sev, and kvm_amd starts SEV, by interrupts', { timeout: 300_000 }, async () => {
    const program = join(folder, 'sev')
    writeFileSync(program, sevProgram(commands), { mode: 0o755 })
    const { code, out, err } = await runReal([
      '--kernel', 'sid-generic', '--cpu', 'amd', '--device', 'psp', '--memory', '512M', '--vcpus', '2', '--seed', '1',
      '--append', 'quiet cryptomgr.notests=1', '--add', `${program}:/bin/sev`,
      '--run', `dmesg | grep -E 'ccp|SEV-SNP'; echo "answers $(sev | od -An -v -tx1 | tr -d ' \\n')"
        dmesg -c >/dev/null; modprobe kvm_amd; dmesg -c | grep -E 'ccp|kvm_amd'; grep psp /proc/interrupts
        rmmod kvm_amd; echo "after $(sev | od -An -v -tx1 | tr -d ' \\n')"`,
    ])
    expect(code, `${err}\n${out}`).toBe(0)
    const text = out.replaceAll('\r', '')
    const answers = (name: string) =>
      sevAnswers(
        Uint8Array.from(Buffer.from(new RegExp(`^${name} ([0-9a-f]+)$`, 'm').exec(text)?.[1] ?? '', 'hex')), commands,
      )

    // The BIOS has kept memory for a reverse map of 512 MiB, up to the end of RAM.
    expect(text).toContain('SEV-SNP: RMP table physical range [0x000000001fc00000 - 0x000000001fffffff]')
    expect(text).toMatch(/ccp \S+: sev enabled\n.*ccp \S+: psp enabled/)

    const [status, snp, pek, id, reset, again, commit] = answers('answers')
    expect([status, snp, id, reset, again, commit].map(({ name, result, error }) => [name, result, error])).toEqual([
      ['PLATFORM_STATUS', 0, 0], ['SNP_PLATFORM_STATUS', 0, 0], ['GET_ID2', 0, 0], ['FACTORY_RESET', 0, 0],
      ['PLATFORM_STATUS', 0, 0], ['SNP_COMMIT', 0, 0],
    ])
    const { major, minor, build, tcb } = DEFAULT_FACTS
    for (const { data } of [status, again]) {
      expect(SevPlatformStatus.read(viewOf(data))).toMatchObject({
        apiMajor: major, apiMinor: minor, build, state: SevPlatformState.UNINIT, guestCount: 0,
      })
    }
    const currentTcb = encodeTcb('Genoa', tcb)
    expect(SnpPlatformStatus.read(viewOf(snp.data))).toMatchObject({
      apiMajor: major, apiMinor: minor, buildId: build, state: SnpPlatformState.UNINIT, rmp: 0, currentTcb,
      reportedTcb: currentTcb,
    })
    const chip = createSevIdentity(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), 'Genoa')
    expect(Buffer.from(id.data.subarray(0x10, 0x50)).toString('hex')).toBe(Buffer.from(chip.chipId).toString('hex'))
    // The driver has initialised SEV for it, and shut it down; the command itself is none that this firmware has.
    expect([pek.result, pek.error]).toEqual([EIO, PspStatus.UNSUPPORTED])

    expect(text).toMatch(/ccp \S+: SEV API:1\.55 build:39\n/)
    expect(text).toContain('kvm_amd: SEV enabled (ASIDs 512 - 1006)')
    expect(text).toContain('kvm_amd: SEV-ES enabled (ASIDs 1 - 511)')
    // There is no IOMMU, without which Linux is no host of SNP guests.
    expect(text).toContain('kvm_amd: SEV-SNP disabled')
    // An interrupt for each command: the driver waits for nothing else.
    expect(
      Number(/^ *\d+: +(\d+) +(\d+) +PCI-MSIX\S+ +0-edge +psp-1$/m.exec(text)?.slice(1).reduce((a, b) => `${+a + +b}`))
    )
      .toBeGreaterThan(10)
    expect(answers('after').map(({ result }) => result)).toEqual(answers('answers').map(({ result }) => result))
  })
})
