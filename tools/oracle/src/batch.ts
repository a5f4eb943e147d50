import { BATCH_HEAD, BATCH_MAGIC, CODE_MAX, DATA_END, IN, RECORD_HEAD, STATE } from './layout.ts'

/**
 * Cases, or answers, in one buffer. The typed views start at record 0; `at(i)` is the byte offset of record i, to
 * which the offsets of `IN`, `OUT` and `STATE` are added. All offsets are multiples of the width they name.
 */
export interface Batch {
  readonly count: number
  /** Bytes of data memory per record: the last `window` bytes of the data page. A multiple of 64. */
  readonly window: number
  /** Linear address of the first byte of the window. */
  readonly windowAt: number
  readonly stride: number
  /** What goes over the pipe: header and records. */
  readonly bytes: Uint8Array
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  readonly u64: BigUint64Array
  at(record: number): number
  /** The window of a record. */
  windowOf(record: number): Uint8Array
  /** The whole record. */
  recordOf(record: number): Uint8Array
  /** Writes the instruction bytes of a record (at most 48). */
  setCode(record: number, code: ArrayLike<number>, flags?: number): void
}

/** Makes a batch of `count` records whose state is the reset state of user mode: masked exceptions, empty x87 stack. */
export function createBatch(count: number, window = 128): Batch {
  if (window % 64 !== 0 || window > 4032) throw new RangeError(`window: ${window} is no multiple of 64 up to 4032`)
  const batch = viewBatch(count, window, new ArrayBuffer(64 + count * (RECORD_HEAD + window)))
  for (let i = 0; i < count; i++) {
    const at = batch.at(i)
    batch.u32[(at + STATE.MXCSR) >> 2] = 0x1f80
    batch.u16[(at + STATE.FCW) >> 1] = 0x37f
    batch.u64[(at + STATE.RFLAGS) >> 3] = 0x202n
    batch.u64[(at + STATE.GPR + 32) >> 3] = BigInt(DATA_END - 64)
  }
  return batch
}

/** A batch whose records begin at byte 64 of `buffer` (the 16 bytes before hold the header). */
export function viewBatch(count: number, window: number, buffer: ArrayBuffer): Batch {
  const stride = RECORD_HEAD + window
  const header = new Uint32Array(buffer, 64 - BATCH_HEAD, 4)
  header.set([BATCH_MAGIC, count, window, 0])
  const u8 = new Uint8Array(buffer, 64)
  const batch: Batch = {
    count, window, stride,
    windowAt: DATA_END - window,
    bytes: new Uint8Array(buffer, 64 - BATCH_HEAD),
    u8,
    u16: new Uint16Array(buffer, 64),
    u32: new Uint32Array(buffer, 64),
    u64: new BigUint64Array(buffer, 64),
    at: record => record * stride,
    windowOf: record => u8.subarray(record * stride + RECORD_HEAD, (record + 1) * stride),
    recordOf: record => u8.subarray(record * stride, (record + 1) * stride),
    setCode(record, code, flags = 0) {
      if (code.length > CODE_MAX) throw new RangeError(`code: ${code.length} bytes, at most ${CODE_MAX} fit`)
      const at = record * stride
      batch.u32[(at + IN.LENGTH) >> 2] = code.length
      batch.u32[(at + IN.FLAGS) >> 2] = flags
      u8.set(code, at + IN.CODE)
    },
  }
  return batch
}

/** A batch with the same contents, to run what must be kept. */
export function copyBatch(batch: Batch): Batch {
  const copy = viewBatch(batch.count, batch.window, new ArrayBuffer(64 + batch.count * batch.stride))
  copy.bytes.set(batch.bytes)
  return copy
}
