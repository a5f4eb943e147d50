/**
 * Damaged snapshots: any bytes, and files whose checksums are right around nonsense: in the directory, in the state of
 * processors and devices, in what is unpacked. Each is refused by file and field, or makes a machine that runs.
 */
import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import {
  createMachine, decodeSnapshot, encodeSnapshot, MachineError, type MachineOptions, type Snapshot, type SnapshotCodec,
} from '@cofferdam/machine'
import { createRandom, type Random } from '@cofferdam/oracle'
import { bzImage, createDraw, damageHost, flatKernel, mutateSealed, mutateSnapshot, restless } from '../../inside.ts'
import { watchHang } from '../clock.ts'
import { caseSeed, type LateSurvivor } from '../processor.ts'
import { everyDevice } from './bench.ts'
import { mutate } from './mutate.ts'

const MEMORY = 16 * 2 ** 20
/** One of so many files that are read makes a machine. */
const RUNS = 20

/** Interrupts by the PIT on the way to a loop that counts, in 32-bit code; a device of each kind is in use. */
const BUSY = `
  c705 00510000 80000800 c705 04510000 008e1000 c705 00700000 ff010050 66c705 04700000 0000 0f011d 00700000
  b011 e620 b020 e621 b004 e621 b001 e621 b0fe e621 b034 e643 b002 e640 b000 e640
  66bafa03 b001 ee 66baf803 b041 ee b00b e670 e471 b80000e0fe 8b00 fb 40 ebfd
`

const zstd: SnapshotCodec = {
  name: 'zstd',
  compress: (bytes) => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
  decompress: (bytes, length) => zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, length) }),
}
/** Pieces of memory are unpacked when the machine looks at them. */
const lazy: SnapshotCodec = {
  ...zstd, decompressNow: (bytes, length) => zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, length) }),
}

/** A codec that damages some of what it has compressed; the file's checksums fit. */
const spoiling = (random: Random): SnapshotCodec => ({
  ...zstd,
  async compress(bytes) {
    const packed = await zstd.compress(bytes)
    return random.below(4) === 0 ? mutate(random, packed, [0, 1, 4, 8]) : packed
  },
})

interface Originals {
  readonly snapshot: Snapshot
  /** As files, compressed and not. */
  readonly packed: Uint8Array
  readonly plain: Uint8Array
  /** SNP guests, one of them with a host that takes its mappings away; made when they are first wanted. */
  readonly guests: readonly (() => Snapshot)[]
}

/** Instructions of a guest before its snapshot, and a moment behind it: it is in its kernel then. */
const SNP_BEGUN = 66_000
const SNP_STRIKE = 66_500

const confidential = (hostile?: MachineOptions['hostile']): (() => Snapshot) => {
  let made: Snapshot | null = null
  return () => (made ??= confidentialSnapshot(hostile))
}

function confidentialSnapshot(hostile: MachineOptions['hostile']): Snapshot {
  const machine = createMachine({
    kernel: bzImage(restless), append: '', memory: 64 * 2 ** 20, vcpus: 1, seed: 1, engine: 'interp', cpu: 'amd',
    cc: 'snp', hostile,
  })
  machine.run({ instructions: SNP_BEGUN })
  return machine.snapshot()
}

async function originals(): Promise<Originals> {
  const machine = createMachine({
    kernel: flatKernel(BUSY), append: '', memory: MEMORY, vcpus: 2, seed: 1, engine: 'interp', cpu: 'intel',
    ...everyDevice(),
  })
  machine.run({ instructions: 60 })
  machine.serialInput(Uint8Array.of(1, 2, 3))
  machine.consoleInput(Uint8Array.of(4, 5))
  const snapshot = machine.snapshot({ note: 'mine' })
  const guests = [confidential(), confidential([{ mode: 'unmap', at: SNP_STRIKE }, { mode: 'remap', at: SNP_STRIKE }])]
  return { snapshot, guests, packed: await encodeSnapshot(snapshot, zstd), plain: await encodeSnapshot(snapshot) }
}

const NAME = 'damaged'
const read = (bytes: Uint8Array, codec = zstd): Promise<Snapshot> =>
  decodeSnapshot(bytes, { name: NAME, codecs: [codec], crc32 })

/** A machine goes on from it, and is saved once more. */
function goOn(random: Random, snapshot: Snapshot): string {
  const machine = snapshot.fork({ ...everyDevice(), engine: random.pick(['interp', 'jit', 'auto']) })
  let last = ''
  for (let i = 0; i < 10; i++) {
    last = machine.run({ instructions: 10_000 }).reason
    if (last !== 'budget' && last !== 'idle') return last
  }
  machine.snapshot()
  return last
}

type Kind = (random: Random, from: Originals) => Promise<string>
const anyBytes: Kind = async (random, { packed }) => {
  await read(mutate(random, packed, Array.from({ length: 120 }, (_, i) => i)))
  return 'any bytes: read'
}
const sealed: Kind = async (random, { plain }) => {
  const snapshot = await read(mutateSealed(plain, random.u32()))
  return random.below(RUNS) === 0 ? `sealed: ${goOn(random, snapshot)}` : 'sealed: read'
}
const contents: Kind = async (random, { snapshot }) => {
  const file = await encodeSnapshot({ ...snapshot, image: { ...snapshot.image } }, spoiling(random))
  return `contents: ${goOn(random, await read(file, random.below(2) === 0 ? zstd : lazy))}`
}
const state: Kind = async (random, { snapshot }) => {
  const wrong = mutateSnapshot({ ...snapshot, name: NAME }, random.u32())
  return `state: ${goOn(random, await read(await encodeSnapshot(wrong)))}`
}
/** A guest goes on under a host whose state, or whose memory, is not what it was. */
const guest: Kind = async (random, { guests }) => {
  const original = random.pick(guests)()
  const damaged = random.below(3)
  const wrong = damaged === 0 ? { ...original, name: NAME } : mutateSnapshot({ ...original, name: NAME }, random.u32())
  const snapshot = await read(await encodeSnapshot(wrong))
  const machine = snapshot.fork({ engine: random.pick(['interp', 'jit', 'auto']) })
  if (damaged !== 1) damageHost(machine.memory, snapshot.state, createDraw(random.u32()))
  let last = ''
  for (let i = 0; i < 10 && (last === '' || last === 'budget'); i++) last = machine.run({ instructions: 10_000 }).reason
  if (last === 'budget' || last === 'idle') machine.snapshot()
  return `guest: ${last}`
}
/** A guest takes half a second, others milliseconds. */
const KINDS: readonly Kind[] = [
  anyBytes, anyBytes, sealed, sealed, sealed, sealed, sealed, sealed, contents, state, state,
].flatMap((kind, i) => (i === 0 ? [kind, kind, guest] : [kind, kind]))

/** A refusal that names the file, or the end of a machine that has none to save. */
const isClear = (error: unknown): boolean =>
  error instanceof MachineError && (error.file === NAME || error.file === 'machine' && error.field === 'state')

export function createSnapshotSurvivor(): LateSurvivor {
  let made: Promise<Originals> | null = null
  return {
    async run(seed, number) {
      const from = await (made ??= originals())
      const random = createRandom(caseSeed(seed, number))
      const kind = random.pick(KINDS)
      const hang = watchHang()
      try {
        const ended = await kind(random, from)
        return { ended, problem: hang() }
      } catch (error) {
        if (isClear(error)) return { ended: 'refused', problem: null }
        return { ended: 'exception', problem: (error as Error).stack ?? String(error) }
      }
    },
  }
}
