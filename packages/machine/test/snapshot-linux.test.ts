import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { createMachine, decodeSnapshot, encodeSnapshot } from '../src/index.ts'
import type { Machine, MachineOptions, Snapshot, SnapshotCodec } from '../src/index.ts'
import { debianGuest } from './kernels.ts'

const guest = await debianGuest('sid-cloud')
const missing = 'missing' in guest ? guest.missing : undefined
if (missing !== undefined) console.warn(`skipped: ${missing}`)

const unpack = (bytes: Uint8Array, length: number): Uint8Array =>
  zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, length) })
const zstd: SnapshotCodec = {
  name: 'zstd', compress: (bytes) => zstdCompressSync(bytes), decompress: unpack, decompressNow: unpack,
}

/** A machine, what its console shows, and what decides what it does next. */
interface Watched {
  readonly machine: Machine
  readonly text: () => string
}
const watched = (create: (onSerial: MachineOptions['onSerial']) => Machine): Watched => {
  let text = ''
  const machine = create((bytes) => { text += String.fromCharCode(...bytes) })
  return { machine, text: () => text }
}
/** Runs until the console shows a text, in slices that are no multiple of anything. */
const runTo = ({ machine, text }: Watched, wanted: string): void => {
  while (!text().includes(wanted)) {
    const result = machine.run({ instructions: 3_000_017 })
    if (result.reason !== 'budget' && result.reason !== 'idle') {
      throw new Error(`${result.reason}: ${text().slice(-500)}`)
    }
  }
}

describe.skipIf(missing !== undefined)('a snapshot in the middle of a kernel\'s boot', () => {
  it('goes on from its file to the same console, trace and machine', { timeout: 300_000 }, async () => {
    if ('missing' in guest) return
    const straight = watched((onSerial) => createMachine({
      ...guest, append: 'console=ttyS0,115200 panic=-1', memory: 2 ** 31, vcpus: 2, cpu: 'intel', seed: 1,
      engine: 'auto', traceHash: true, onSerial,
    }))
    runTo(straight, 'Freeing SMP alternatives')
    const before = straight.text()
    const file = await encodeSnapshot(straight.machine.snapshot(), zstd)
    expect(file.length).toBeLessThan(straight.machine.stats().memoryBacked / 2)
    runTo(straight, 'cofferdam: shell ready')

    const snapshot: Snapshot = await decodeSnapshot(file, { codecs: [zstd] })
    const resumed = watched((onSerial) => snapshot.fork({ onSerial, traceHash: true }))
    runTo(resumed, 'cofferdam: shell ready')
    expect(before + resumed.text()).toBe(straight.text())
    const { traceHash, instructions, virtualTime, memoryBacked } = straight.machine.stats()
    expect(resumed.machine.stats()).toMatchObject({ traceHash, instructions, virtualTime, memoryBacked })
    const [left, right] = [straight, resumed].map(({ machine }) => machine.snapshot())
    expect(right.state).toEqual(left.state)
    // Megabytes of memory are compared as files: one number each.
    const [one, other] = await Promise.all([left, right].map((end) => encodeSnapshot(end)))
    expect(Buffer.compare(one, other)).toBe(0)
  })
})
