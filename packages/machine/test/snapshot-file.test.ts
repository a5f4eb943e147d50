/// <reference types="node" />
import { constants, crc32 as zlibCrc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { beforeAll, describe, expect, it } from 'vitest'
import { createMachine, decodeSnapshot, deflateCodec, encodeSnapshot, MachineError } from '../src/index.ts'
import type { Machine, Snapshot, SnapshotCodec } from '../src/index.ts'
import { crc32 } from '../src/snapshot/crc32.ts'
import { pack, unpack } from '../src/snapshot/pack.ts'
import { flatKernel } from './kernels.ts'
import { createDraw, mutateSealed, mutateSnapshot } from './mutate.ts'

const zstd: SnapshotCodec = {
  name: 'zstd',
  compress: (bytes) => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
  decompress: (bytes, length) => zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, length) }),
}

/** Interrupts by the PIT on the way to a loop that counts, in 32-bit code; a device of each kind is in use. */
const busy = `
  c705 00510000 80000800 c705 04510000 008e1000 c705 00700000 ff010050 66c705 04700000 0000 0f011d 00700000
  b011 e620 b020 e621 b004 e621 b001 e621 b0fe e621 b034 e643 b002 e640 b000 e640
  66bafa03 b001 ee 66baf803 b041 ee b00b e670 e471 b80000e0fe 8b00 fb 40 ebfd
`

function startBusy(vcpus = 1): Machine {
  const machine = createMachine({
    kernel: flatKernel(busy), append: '', memory: 16 * 2 ** 20, vcpus, seed: 1, engine: 'interp', cpu: 'intel',
    devices: [{ kind: 'virtio-rng' }], traceHash: true,
  })
  machine.run({ instructions: 60 })
  machine.serialInput(Uint8Array.of(1, 2, 3))
  return machine
}

let machine: Machine
let snapshot: Snapshot
let file: Uint8Array

beforeAll(async () => {
  machine = startBusy(2)
  snapshot = machine.snapshot({ note: 'mine' })
  file = await encodeSnapshot(snapshot, zstd)
})

const decode = (bytes: Uint8Array): Promise<Snapshot> => decodeSnapshot(bytes, { name: 'f.snap', codecs: [zstd] })

describe('the checksum', () => {
  it('is that of zlib, for any length', () => {
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i * i * 7)
    for (const length of [0, 1, 7, 8, 9, 100, 1000]) {
      expect(crc32(bytes.subarray(0, length))).toBe(zlibCrc32(bytes.subarray(0, length)))
    }
    expect(crc32(bytes.subarray(300), crc32(bytes.subarray(0, 300)))).toBe(crc32(bytes))
  })
})

describe('plain data', () => {
  const array32 = (items: number): number[] =>
    [0xdd, items >>> 24, items >>> 16 & 0xff, items >>> 8 & 0xff, items & 0xff]
  it('comes back as it was, numbers, texts and arrays of all kinds and lengths', () => {
    const value = {
      numbers: [0, -1, -33, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32, -129, -32_769, -(2 ** 40), 1.5, 2 ** 53 - 1],
      texts: ['', 'a', 'é'.repeat(20), 'x'.repeat(300), 'x'.repeat(70_000)],
      lists: [[], Array.from({ length: 20 }, () => null), Array.from({ length: 70_000 }, () => true)],
      bytes: [new Uint8Array(3), new Uint8Array(300), new Uint8Array(70_000)],
      words: [1, 2, 4, 5, 300].flatMap(
        (n) => [new Uint16Array(n), new Uint32Array(n), new Int32Array(n), new Float64Array(n)]
      ),
      record: Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, false])),
    }
    expect(unpack(pack(value))).toEqual(value)
  })
  it.each<[string, readonly number[], string]>([
    ['more values than any machine has', [...array32(2 ** 32 - 1), ...Array.from({ length: 2 ** 20 }, () => 0x90)],
      'Offset'],
    ['lists in each other without end', Array.from({ length: 2 ** 20 }, () => 0x91), 'more than 64 deep'],
    ['nothing', [], 'Offset'],
    ['a text longer than the rest', [0xdb, 0xff, 0xff, 0xff, 0xff, 0x41], 'Insufficient data'],
  ])('is refused without making it: %s', (_what, bytes, message) => {
    expect(() => unpack(Uint8Array.from(bytes))).toThrow(message)
  })
  it('has a limit that is met before values are made', () => {
    const bytes = new Uint8Array(2 ** 24).fill(0x90)
    bytes.set(array32(2 ** 24 - 5))
    expect(() => unpack(bytes)).toThrow('more than 8388608 values')
  })
})

