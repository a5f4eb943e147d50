/** CRC-32 as EFI tables have it (UEFI 2.10, §4.2: polynomial 04C1_1DB7h, reflected, inverted). */
export function crc32(bytes: Uint8Array): number {
  let crc = ~0
  for (const byte of bytes) {
    crc ^= byte
    for (let i = 0; i < 8; i++) crc = crc >>> 1 ^ (crc & 1 ? 0xedb8_8320 : 0)
  }
  return ~crc >>> 0
}
