/** CRC-32 as zlib, PNG and Ethernet have it (ISO/IEC 8802-3, reflected polynomial EDB88320h), eight bytes at a time. */

const POLYNOMIAL = 0xedb8_8320

/** Table `n` continues a byte by n zero bytes. */
const tables = ((): readonly Uint32Array[] => {
  const all = Array.from({ length: 8 }, () => new Uint32Array(256))
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ POLYNOMIAL
    all[0][byte] = crc
  }
  for (let n = 1; n < 8; n++) {
    for (let byte = 0; byte < 256; byte++) all[n][byte] = (all[n - 1][byte] >>> 8) ^ all[0][all[n - 1][byte] & 0xff]
  }
  return all
})()

/** The checksum of `bytes`; with `before`, of what that was the checksum of and `bytes` behind it. */
export function crc32(bytes: Uint8Array, before = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables
  let crc = ~before
  let at = 0
  for (const end = bytes.length - 7; at < end; at += 8) {
    crc ^= bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24
    crc = t7[crc & 0xff] ^ t6[crc >>> 8 & 0xff] ^ t5[crc >>> 16 & 0xff] ^ t4[crc >>> 24]
      ^ t3[bytes[at + 4]] ^ t2[bytes[at + 5]] ^ t1[bytes[at + 6]] ^ t0[bytes[at + 7]]
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]) & 0xff]
  return ~crc >>> 0
}
