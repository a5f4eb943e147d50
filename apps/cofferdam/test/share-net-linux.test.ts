/** Linux's own drivers on our folders and our network. Skips where no Debian mirror is known. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openStore } from '../src/images/store.ts'
import { createMachine } from '../src/machine.ts'
import { runCli } from '../src/program.ts'
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
