import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { openStore } from '../src/images/store.ts'
import type { MachineOptions } from '../src/machine-port.ts'
import { runCli } from '../src/program.ts'
import { createFakeMachine, fakeShell, shellBoot, type FakeGuest } from './fake-machine.ts'
import { collectOutput, pipeInput, terminalInput } from './streams.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-boot-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const store = openStore(join(folder, 'images'))
const kernel = join(folder, 'bzImage')
writeFileSync(kernel, 'a kernel')

// the default initramfs needs a BusyBox; any bytes do, because no processor runs them
await store.put('busybox-static', (into) => {
  writeFileSync(join(into, 'busybox'), 'busybox')
  const name = 'busybox-static'
  const files = [{ name: 'busybox', size: 7, sha256: '' }] as const
  return Promise.resolve({ name, package: name, version: '1', suite: 'sid', files })
})

interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}

const run = async (args: readonly string[], guest: FakeGuest, stdin = pipeInput('')): Promise<Run> => {
  const out = collectOutput()
  const err = collectOutput()
  const code = await runCli(['boot', '--kernel', kernel, ...args], {
    stdin,
    stdout: out.stream,
    stderr: err.stream,
    store,
    createMachine: createFakeMachine(guest),
    now: () => performance.now(),
  })
  return { code, out: out.text(), err: err.text() }
}

const shell: FakeGuest = { boot: shellBoot }

describe('cofferdam boot --firmware', () => {
  const firmware = join(folder, 'fw.fd')
  writeFileSync(firmware, 'firmware')
  const vars = join(folder, 'vars.fd')
  writeFileSync(vars, 'variables')

  it('gives the machine the image and the variables, and saves those of the end', async () => {
    let given: MachineOptions | undefined
    const saved = join(folder, 'saved.fd')
    const guest: FakeGuest = { ...shell, variables: Uint8Array.of(1, 2, 3), onCreate: (options) => { given = options } }
    const { code } = await run(['--firmware', firmware, '--vars', vars, '--save-vars', saved], guest)
    expect(code).toBe(0)
    expect(given?.firmware).toMatchObject({ name: firmware, bytes: Buffer.from('firmware') })
    expect(given?.vars).toMatchObject({ name: vars, bytes: Buffer.from('variables') })
    expect([...readFileSync(saved)]).toEqual([1, 2, 3])
  })

  it('starts again with what the guest has left in its variables', async () => {
    const stores: (string | undefined)[] = []
    const guest: FakeGuest = {
      boot: [{ reason: 'reset' }], variables: Uint8Array.of(9),
      onCreate: ({ vars: store }) => stores.push(store?.bytes.join()),
    }
    await run(['--firmware', firmware], guest)
    expect(stores.slice(0, 2)).toEqual([undefined, '9'])
  })

  it('may boot without a kernel of ours', async () => {
    let given: MachineOptions | undefined
    const guest: FakeGuest = { boot: [{ reason: 'poweroff' }], onCreate: (options) => { given = options } }
    const { code } = await run(['--kernel', 'none', '--firmware', firmware], guest)
    expect({ code, kernel: given?.kernel, initrd: given?.initrd })
      .toEqual({ code: 0, kernel: undefined, initrd: undefined })
  })

  it.each([
    [['--vars', vars], '--vars: works with firmware only'],
    [['--save-vars', 'x'], '--save-vars: works with firmware only'],
    [['--kernel', 'none'], '--kernel none: works with firmware only'],
    [['--kernel', 'none', '--firmware', 'ovmf-amdsev'], '--kernel none: ovmf-amdsev starts a kernel of --kernel'],
    [['--firmware', 'sid-cloud'], 'firmware sid-cloud: it is a kernel'],
    [['--firmware', join(folder, 'nothing')], 'no such file'],
    [['--firmware', firmware, '--vars', join(folder, 'nothing')], 'no such file'],
    [['--firmware', firmware, '--save-vars', join(folder, 'x')], 'the firmware has no variable store'],
    [['--debug-console', join(folder, 'no', 'log')], 'debug-console'],
  ])('refuses %j', async (args, message) => {
    const { code, err } = await run(args, shell)
    expect(code).toBe(2)
    expect(err).toContain(message)
  })

  it('shows the debug console, in a file or among the messages', async () => {
    const log = join(folder, 'debug.log')
    const guest: FakeGuest = {
      ...shell,
      onCreate: ({ onDebugConsole }) => { for (const byte of Buffer.from('SecCoreStartup\n')) onDebugConsole?.(byte) },
    }
    await run(['--debug-console', log], guest)
    expect(readFileSync(log, 'utf8')).toBe('SecCoreStartup\n')
    expect((await run(['--debug-console'], guest)).err).toContain('SecCoreStartup\n')
  })
})

