/** A growing byte buffer with the integer encodings of WebAssembly (LEB128). */
export class ByteWriter {
  bytes: Uint8Array
  length = 0

  constructor(capacity = 4096) {
    this.bytes = new Uint8Array(capacity)
  }

  private room(n: number): void {
    if (this.length + n <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + n))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }

  u8(v: number): void {
    if (this.length >= this.bytes.length) this.room(1)
    this.bytes[this.length++] = v
  }

  u32(value: number): void {
    this.room(5)
    let v = value >>> 0
    while (v > 0x7f) {
      this.bytes[this.length++] = (v & 0x7f) | 0x80
      v >>>= 7
    }
    this.bytes[this.length++] = v
  }

  s32(value: number): void {
    this.room(5)
    let v = value | 0
    for (;;) {
      const low = v & 0x7f
      v >>= 7
      if ((v === 0 && (low & 0x40) === 0) || (v === -1 && (low & 0x40) !== 0)) {
        this.bytes[this.length++] = low
        return
      }
      this.bytes[this.length++] = low | 0x80
    }
  }

  s64(value: number | bigint): void {
    if (typeof value === 'number' && value === (value | 0)) {
      this.s32(value)
      return
    }
    this.room(10)
    let v = BigInt.asIntN(64, BigInt(value))
    for (;;) {
      const low = Number(v & 0x7fn)
      v >>= 7n
      if ((v === 0n && (low & 0x40) === 0) || (v === -1n && (low & 0x40) !== 0)) {
        this.bytes[this.length++] = low
        return
      }
      this.bytes[this.length++] = low | 0x80
    }
  }

  append(source: Uint8Array): void {
    this.room(source.length)
    this.bytes.set(source, this.length)
    this.length += source.length
  }

  /** A name: its length, then its bytes. Names here are ASCII. */
  name(text: string): void {
    this.u32(text.length)
    for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i))
  }

  view(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }
}
