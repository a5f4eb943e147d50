import {
  BATCH_HEAD, BATCH_MAGIC, CASE, CODE_AT, CODE_MAX, DATA, DATA_END, DATA_PAGE, EDGE, IN, PIECES, RECORD_HEAD, SELECTOR,
  STATE, TABLE_ENTRIES,
} from './layout.ts'

/** A stretch of data memory that cases fill and answers show. */
export interface Piece {
  readonly at: number
  /** Bytes: a multiple of 8. */
  readonly length: number
}

/** A segment descriptor of the local descriptor table, with the fields of Linux's `struct user_desc`. */
export interface LocalSegment {
  readonly base: number
  /** Last offset, in bytes, or in pages of 4 KiB with `pages`. */
  readonly limit: number
  /** D/B: 32-bit code, or a 32-bit stack pointer. */
  readonly wide: boolean
  /** 0 data, 1 data that expands down, 2 code, 3 conforming code. */
  readonly contents: 0 | 1 | 2 | 3
  /** Data that cannot be written, code that cannot be read. */
  readonly limited?: boolean
  readonly pages?: boolean
  readonly absent?: boolean
}

/**
 * Cases, or answers, in one buffer. The typed views start at record 0; `at(i)` is the byte offset of record i, to
 * which the offsets of `IN`, `OUT` and `STATE` are added. All offsets are multiples of the width they name.
 */
export interface Batch {
  readonly count: number
  /** Bytes of data memory per record: its pieces one after the other. */
  readonly window: number
  readonly pieces: readonly Piece[]
  /** Linear address of the first byte of the window. */
  readonly windowAt: number
  readonly stride: number
  /** What goes to the program: header and records. */
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
  /** Writes the instruction bytes of a record (at most 48), and where they lie. */
  setCode(record: number, code: ArrayLike<number>, flags?: number, at?: number): void
}

export interface BatchOptions {
  /** Data memory: `window` bytes at the end of the lone page (a multiple of 64), or pieces (at most six). */
  readonly window?: number
  readonly pieces?: readonly Piece[]
  /** The local descriptor table: entry n has selector 8n + 7. At most 32. */
  readonly table?: readonly LocalSegment[]
}

/** Makes a batch of `count` records whose state is the reset state of user mode: masked exceptions, empty x87 stack. */
export function createBatch(count: number, options: BatchOptions = {}): Batch {
  const { window = 128, table = [] } = options
  if (window % 64 !== 0 || window > 4032) throw new RangeError(`window: ${window} is no multiple of 64 up to 4032`)
  const pieces = options.pieces ?? [{ at: DATA_END - window, length: window }]
  checkPieces(pieces)
  if (table.length > TABLE_ENTRIES) throw new RangeError(`table: ${table.length} entries, at most ${TABLE_ENTRIES}`)
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
  const batch = viewBatch(count, pieces, new ArrayBuffer(BATCH_HEAD + count * (RECORD_HEAD + length)))
  const header = new Uint32Array(batch.bytes.buffer, 0, BATCH_HEAD / 4)
  table.forEach((segment, i) => { header.set([i, segment.base, segment.limit, userDescriptor(segment)], 16 + 4 * i) })
  for (let i = 0; i < count; i++) {
    const at = batch.at(i)
    batch.u32[(at + IN.AT) >> 2] = CODE_AT
    batch.u32[(at + STATE.MXCSR) >> 2] = 0x1f80
    batch.u16[(at + STATE.FCW) >> 1] = 0x37f
    batch.u64[(at + STATE.RFLAGS) >> 3] = 0x202n
    batch.u64[(at + STATE.GPR + 32) >> 3] = BigInt(DATA_END - 64)
    batch.u16.set([0, SELECTOR.CODE64, SELECTOR.DATA, 0, 0, 0], (at + STATE.SELECTORS) >> 1)
  }
  return batch
}

function checkPieces(pieces: readonly Piece[]): void {
  if (pieces.length < 1 || pieces.length > PIECES) {
    throw new RangeError(`pieces: ${pieces.length} of them, not 1 to ${PIECES}`)
  }
  const lone = pieces[0].at < DATA.AT
  for (const { at, length } of pieces) {
    const [from, to] = lone ? [DATA_PAGE, DATA_END] : [DATA.AT, DATA.AT + DATA.KINDS.length * 4096]
    if (length % 8 === 0 && at % 8 === 0 && at >= from && at + length <= to) continue
    throw new RangeError(`pieces: ${length} bytes at 0x${at.toString(16)} are not in data memory`)
  }
}

/** The bits of `struct user_desc` (Linux, arch/x86/include/uapi/asm/ldt.h). */
const userDescriptor = ({ wide, contents, limited, pages, absent }: LocalSegment): number =>
  (wide ? 1 : 0) | contents << 1 | (limited ? 8 : 0) | (pages ? 16 : 0) | (absent ? 32 : 0) | 64

/** A batch over `buffer`: header, then records. */
function viewBatch(count: number, pieces: readonly Piece[], buffer: ArrayBuffer): Batch {
  const window = pieces.reduce((sum, piece) => sum + piece.length, 0)
  const stride = RECORD_HEAD + window
  const header = new Uint32Array(buffer, 0, 16)
  header.set([BATCH_MAGIC, count, window, pieces.length, ...pieces.flatMap(({ at, length }) => [at, length])])
  const u8 = new Uint8Array(buffer, BATCH_HEAD)
  const batch: Batch = {
    count, window, stride, pieces,
    windowAt: pieces[0].at,
    bytes: new Uint8Array(buffer),
    u8,
    u16: new Uint16Array(buffer, BATCH_HEAD),
    u32: new Uint32Array(buffer, BATCH_HEAD),
    u64: new BigUint64Array(buffer, BATCH_HEAD),
    at: record => record * stride,
    windowOf: record => u8.subarray(record * stride + RECORD_HEAD, (record + 1) * stride),
    recordOf: record => u8.subarray(record * stride, (record + 1) * stride),
    setCode(record, code, flags = 0, where) {
      if (code.length > CODE_MAX) throw new RangeError(`code: ${code.length} bytes, at most ${CODE_MAX} fit`)
      const at = record * stride
      const pageEnd = EDGE.AT + (record % EDGE.COUNT) * EDGE.STEP + 4096 - code.length
      batch.u32[(at + IN.LENGTH) >> 2] = code.length
      batch.u32[(at + IN.FLAGS) >> 2] = flags
      batch.u32[(at + IN.AT) >> 2] = where ?? ((flags & CASE.PAGE_END) !== 0 ? pageEnd : CODE_AT)
      u8.set(code, at + IN.CODE)
      if ((flags & CASE.COMPAT) === 0) return
      const { CODE32, DATA: data } = SELECTOR
      batch.u16.set([data, CODE32, data, data, data, data], (at + STATE.SELECTORS) >> 1)
    },
  }
  return batch
}

/** A batch with the same contents, to run what must be kept. */
export function copyBatch(batch: Batch): Batch {
  const copy = viewBatch(batch.count, batch.pieces, new ArrayBuffer(batch.bytes.length))
  copy.bytes.set(batch.bytes)
  return copy
}