describe('cofferdam boot with a test kernel', () => {
  const flat = join(folder, 'flat')
  const header = Int32Array.of(0x1bad_b002, 0, -0x1bad_b002)
  writeFileSync(flat, new Uint8Array(header.buffer))

  it('gives a Multiboot kernel what the person wrote, and no initramfs', async () => {
    let given: MachineOptions | undefined
    const guest: FakeGuest = { boot: [{ reason: 'poweroff' }], onCreate: (options) => { given = options } }
    await run(['--kernel', flat, '--append', 'smap -v'], guest)
    expect({ append: given?.append, initrd: given?.initrd }).toEqual({ append: 'smap -v', initrd: undefined })
  })

  it.each([
    ['--run', 'ls'], ['--add', `${kernel}:/x`],
  ])('refuses %s, which needs the initramfs that it does not get', async (...args) => {
    const { code, err } = await run(['--kernel', flat, ...args], shell)
    expect(err).toContain(`${args[0]}: works with the default initramfs only`)
    expect(code).toBe(2)
  })

  it('leaves with its exit status when it has the debug exit, as QEMU does', async () => {
    const guest: FakeGuest = { boot: [{ reason: 'debug-exit', code: 3, status: 7 }] }
    expect((await run(['--kernel', flat, '--device', 'isa-debug-exit'], guest)).code).toBe(7)
    expect((await run(['--kernel', flat], guest)).code).toBe(3)
  })
})

describe('cofferdam boot --device', () => {
  it('gives the machine each device that is named, in order', async () => {
    let devices: MachineOptions['devices']
    const { code } = await run(['--device', 'virtio-rng', '--device', 'virtio-rng'], {
      ...shell,
      onCreate: (options) => {
        devices = options.devices
      },
    })
    expect({ code, devices }).toEqual({ code: 0, devices: [{ kind: 'virtio-rng' }, { kind: 'virtio-rng' }] })
  })

  it('writes what a virtio-console sends to its file, or to standard output', async () => {
    const file = join(folder, 'hvc0')
    const { code, out } = await run(['--device', `virtio-console,file=${file}`, '--device', 'virtio-console'], {
      ...shell,
      onCreate: ({ devices = [] }) => {
        devices.forEach((device, i) => {
          if (device.kind === 'virtio-console') device.onOutput(new TextEncoder().encode(`console ${i}`))
        })
      },
    })
    expect([code, readFileSync(file, 'utf8'), out.includes('console 1'), out.includes('console 0')])
      .toEqual([0, 'console 0', true, false])
  })

  it.each([
    ['virtio-console,file=/nowhere/x', /virtio-console \/nowhere\/x: no such file: expected a file/],
    ['virtio-console,x', /expected file=PATH/],
    ['virtio-balloon', /--device .*there is no balloon/],
    ['virtio-ring', /--device .*expected virtio-rng/],
  ])('refuses %s with 2 and says why', async (name, reason) => {
    const { code, err } = await run(['--device', name], shell)
    expect(code).toBe(2)
    expect(err).toMatch(reason)
  })
})

