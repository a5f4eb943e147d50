import type { SnapshotCodec } from '@cofferdam/machine'
import * as zlib from 'node:zlib'

// A snapshot is written while somebody waits: the fastest levels that compress well.
const deflateLevel = 1
const zstdLevel = 1

/** The size of a result decides about its buffer too, so that nothing has to be put together. */
const sized = (length: number): { maxOutputLength: number; chunkSize: number } => ({
  maxOutputLength: Math.max(1, length),
  chunkSize: Math.max(64, length),
})

const calling = (
  work: (bytes: Uint8Array, done: (error: Error | null, result: Uint8Array) => void) => void,
  bytes: Uint8Array,
): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    work(bytes, (error, result) => {
      if (error) reject(error)
      else resolve(result)
    })
  })

const zstd: SnapshotCodec = {
  name: 'zstd',
  compress: (bytes) => {
    const params = { [zlib.constants.ZSTD_c_compressionLevel]: zstdLevel }
    return calling((input, done) => zlib.zstdCompress(input, { params }, done), bytes)
  },
  decompress: (bytes, length) => zlib.zstdDecompressSync(bytes, sized(length)),
  decompressNow: (bytes, length) => zlib.zstdDecompressSync(bytes, sized(length)),
}

/** What pages can read too (`deflateCodec` of the package). */
const deflate: SnapshotCodec = {
  name: 'deflate-raw',
  compress: (bytes) => calling((input, done) => zlib.deflateRaw(input, { level: deflateLevel }, done), bytes),
  decompress: (bytes, length) => zlib.inflateRawSync(bytes, sized(length)),
  decompressNow: (bytes, length) => zlib.inflateRawSync(bytes, sized(length)),
}

// Node has Zstandard from 22.15 and 23.8 on.
const hasZstd = 'zstdDecompressSync' in zlib

/** What reads the files of snapshots; the first one writes them. */
export const snapshotCodecs: readonly [SnapshotCodec, ...SnapshotCodec[]] = hasZstd ? [zstd, deflate] : [deflate]

/** CRC-32 of a file's sections. */
export const crc32 = (bytes: Uint8Array): number => zlib.crc32(bytes)
