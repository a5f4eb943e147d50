/** 32 bytes, seen at every lane width. Lane 0 holds the lowest bits, as in a YMM register. */
export interface Vec {
  readonly u8: Uint8Array
  readonly i8: Int8Array
  readonly u16: Uint16Array
  readonly i16: Int16Array
  readonly u32: Uint32Array
  readonly i32: Int32Array
  readonly u64: BigUint64Array
  readonly i64: BigInt64Array
  readonly f32: Float32Array
  readonly f64: Float64Array
  /** The first 1, 2, 4, 8, 16 or 32 bytes: what loads and stores of that size take. */
  readonly first: Readonly<Record<number, Uint8Array>>
}

/** Names of the integer views whose lanes are plain numbers. */
export type NumberLane = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32'

/** Makes a vector of zeros. */
export function createVec(): Vec {
  const buffer = new ArrayBuffer(32)
  const first: Record<number, Uint8Array> = {}
  for (const size of [1, 2, 4, 8, 16, 32]) first[size] = new Uint8Array(buffer, 0, size)
  return {
    u8: new Uint8Array(buffer), i8: new Int8Array(buffer),
    u16: new Uint16Array(buffer), i16: new Int16Array(buffer),
    u32: new Uint32Array(buffer), i32: new Int32Array(buffer),
    u64: new BigUint64Array(buffer), i64: new BigInt64Array(buffer),
    f32: new Float32Array(buffer), f64: new Float64Array(buffer),
    first,
  }
}

/**
 * Scratch of the instruction that is running: sources A, B, C and result R. Meanings run one at a time and never call
 * each other, so one set serves all.
 */
export const A = createVec()
export const B = createVec()
export const C = createVec()
export const R = createVec()