describe('cofferdam boot --disk', () => {
  it('gives the machine each disk, the same ones after a reset', async () => {
    const image = join(folder, 'disk.img')
    writeFileSync(image, new Uint8Array(1024))
    const disks: MachineOptions['disks'][] = []
    const { code } = await run(['--disk', `${image},ro,serial=a`, '--disk', image], {
      ...shell,
      onCreate: (options) => disks.push(options.disks),
    }, pipeInput('reboot\n'))
    expect([code, disks.length, disks[0] === disks[1]]).toEqual([0, 2, true])
    expect(disks[0]?.map(({ serial, backend }) => [serial, backend.readOnly]))
      .toEqual([['a', true], [undefined, false]])
  })

  it.each([
    [['--disk', '/nowhere.img'], /disk \/nowhere.img: no such file/],
    [['--disk', 'a,b'], /--disk .*'b' is not known/],
  ])('refuses %s with 2 and says why', async (args, reason) => {
    const { code, err } = await run(args, shell)
    expect(code).toBe(2)
    expect(err).toMatch(reason)
  })
})

describe.skipIf(process.platform !== 'linux')('cofferdam boot --share', () => {
  it('gives the machine each folder under its tag, and the folder anew when it starts again', async () => {
    let devices: MachineOptions['devices'] = []
    const here = dirname(fileURLToPath(import.meta.url))
    const { code } = await run(['--share', here, '--share', `${here},tag=w,rw`, '--share', `${here},ro`], {
      ...shell,
      onCreate: (options) => {
        devices = options.devices ?? []
      },
    })
    const shares = devices.flatMap((device) => (device.kind === 'virtio-9p' ? [device] : []))
    expect([code, shares.map(({ tag }) => tag)]).toEqual([0, ['share', 'w', 'share3']])
    expect(shares.map(({ files }) => files().writable)).toEqual([false, true, false])
    const [first, again] = [shares[0]?.files(), shares[0]?.files()]
    const root = expect.objectContaining({ qid: expect.anything() as unknown }) as unknown
    expect([first === again, again?.root()]).toEqual([false, root])
  })

  it.each([
    [['--share', '/nowhere/at/all'], /share \/nowhere\/at\/all: no such file: expected a folder/],
    [['--share', '/etc/passwd'], /share \/etc\/passwd: .*expected a folder/],
    [['--share', '/etc,tag='], /--share .*expected tag=/],
    [['--share', '/etc,tag=a', '--share', '/etc,tag=a'], /--share .*a tag of its own/],
    [['--share', ''], /--share .*expected DIR/],
  ])('refuses %j with 2 and says why', async (args, reason) => {
    const { code, err } = await run(args, shell)
    expect(code).toBe(2)
    expect(err).toMatch(reason)
  })
})