describe('a snapshot\'s file', () => {
  it.each([['plain', undefined], ['deflate-raw', deflateCodec], ['zstd', zstd]] as const)(
    'holds the whole snapshot, compressed by %s', async (_name, codec) => {
      const bytes = await encodeSnapshot(snapshot, codec)
      const read = await decodeSnapshot(bytes, { codecs: [zstd, deflateCodec] })
      expect({ ...read, fork: 0 }).toEqual({ ...snapshot, fork: 0 })
      const copy = read.fork({ engine: 'jit', traceHash: true, devices: [{ kind: 'virtio-rng' }] })
      const other = snapshot.fork({ traceHash: true })
      for (const one of [copy, other]) one.run({ instructions: 3000 })
      expect(copy.snapshot().state).toEqual(other.snapshot().state)
    })

  it('may be unpacked where the machine looks, which then does the same', async () => {
    let unpacked = 0
    const lazy: SnapshotCodec = {
      ...zstd,
      decompressNow(bytes, length) {
        unpacked++
        return zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, length) })
      },
    }
    const read = await decodeSnapshot(file, { codecs: [lazy], crc32: zlibCrc32 })
    expect(unpacked).toBe(0)
    const [copy, other] = [read, snapshot].map(
      (one) => one.fork({ traceHash: true, devices: [{ kind: 'virtio-rng' }] })
    )
    for (const one of [copy, other]) one.run({ instructions: 3000 })
    expect(unpacked).toBeGreaterThan(0)
    const [left, right] = [copy.snapshot(), other.snapshot()]
    expect({ ...left, fork: 0 }).toEqual({ ...right, fork: 0 })
  })

  it('says which part cannot be unpacked, when it is looked at', async () => {
    const broken: SnapshotCodec = { ...zstd, decompressNow: () => { throw new Error('no zstd frame') } }
    const read = await decodeSnapshot(file, { name: 'f.snap', codecs: [broken] })
    expect(() => read.fork({ devices: [{ kind: 'virtio-rng' }] }).run({ instructions: 1 }))
      .toThrow('f.snap: memory.contents[0]: expected zstd (no zstd frame)')
  })

  it('costs what the machine had in use, and less', () => {
    expect(machine.stats().memoryBacked).toBeLessThan(2 ** 20)
    expect(file.length).toBeLessThan(machine.stats().memoryBacked / 4)
  })

  it('is the same for the same machine, byte for byte', async () => {
    expect(await encodeSnapshot(startBusy(2).snapshot({ note: 'mine' }), zstd)).toEqual(file)
  })

  it('is refused when it is cut off anywhere', async () => {
    for (let length = 0; length < file.length; length += 1 + Math.floor(length / 20)) {
      await expect(decode(file.subarray(0, length))).rejects.toThrow(/^f\.snap: \S+: expected /)
    }
  })

  it('is refused when any byte is another', async () => {
    for (let at = 0; at < file.length; at += at < 400 ? 1 : 97) {
      const damaged = file.slice()
      damaged[at] ^= 1 << (at % 8)
      await expect(decode(damaged)).rejects.toThrow(/^f\.snap: \S+: expected /)
    }
  })

  const header = (at: number, value: number): Uint8Array => {
    const copy = file.slice()
    new DataView(copy.buffer).setUint32(at, value, true)
    return copy
  }
  it.each<[string, () => Uint8Array, string]>([
    ['another file', () => new TextEncoder().encode('#!/bin/sh\n'.repeat(10)),
      'f.snap: magic: expected a snapshot of Cofferdam'],
    ['an empty file', () => new Uint8Array(0), 'f.snap: magic: '],
    ['another version', () => header(16, 3), 'f.snap: version: expected 2, got 3'],
    ['a directory as long as anything', () => header(20, 0xffff_ffff), 'f.snap: directory: expected at most '],
    ['something behind it', () => Uint8Array.of(...file, 0), 'something follows them'],
  ])('is refused, with the reason: %s', async (_what, make, message) => {
    await expect(decode(make())).rejects.toThrow(message)
  })

  it('is refused where its codec is unknown', async () => {
    await expect(decodeSnapshot(file, { name: 'f.snap' })).rejects.toThrow(
      'f.snap: codec: expected one of plain; got zstd'
    )
  })

  it('is refused by a machine with other devices', async () => {
    const read = await decode(file)
    expect(() => read.fork()).toThrow('f.snap: devices.pci.functions.01.0: expected no function in this slot')
    expect(() => read.fork({ devices: [{ kind: 'virtio-rng' }, { kind: 'pc-testdev' }] }))
      .toThrow(/^f\.snap: devices: expected those of this machine, .*pc-testdev/)
  })

  it('never makes more memory than the machine had, whatever it claims', async () => {
    const bomb: SnapshotCodec = { name: 'zstd', compress: zstd.compress, decompress: () => new Uint8Array(2 ** 22) }
    await expect(decodeSnapshot(file, { codecs: [bomb] })).rejects.toThrow(/: expected \d+ bytes, got 4194304/)
    const long = { ...snapshot, image: { ...snapshot.image, contents: [new Uint8Array(2 ** 16 + 1)] } }
    await expect(decode(await encodeSnapshot(long, zstd))).rejects.toThrow('expected pieces of at most 65536 bytes')
    const big = {
      ...snapshot, image: { ...snapshot.image, contents: Array.from({ length: 257 }, () => new Uint8Array(2 ** 16)) },
    }
    await expect(decode(await encodeSnapshot(big, zstd))).rejects.toThrow(
      'expected no more than the 16777216 bytes of RAM'
    )
  })
})

