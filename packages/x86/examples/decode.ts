/**
 * Decodes a few instructions and prints what they are:
 * `node --conditions=@cofferdam/source packages/x86/examples/decode.ts`.
 */
import { createInsn, decode, DECODED, MODE64, OPS } from '@cofferdam/x86'

declare const console: { log(text: string): void }

// push rbp; mov rbp,rsp; lea rax,[rip+16]; pvalidate; addsd xmm0,[rax+8]; ret
const bytes = Uint8Array.of(
  0x55, 0x48, 0x89, 0xe5, 0x48, 0x8d, 0x05, 0x10, 0, 0, 0, 0xf2, 0x0f, 0x01, 0xff, 0xf2, 0x0f, 0x58, 0x40, 0x08, 0xc3,
)
const insn = createInsn()
for (let at = 0; at < bytes.length; at += insn.len) {
  decode(bytes, at, bytes.length, MODE64, insn)
  if (insn.status !== DECODED) break
  console.log(`${at.toString(16).padStart(2, '0')}  ${OPS[insn.op].padEnd(9)} ${insn.len} bytes, size ${insn.size}`)
}