describe('cofferdam boot with a pipe', () => {
  it('boots to the shell, types poweroff, and leaves with 0', async () => {
    const { code, out, err } = await run([], shell)
    expect(code).toBe(0)
    expect(out).toContain('cofferdam: shell ready')
    expect(out.trimEnd().endsWith('cofferdam:~# poweroff')).toBe(true)
    expect(err).toBe('\n'.repeat(err.length))
  })

  it('types each line at the prompt, in order, before poweroff', async () => {
    const lines: string[] = []
    const onLine = (line: string): ReturnType<typeof fakeShell> => {
      lines.push(line)
      return fakeShell(line)
    }
    const { code } = await run([], { ...shell, onLine }, pipeInput('echo a line longer than a FIFO\necho two\nlast'))
    expect(code).toBe(0)
    // the last line had no newline, as `printf last | cofferdam boot` leaves it
    expect(lines).toEqual(['echo a line longer than a FIFO', 'echo two', 'last', 'poweroff'])
  })

  it('ends the input of a program that reads it without a prompt, again if that was lost', async () => {
    let ends = 0
    const cat = (line: string): ReturnType<typeof fakeShell> => line === 'cat' ? '' : fakeShell(line)
    const onByte = (byte: number): string | undefined => {
      if (byte === 4) ends++
      return byte === 4 && ends === 2 ? 'cofferdam:~# ' : undefined
    }
    const { code } = await run([], { ...shell, onLine: cat, onByte }, pipeInput('cat\n'))
    expect({ code, ends }).toEqual({ code: 0, ends: 2 })
  })

  it('starts the machine again after a reset from the shell', async () => {
    let made = 0
    const { code } = await run([], { ...shell, onCreate: () => made++ }, pipeInput('reboot\n'))
    expect({ code, made }).toEqual({ code: 0, made: 2 })
  })

  it('ends at a reset with --no-reboot', async () => {
    let made = 0
    const { code } = await run(['--no-reboot'], { ...shell, onCreate: () => made++ }, pipeInput('reboot\n'))
    expect({ code, made }).toEqual({ code: 0, made: 1 })
  })

  it('gives up a guest that resets again and again without a shell', async () => {
    const { code, err } = await run([], { boot: ['[    0.0] hello\n', { reason: 'reset' }] })
    expect(code).toBe(3)
    expect(err).toContain('without reaching a shell')
  })

  it('leaves with 0 at the --until text', async () => {
    const { code, out } = await run(['--until', 'Run /init'], shell)
    expect(code).toBe(0)
    expect(out).not.toContain('shell ready')
  })

  it('reports a panic with the last lines and where the processors are', async () => {
    const boot = ['[    1.0] before\n[    1.1] Kernel panic - not syncing: no init\n', { reason: 'reset' } as const]
    const { code, err } = await run([], { boot })
    expect(code).toBe(3)
    expect(err).toContain('the kernel panicked: no init\n')
    expect(err).toContain('  [    1.0] before')
    expect(err).toContain('cpu 0: RIP 0xffffffff81000000 start+0x0/0x9, 64-bit kernel\n         ? entry+0x1/0x2\n')
  })

  it('takes "end Kernel panic" for the end, without a timeout', async () => {
    const boot = ['Kernel panic - not syncing: x\n---[ end Kernel panic - not syncing: x ]---\n']
    const { code } = await run([], { boot })
    expect(code).toBe(3)
  })

  it('says why a processor shut down', async () => {
    const { code, err } = await run([], { boot: [{ reason: 'shutdown', message: 'triple fault at 0x10' }] })
    expect(code).toBe(3)
    expect(err).toContain('triple fault at 0x10')
    expect(err).toContain('the console stayed silent')
  })

  it('reports a machine that broke with what the guest said last, and no stack trace', async () => {
    const onLine = (): never => {
      throw new Error('no such form')
    }
    const { code, err } = await run([], { ...shell, onLine }, pipeInput('ls\n'))
    expect(code).toBe(3)
    expect(err).toContain('the machine broke: no such form')
    expect(err).toContain('  cofferdam:~# ls')
    expect(err).not.toMatch(/^\s+at /m)
  })

  it('gives up after --timeout seconds', async () => {
    const endless = { boot: Array.from({ length: 1e5 }, () => '.') }
    const { code, err } = await run(['--timeout', '0.05'], endless)
    expect(code).toBe(3)
    expect(err).toContain('no end after 0.05 s')
  })

  it('reports a guest that waits for an interrupt with no timer', async () => {
    const { code, err } = await run([], { boot: ['[    0.0] hello\n'], idle: () => ({ reason: 'idle' }) })
    expect(code).toBe(3)
    expect(err).toContain('no timer runs')
  })

  it('takes a halted system for the end', async () => {
    const onLine = (): string => '[    9.0] reboot: System halted\n'
    const { code } = await run([], { ...shell, onLine }, pipeInput('halt -f\n'))
    expect(code).toBe(0)
  })

  it('gives up a prompt of a foreign initrd that waits for ever', async () => {
    const { code, err } = await run(['--initrd', kernel], { boot: ['login: '] })
    expect(code).toBe(3)
    expect(err).toContain('waits for input and there is no more')
  })
})

