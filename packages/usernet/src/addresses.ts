/** Addresses of Ethernet and IPv4. An IPv4 address is an unsigned 32-bit number, a MAC address its text. */

/** `10.0.2.2` as a number; undefined for anything but four decimal numbers. */
export function parseIpv4(text: string): number | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number)
  if (parts === undefined || parts.some((part) => part > 255)) return undefined
  return parts.reduce((sum, part) => sum * 256 + part, 0)
}

/** The address in its usual form. */
export const formatIpv4 = (address: number): string =>
  [24, 16, 8, 0].map((shift) => address >>> shift & 0xff).join('.')

/** The bytes of `52:54:00:12:34:56`; undefined for anything else. */
export function parseMac(text: string): Uint8Array | undefined {
  return /^[\da-f]{2}(:[\da-f]{2}){5}$/i.test(text)
    ? Uint8Array.from(text.split(':'), (part) => parseInt(part, 16))
    : undefined
}

/** Six bytes in the form `52:54:00:12:34:56`. */
export const formatMac = (bytes: Uint8Array): string =>
  Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join(':')

/** 255.255.255.255. */
export const LIMITED_BROADCAST = 0xffff_ffff

/** 224.0.0.0/4 and above: no host has such an address. */
export const isNoHost = (address: number): boolean => address >= 0xe000_0000 || address >>> 24 === 127

/** A view of bytes for numbers in network order. */
export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