describe('a well-made file with nonsense in it', () => {
  /** How many cases; more with COFFERDAM_FUZZ=N. */
  const cases = Number(process.env.COFFERDAM_FUZZ ?? 150)
  const first = Number(process.env.COFFERDAM_FUZZ_FIRST ?? 1)

  it('is read or refused, whatever bytes its checksums stand for', { timeout: 3_600_000 }, async () => {
    const plain = await encodeSnapshot(snapshot)
    let refused = 0
    for (let seed = first; seed < first + 2000 + 20 * cases; seed++) {
      try {
        const read = await decode(mutateSealed(plain, seed))
        if (seed % 200 === 0) read.fork({ devices: [{ kind: 'virtio-rng' }] }).run({ instructions: 100 })
      } catch (error) {
        if (!(error instanceof MachineError)) throw new Error(`case ${seed}: ${String(error)}`, { cause: error })
        refused++
        expect(error.message, `case ${seed}`).toMatch(/^f\.snap: [^:]+: /)
      }
    }
    expect(refused).toBeGreaterThan(1000)
  })

  it('is refused with the field, or makes a machine that runs', { timeout: 3_600_000 }, async () => {
    let refused = 0
    for (let seed = first; seed < first + cases; seed++) {
      const wrong = mutateSnapshot(snapshot, seed)
      try {
        const read = await decode(await encodeSnapshot(wrong, seed % 2 === 0 ? zstd : undefined))
        const copy = read.fork({
          devices: [{ kind: 'virtio-rng' }], engine: createDraw(seed)(2) === 0 ? 'interp' : 'jit',
        })
        for (let n = 0; n < 20; n++) copy.run({ instructions: 500 })
        copy.snapshot()
      } catch (error) {
        // A machine that has ended has no snapshot: that is no refusal of the file.
        if (!(error instanceof MachineError)) throw new Error(`case ${seed}: ${String(error)}`, { cause: error })
        if (error.file === 'f.snap') refused++
        expect(error.message, `case ${seed}`).toMatch(/^(f\.snap: [^:]+: |machine: state: it has ended)/)
      }
    }
    expect(refused).toBeGreaterThan(cases / 4)
  })
})