describe('cofferdam boot --run', () => {
  const options = async (command: string): Promise<string> => {
    let append = ''
    const onCreate = (made: MachineOptions): void => {
      append = made.append
    }
    const boot = ['cofferdam: command left with status 0\r\n', { reason: 'poweroff' } as const]
    await run(['--run', command], { boot, onCreate })
    return append
  }

  it('hands the command to /init in quotes', async () => {
    expect(await options('ls -l /; uname')).toBe('console=ttyS0,115200 panic=-1 cofferdam.run="ls -l /; uname"')
  })

  it('hands a command with quotes over in base64', async () => {
    expect(await options('echo "ü"')).toBe('console=ttyS0,115200 panic=-1 cofferdam.run64=ZWNobyAiw7wi')
  })

  it('leaves with 3 when the command fails', async () => {
    const boot = ['cofferdam: command left with status 5\r\n', { reason: 'poweroff' } as const]
    const { code, err } = await run(['--run', 'exit 5'], { boot })
    expect(code).toBe(3)
    expect(err).toContain('the command left with status 5')
  })
})

describe('cofferdam boot at a terminal', () => {
  it('sends Ctrl-C to the guest and leaves at Ctrl-A X, with the terminal as it was', async () => {
    const keyboard = terminalInput()
    const lines: string[] = []
    const onLine = (line: string): string => {
      lines.push(line)
      setTimeout(() => keyboard.press('\x01x'), 5)
      return 'cofferdam:~# '
    }
    setTimeout(() => keyboard.press('sleep 9\x03\n'), 5)
    const { code } = await run([], { ...shell, onLine }, keyboard.stream)
    expect(code).toBe(0)
    expect(lines).toEqual(['sleep 9\x03'])
    expect(keyboard.raw()).toBe(false)
  })

  it('waits in wall time for the next timer, and not for ever', async () => {
    const keyboard = terminalInput()
    const started = performance.now()
    const idle = (time: number): { reason: 'idle'; idleUntil: number } => ({ reason: 'idle', idleUntil: time + 20e6 })
    const { code } = await run(['--timeout', '0.2'], { ...shell, idle }, keyboard.stream)
    expect(code).toBe(3)
    expect(performance.now() - started).toBeLessThan(2000)
  })
})

describe('cofferdam boot --stats and --trace', () => {
  it('writes the counters, the phases and a hash of the console', async () => {
    const path = join(folder, 'stats.json')
    await run(['--stats', path], shell)
    const stats = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
    expect(stats).toMatchObject({ outcome: 'poweroff', exitCode: 0, memoryBytes: 2 ** 31, vcpus: 1, seed: 1 })
    const phases = stats.phases as { readonly name: string }[]
    expect(phases.map(({ name }) => name)).toEqual(['load', 'decompress', 'kernel', 'init', 'shell'])
    expect(stats.consoleSha256).toMatch(/^[\da-f]{64}$/)
  })

  it('writes the same trace on every run', async () => {
    const traces = await Promise.all(
      ['a', 'b'].map(async (name) => {
        const path = join(folder, `${name}.jsonl`)
        await run(['--trace', path], shell)
        return readFileSync(path, 'utf8')
      }),
    )
    expect(traces[0]).toBe(traces[1])
    expect(traces[0]?.split('\n')[0]).toBe('{"at":1000000,"cpu":0,"kind":"exit","name":"step","data":{"runs":1}}')
  })

  it('writes a Perfetto trace with phases and one thread per processor', async () => {
    const path = join(folder, 'trace.json')
    await run(['--trace', path, '--vcpus', '2'], shell)
    const { traceEvents } = JSON.parse(readFileSync(path, 'utf8')) as { traceEvents: Record<string, unknown>[] }
    const threads = traceEvents.filter(({ name }) => name === 'thread_name').map(({ args }) => args)
    expect(threads).toEqual([{ name: 'phases' }, { name: 'cpu 0' }, { name: 'cpu 1' }])
    expect(traceEvents.filter(({ cat }) => cat === 'phase').map(({ name }) => name)).toContain('kernel')
  })
})

