/** How the parts of a snapshot's file are compressed: a port, since what is best differs between Node and a page. */

/** A compression method. */
export interface SnapshotCodec {
  /** What files call it. Two codecs of one name must read each other's output. */
  readonly name: string
  compress(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>
  /**
   * @param length - of the result: more must not be made of whatever `bytes` are
   * @throws Error when `bytes` are not the compressed form of so many bytes
   */
  decompress(bytes: Uint8Array, length: number): Uint8Array | Promise<Uint8Array>
  /**
   * The same at once, for codecs that can: pieces of memory then stay compressed until a machine looks at one of their
   * pages, and a machine is there in a fraction of the time.
   * @throws Error as `decompress`
   */
  decompressNow?(bytes: Uint8Array, length: number): Uint8Array
}

/** No compression. */
export const plainCodec: SnapshotCodec = {
  name: 'plain',
  compress: (bytes) => bytes,
  decompress: (bytes) => bytes,
}

/** Everything that a stream gives, at most `limit` bytes. */
async function collect(stream: ReadableStream<Uint8Array>, limit: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  const reader = stream.getReader()
  for (let { done, value } = await reader.read(); !done && value !== undefined; { done, value } = await reader.read()) {
    length += value.length
    if (length > limit) {
      await reader.cancel()
      throw new RangeError(`more than ${limit} bytes`)
    }
    pieces.push(value)
  }
  const all = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

const piped = (bytes: Uint8Array, through: CompressionStream | DecompressionStream): ReadableStream<Uint8Array> =>
  new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(through)

/** DEFLATE by the Compression Streams of browsers and of Node from 18 on. */
export const deflateCodec: SnapshotCodec = {
  name: 'deflate-raw',
  compress: (bytes) => collect(piped(bytes, new CompressionStream('deflate-raw')), Infinity),
  decompress: (bytes, length) => collect(piped(bytes, new DecompressionStream('deflate-raw')), length),
}
