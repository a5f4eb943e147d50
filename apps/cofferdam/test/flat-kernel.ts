/** A Multiboot kernel at 1 MiB whose entry, at 100020h, is the given 32-bit code in hexadecimal. */
export function flatKernel(code: string): Uint8Array {
  const load = 0x10_0000
  const header = Int32Array.of(0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), load, load, 0, 0, load + 0x20)
  return Buffer.concat([new Uint8Array(header.buffer), Buffer.from(code.replaceAll(' ', ''), 'hex')])
}