describe('cofferdam boot refuses, with exit code 2 and no stack trace,', () => {
  const refused: readonly (readonly [string, readonly string[], string])[] = [
    ['a size without a unit', ['--memory', '1024'], '--memory 1024: expected a whole number and a unit'],
    ['no processors', ['--vcpus', '0'], '--vcpus 0: expected a whole number from 1 to 64'],
    ['a kernel that is not there', ['--kernel', '/no/such'], 'kernel /no/such: no such file: expected'],
    ['a folder as a kernel', ['--kernel', folder], 'it is not a file'],
    ['firmware as a kernel', ['--kernel', 'ovmf'], 'kernel ovmf: it is a firmware: expected a kernel image'],
    ['what is not built yet', ['--cc', 'tdx'], '--cc tdx: not in this version yet'],
    ['a TPM of an SVSM that there is not', ['--cc', 'snp', '--svsm-vtpm'],
      "--svsm-vtpm: the TPM is the SVSM's; add --svsm"],
    ['a PSP on another vendor\'s processors', ['--device', 'psp'],
      '--device psp: the PSP is on AMD processors; add --cpu amd'],
    ['a PSP for an SNP guest', ['--device', 'psp', '--cc', 'snp'], '--device psp: the guest of --cc snp has none'],
    [
      'a snapshot of a machine with a PSP',
      ['--device', 'psp', '--cpu', 'amd', '--snapshot-at', 'x', '--snapshot', 'y'],
      '--snapshot-at: a machine with --device psp has no snapshot yet; leave one of them out',
    ],
    ['an SVSM under a guest that is none', ['--svsm'], '--svsm: works with an SNP guest; add --cc snp'],
    ['a level that there is not', ['--cc', 'snp', '--svsm', '4'], '--svsm 4: expected a privilege level from 1 to 3'],
    ["the SVSM's own level", ['--cc', 'snp', '--svsm=0'], '--svsm 0: expected a privilege level from 1 to 3'],
    ['acceptance of memory that nobody protects', ['--accept', 'eager'], '--accept: works with a confidential guest'],
    ['SNP on Intel processors', ['--cc', 'snp', '--cpu', 'intel'], '--cpu: SEV-SNP is on AMD processors'],
    ['an option of the full design', ['--kexec', 'k'], '--kexec: not in this version yet'],
    ['a misspelt option', ['--memroy', '1G'], "unknown option '--memroy'"],
    ['a trace of an unknown kind', ['--trace', 'x.txt'], '--trace x.txt: expected a file named .jsonl'],
    ['statistics that could not be written at the end', ['--stats', '/no/such/x'],
      'stats /no/such/x: there is no such folder'],
    ['a snapshot in place of a folder', ['--snapshot-at', 'x', '--snapshot', folder], 'it is a directory'],
    ['a misspelt kernel, with the names that there are', ['--kernel', 'sid-clod'],
      'a file that can be read, sid-cloud, trixie'],
    ['a process that no initramfs of ours starts', ['--cc', 'snp', '--accept', 'background', '--initrd', kernel],
      '--accept background: works with the default initramfs only'],
    ['parameters for no kernel', ['--kernel', 'none', '--firmware', kernel, '--append', 'x'],
      '--append: works with a kernel'],
    ['a trace that can not be written', ['--trace', '/no/such/x.json'], 'trace /no/such/x.json: no such file'],
    ['commands for an initrd that is not ours', ['--initrd', kernel, '--run', 'ls'], '--run: works with the default'],
    ['a relative guest path', ['--add', `${kernel}:bin/x`], 'expected HOSTPATH:GUESTPATH'],
    ['a guest path that climbs', ['--add', `${kernel}:/../x`], 'guest path /../x: expected an absolute path'],
    ['a command line that the kernel would cut', ['--append', 'x'.repeat(2100)], 'expected at most 2047 bytes'],
  ]
  it.each(refused)('%s', async (_, args, message) => {
    const { code, err } = await run(args, shell)
    expect(err).toContain(message)
    expect(code).toBe(2)
    expect(err).not.toMatch(/^\s+at /m)
  })

  it('what the machine can not load, naming file, field and expectation', async () => {
    const onCreate = (): never => {
      const message = `${kernel}: header: expected "HdrS" at 0x202`
      throw Object.assign(new Error(message), { file: kernel, field: 'header' })
    }
    const { code, err } = await run([], { ...shell, onCreate })
    expect(err).toContain(`cofferdam: kernel ${kernel}: header: expected "HdrS" at 0x202`)
    expect(code).toBe(2)
  })
})
