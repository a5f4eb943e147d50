/** Linux's own drivers on our disks, entropy source and console. Skips where no Debian mirror is known. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMachine, type DeviceOption, type DiskOption } from '@cofferdam/machine'
import { afterAll, expect, it } from 'vitest'
import { defaultInitramfs, modulesFor } from '../src/commands/initramfs.ts'
import { driversOf } from '../src/devices.ts'
import { openDisks } from '../src/disks/open-disk.ts'
import { parseDisk } from '../src/disks/parse-disk.ts'
import { aptMissing, machineMirror } from '../src/images/apt.ts'
import { fetchImages } from '../src/images/fetch.ts'
import { openStore, sha256 } from '../src/images/store.ts'
import { processSurroundings } from '../src/surroundings.ts'
import { describeUnless } from './unless.ts'

const noDebian = await aptMissing() ?? await machineMirror().then(() => undefined, (error: unknown) => String(error))
const folder = mkdtempSync(join(tmpdir(), 'cofferdam-disk-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const megabyte = 2 ** 20
/** Bytes that no two sectors share. */
const noise = (length: number): Uint8Array => {
  const words = new Uint32Array(length / 4)
  let state = 1
  words.forEach((_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    words[i] = state
  })
  return new Uint8Array(words.buffer)
}
const imageFile = (name: string, bytes: Uint8Array): string => {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

interface Guest {
  readonly command: string
  readonly disks: readonly DiskOption[]
  readonly devices?: readonly DeviceOption[]
  /** Power fails once the console shows this. Default: the guest powers itself off. */
  readonly until?: string
}

/** Boots Debian's kernel with its modules, runs a command, and answers what the console showed. */
const runGuest = async ({ command, disks, devices = [], until }: Guest): Promise<string> => {
  const around = { ...processSurroundings(createMachine), store: openStore() }
  const [kernel] = await fetchImages(['bookworm-cloud'], { ...around, refresh: false, onProgress: () => undefined })
  if (kernel === undefined) throw new Error('no kernel')
  const { bytes } = await defaultInitramfs({ add: [], with: [], compress: 'none' }, around)
  const modules = await modulesFor(kernel, driversOf(devices, disks.length), around)
  const encoded = Buffer.from(command).toString('base64')
  let console = ''
  const machine = createMachine({
    kernel: { name: 'kernel', bytes: readFileSync(kernel.path) },
    initrd: { name: 'initramfs', bytes: Buffer.concat([bytes, modules ?? new Uint8Array(0)]) },
    append: `console=ttyS0,115200 panic=-1 quiet cryptomgr.notests=1 cofferdam.run64=${encoded}`,
    memory: 256 * megabyte, vcpus: 1, cpu: 'intel', engine: 'auto', seed: 1, disks, devices,
    onSerial: (part) => { console += String.fromCharCode(...part) },
  })
  while (until === undefined || !console.includes(until)) {
    const result = machine.run({ instructions: 1e6 })
    if (result.reason === 'poweroff') break
    if (result.reason !== 'budget' && !(result.reason === 'idle' && result.idleUntil !== undefined)) {
      throw new Error(`${result.reason}\n${console}`)
    }
    if (machine.stats().instructions > 6e9) throw new Error(`it does not end\n${console}`)
  }
  return console
}

describeUnless(noDebian, 'Linux', () => {
  it('reads disks, writes where it may, and uses entropy and console', { timeout: 300_000 }, async () => {
    const [a, b, c] = [noise(4 * megabyte), noise(2 * megabyte), noise(megabyte)]
    const paths = [imageFile('a', a), imageFile('b', b), imageFile('c', c)] as const
    let text = ''
    const console = await runGuest({
      disks: openDisks([
        ...parseDisk(`${paths[0]},serial=first one`), ...parseDisk(`${paths[1]},rw`), ...parseDisk(`${paths[2]},ro`),
      ]),
      devices: [
        { kind: 'virtio-rng' },
        { kind: 'virtio-console', onOutput: (part) => { text += String.fromCharCode(...part) } },
      ],
      command: [
        'set -e', 'cat /sys/block/vda/serial; echo', 'cat /sys/block/vd?/ro', 'sha256sum /dev/vda /dev/vdb /dev/vdc',
        // An ext2 file system on the overlay, mounted by the kernel's own request for the module.
        'mke2fs /dev/vda >/dev/null; mkdir /a; mount -t ext2 /dev/vda /a; cp /bin/busybox /a; umount /a',
        'mount -t ext2 -o ro /dev/vda /a; cmp /a/busybox /bin/busybox && echo same; umount /a',
        'dd if=/dev/vdc of=/dev/vdb bs=4k seek=64 count=128 conv=fsync,notrunc 2>/dev/null',
        '! dd if=/dev/zero of=/dev/vdc bs=4k count=1 conv=fsync 2>/dev/null',
        'cat /sys/class/misc/hw_random/rng_current; head -c 64 /dev/hwrng | wc -c',
        'echo from hvc0 >/dev/hvc0',
      ].join('\n'),
    })
    expect(console.replaceAll('\r', '')).toContain([
      'first one', '0', '0', '1', `${sha256(a)}  /dev/vda`, `${sha256(b)}  /dev/vdb`, `${sha256(c)}  /dev/vdc`, 'same',
      'virtio_rng.0', '64', 'cofferdam: command left with status 0',
    ].join('\n'))
    b.set(c.subarray(0, 128 * 4096), 64 * 4096)
    expect(paths.map((path) => sha256(readFileSync(path)))).toEqual([a, b, c].map(sha256))
    expect(text).toContain('from hvc0')
  })

  it('loses at a power failure nothing that it flushed or that the disk completed', { timeout: 300_000 }, async () => {
    const path = imageFile('power', new Uint8Array(8 * megabyte))
    const [disk] = openDisks(parseDisk(`${path},rw`))
    if (disk === undefined) throw new Error('no disk')
    const { backend } = disk
    /** What the backend said was written, and what of it was there when a flush had completed. */
    const completed = new Uint8Array(backend.size)
    let flushed = completed.slice()
    let flushes = 0
    const console = await runGuest({
      disks: [{
        backend: {
          ...backend,
          write(offset, bytes) {
            completed.set(bytes, offset)
            return backend.write(offset, bytes)
          },
          flush() {
            flushes += 1
            flushed = completed.slice()
            return backend.flush()
          },
        },
      }],
      until: 'power fails',
      command: [
        'seq 100000 200000 >/tmp/a', 'dd if=/tmp/a of=/dev/vda bs=4k count=100 conv=fsync 2>/dev/null',
        // Direct: the disk has completed it, and nobody has flushed.
        'dd if=/tmp/a of=/dev/vda bs=4k count=10 seek=500 oflag=direct 2>/dev/null',
        // Still in the page cache, for the most part.
        'dd if=/tmp/a of=/dev/vda bs=4k count=50 seek=1000 2>/dev/null', 'echo power fails; sleep 100',
      ].join('\n'),
    })
    expect(console).toContain('power fails')
    const numbers = Array.from({ length: 100001 }, (_, i) => `${100000 + i}\n`).join('')
    const text = new TextEncoder().encode(numbers)
    const file = new Uint8Array(readFileSync(path))
    expect(flushes).toBeGreaterThan(0)
    expect(sha256(flushed.subarray(0, 100 * 4096))).toBe(sha256(text.subarray(0, 100 * 4096)))
    expect(sha256(file.subarray(0, 100 * 4096))).toBe(sha256(text.subarray(0, 100 * 4096)))
    expect(sha256(file.subarray(500 * 4096, 510 * 4096))).toBe(sha256(text.subarray(0, 10 * 4096)))
    expect(sha256(file)).toBe(sha256(completed))
    expect(sha256(completed)).not.toBe(sha256(flushed))
  })
})
