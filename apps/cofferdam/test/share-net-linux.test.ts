/** Linux's own drivers on our folders and our network. Skips where no Debian mirror is known. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMachine as create, type DeviceOption, type Machine } from '@cofferdam/machine'
import { createMemoryFiles } from '@cofferdam/ninep'
import { afterAll, describe, expect, it } from 'vitest'
import { defaultInitramfs, modulesFor } from '../src/commands/initramfs.ts'
import { driversOf } from '../src/devices.ts'
import { fetchImages } from '../src/images/fetch.ts'
import { openStore } from '../src/images/store.ts'
import { createMachine } from '../src/machine.ts'
import { runCli } from '../src/program.ts'
import { processSurroundings } from '../src/surroundings.ts'
import { debianMissing, runReal } from './real.ts'
import { collectOutput, pipeInput } from './streams.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-linux-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const quiet = ['--append', 'quiet cryptomgr.notests=1', '--timeout', '250']
const content = Uint8Array.from({ length: 300_001 }, (_, i) => (i * 31 + (i >> 8)) & 0xff)
const sha256 = createHash('sha256').update(content).digest('hex')

const makeFolder = (name: string): string => {
  const path = join(folder, name)
  mkdirSync(join(path, 'sub'), { recursive: true })
  writeFileSync(join(path, 'sub', 'data'), content)
  symlinkSync('/etc/hostname', join(path, 'link'))
  return path
}

const mount = (tag: string): string => `mkdir /${tag}; mount -t 9p -o trans=virtio,version=9p2000.L ${tag} /${tag}`
const network = 'ifconfig eth0 up; udhcpc -i eth0 -n -q'

describe.skipIf(debianMissing !== undefined || process.platform !== 'linux')(
  `Linux${debianMissing === undefined ? '' : ` (${debianMissing})`}`, () => {
    it('mounts folders: reads one, cannot write it, and writes the other', { timeout: 300_000 }, async () => {
      const [one, two] = [makeFolder('one'), makeFolder('two')]
      const command = [
        mount('share'), mount('w'), 'sha256sum /share/sub/data', 'readlink /share/link', 'ls -a /share',
        'echo x >/share/new', 'rm /share/link', 'mv /share/sub /share/other',
        'cp -r /share/sub /w/copy', 'mv /w/copy/data /w/moved', 'rm -r /w/sub', 'ln -s moved /w/symlink',
        'cat /w/symlink | wc -c',
      ].join('; ')
      const args = ['--kernel', 'sid-generic', '--share', one, '--share', `${two},tag=w,rw`, '--run', command]
      const { code, out, err } = await runReal([...args, ...quiet])
      expect(code, out + err).toBe(0)
      expect(out).toContain(`${sha256}  /share/sub/data\r\n/etc/hostname\r\n`)
      expect(out.match(/Read-only file system/g)?.length).toBe(3)
      expect(out).toContain('\r\n300001\r\n')
      const there = [join(one, 'new'), join(one, 'sub'), join(two, 'sub')].map((path) => existsSync(path))
      expect(there).toEqual([false, true, false])
      expect(createHash('sha256').update(readFileSync(join(two, 'moved'))).digest('hex')).toBe(sha256)
    })

    it('gets an address, pings the gateway, and has its bytes echoed', { timeout: 300_000 }, async () => {
      const command = [
        network, 'ping -c 3 gateway', 'ping -c 1 -s 5000 gateway.internal', 'nslookup debian.org 2>&1',
        'head -c 200000 /dev/urandom >/tmp/a; (cat /tmp/a; sleep 1) | nc gateway 7 >/tmp/b',
        'cmp /tmp/a /tmp/b && echo the same',
        'wget -T 5 http://192.0.2.1/ 2>&1; cat /sys/class/net/eth0/address',
      ].join('; ')
      const args = ['--kernel', 'trixie-cloud', '--net', 'user,mac=52:54:00:0a:0b:0c', '--run', command]
      const { code, out, err } = await runReal([...args, ...quiet])
      expect(code, out + err).toBe(0)
      for (const text of [
        'lease of 10.0.2.15 obtained from 10.0.2.2', '3 packets transmitted, 3 packets received, 0% packet loss',
        '1 packets transmitted, 1 packets received', 'REFUSED', 'the same', 'No route to host', '52:54:00:0a:0b:0c',
      ]) expect(out).toContain(text)
    })

    it('goes on in a fork: open files and connections too, to the last event', { timeout: 300_000 }, async () => {
      const around = { ...processSurroundings(createMachine), store: openStore() }
      const [kernel] = await fetchImages(['sid-generic'], { ...around, refresh: false, onProgress: () => undefined })
      const devices: DeviceOption[] = [
        {
          kind: 'virtio-9p', tag: 'share',
          files: () => createMemoryFiles({ entries: { data: content }, writable: true }),
        },
        { kind: 'virtio-net' },
      ]
      const { bytes } = await defaultInitramfs({ add: [], with: [], compress: 'none' }, around)
      const modules = kernel && await modulesFor(kernel, driversOf(devices, 0), around)
      const command = [
        mount('share'), network, 'exec 3</share/data', 'head -c 1000 <&3 | wc -c', 'echo first >/share/new',
        '(cat /share/data; sleep 1) | nc gateway 7 | sha256sum & sleep 0.001; echo mark', 'cat <&3 | wc -c', 'wait',
        'echo second >>/share/new', 'cat /share/new',
      ].join('; ')
      const encoded = Buffer.from(command).toString('base64')
      const options = {
        append: `console=ttyS0,115200 panic=-1 quiet cryptomgr.notests=1 cofferdam.run64=${encoded}`,
        memory: 2 ** 28, vcpus: 2, cpu: 'intel', engine: 'auto', seed: 1, devices, traceHash: true,
        kernel: { name: 'kernel', bytes: readFileSync(kernel?.path ?? '') },
        initrd: { name: 'initramfs', bytes: Buffer.concat([bytes, modules ?? new Uint8Array(0)]) },
      } as const
      /** Runs a machine until it has shown a text, or has powered off. */
      const run = (machine: Machine, shown: () => boolean): void => {
        for (let result = machine.run({ instructions: 20_000 }); result.reason !== 'poweroff' && !shown();) {
          if (result.reason !== 'budget' && result.reason !== 'idle') throw new Error(result.reason)
          result = machine.run({ instructions: 20_000 })
        }
      }
      const consoles = ['', '']
      const take = (index: number) => (part: Uint8Array): void => { consoles[index] += String.fromCharCode(...part) }
      const one = create({ ...options, onSerial: take(0) })
      run(one, () => consoles[0]?.includes('mark\r\n') ?? false)
      const two = one.snapshot().fork({ onSerial: take(1), traceHash: true })
      const before = consoles[0]?.length
      for (const machine of [one, two]) run(machine, () => false)
      expect(consoles[0]?.slice(before)).toBe(consoles[1])
      expect(two.stats().traceHash).toBe(one.stats().traceHash)
      for (const text of ['299001\r\n', sha256, 'first\r\nsecond\r\n']) expect(consoles[1]).toContain(text)
    })

    it('is reached through a forwarded port', { timeout: 300_000 }, async () => {
      const [out, err] = [collectOutput(), collectOutput()]
      const command = `${network}; echo gets >/tmp/answer; nc -l -p 80 </tmp/answer >/tmp/got; cat /tmp/got`
      const args = ['--kernel', 'bookworm-cloud', '--net', 'user', '--forward', '127.0.0.1:0:80', '--run', command]
      const running = runCli(['boot', ...args, ...quiet], {
        stdin: pipeInput(''), stdout: out.stream, stderr: err.stream, store: openStore(), createMachine,
        now: () => performance.now(),
      })
      let ended = false
      void running.finally(() => { ended = true })
      let answer = ''
      const dial = (): void => {
        const port = Number(/port (\d+) of 127\.0\.0\.1 leads/.exec(err.text())?.[1] ?? 0)
        if (ended) return
        if (port === 0) {
          setTimeout(dial, 50)
          return
        }
        const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
        // until somebody listens, the guest refuses
        socket.on('data', (bytes) => { answer += String(bytes) }).on('error', () => undefined)
        socket.on('close', () => answer === '' && setTimeout(dial, 100))
        socket.end('from the host\n')
      }
      dial()
      expect(await running, out.text() + err.text()).toBe(0)
      expect([answer, out.text().includes('from the host\r\n')]).toEqual(['gets\n', true])
    })
  },
)
