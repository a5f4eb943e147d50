import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { aptMissing, machineMirror } from '../src/images/apt.ts'
import { fetchImages } from '../src/images/fetch.ts'
import { openStore, sha256 } from '../src/images/store.ts'
import { appletNames, buildInitramfs } from '../src/initramfs/build.ts'
import { createMachine } from '../src/machine.ts'
import { runCli } from '../src/program.ts'
import { collectOutput, pipeInput } from './streams.ts'
import { describeUnless } from './unless.ts'

/** Tests with the real packages: they use the user's cache, and skip where no Debian mirror is known. */
const noDebian = await aptMissing() ?? await machineMirror().then(() => undefined, (error: unknown) => String(error))
const hasQemu = (): boolean => {
  try {
    execFileSync('qemu-system-x86_64', ['--version'])
    return true
  } catch {
    return false
  }
}

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-debian-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const quiet = { refresh: false, onProgress: () => undefined }

describeUnless(noDebian, "Debian's packages", () => {
  it('are fetched, verified and unpacked: BusyBox is a static program with an ash', { timeout: 120_000 }, async () => {
    const [busybox] = await fetchImages(['busybox-static'], { ...quiet, store: openStore(join(folder, 'images')) })
    const bytes = readFileSync(busybox?.path ?? '')
    expect(busybox?.files).toMatchObject([{ name: 'busybox', size: bytes.length, sha256: sha256(bytes) }])
    expect(appletNames(bytes)).toEqual(expect.arrayContaining(['ash', 'init', 'mount', 'setsid', 'base64']))
  })

  it('boot: commands of a pipe are typed at the prompt, and the guest powers off', { timeout: 300_000 }, async () => {
    const [out, err] = [collectOutput(), collectOutput()]
    const append = 'cryptomgr.notests=1 quiet'
    const stats = join(folder, 'stats.json')
    const code = await runCli(['boot', '--kernel', 'trixie-cloud', '--append', append, '--stats', stats], {
      stdin: pipeInput("uname -m; awk '/MemTotal/ { print $1, ($2 > 1900000) }' /proc/meminfo\n"),
      stdout: out.stream,
      stderr: err.stream,
      store: openStore(),
      createMachine,
      now: () => performance.now(),
    })
    expect(code, err.text()).toBe(0)
    expect(out.text()).toContain('\r\nx86_64\r\nMemTotal: 1\r\n')
    expect(out.text()).toContain('reboot: Power down')
    expect(JSON.parse(readFileSync(stats, 'utf8'))).toMatchObject({ outcome: 'poweroff', exitCode: 0, vcpus: 1 })
  })

  it.skipIf(!hasQemu())('make an initramfs that another machine boots', { timeout: 180_000 }, async () => {
    const [kernel, busybox] = await fetchImages(['bookworm-cloud', 'busybox-static'], { ...quiet, store: openStore() })
    const initramfs = join(folder, 'initramfs.cpio')
    writeFileSync(initramfs, buildInitramfs({ busybox: readFileSync(busybox?.path ?? '') }))
    const child = spawn('qemu-system-x86_64', [
      '-accel', 'tcg', '-M', 'q35', '-cpu', 'max', '-m', '512M', '-nodefaults', '-display', 'none', '-serial', 'stdio',
      '-no-reboot', '-kernel', kernel?.path ?? '', '-initrd', initramfs,
      '-append', 'console=ttyS0,115200 panic=-1 quiet cofferdam.run="tty; exit 7"',
    ], { stdio: ['ignore', 'pipe', 'inherit'] })
    let console = ''
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      console += text
    })
    const code = await new Promise((resolve) => child.on('close', resolve))
    expect(code).toBe(0)
    expect(console).toContain('/dev/ttyS0\r\ncofferdam: command left with status 7\r\n')
  })
})
