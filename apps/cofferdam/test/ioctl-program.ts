/** A static x86-64 program for the guest that makes one request of /dev/sev-guest, assembled here. */
import { createAssembler, Reg } from '@cofferdam/boot'

const { rax, rcx, rdx, rbx, rsi, rdi, r12 } = Reg

/** The numbers of Linux's `SNP_GET_DERIVED_KEY` and `SNP_GET_EXT_REPORT` (include/uapi/linux/sev-guest.h). */
export const SNP_GET_DERIVED_KEY = 0xc020_5301
export const SNP_GET_EXT_REPORT = 0xc020_5302

/** System calls. */
const [READ, WRITE, OPEN, IOCTL, EXIT] = [0, 1, 2, 16, 60] as const
const BASE = 0x40_0000
const HEADER = 64 + 56
/** Where the program's data lie. */
const DATA = 0x1000
const [PATH, IOCTL_ARGUMENT, REQUEST, RESPONSE] = [DATA, DATA + 0x40, DATA + 0x80, DATA + 0x1000] as const
const SIZE = DATA + 0x1_0000

export interface IoctlProgram {
  readonly request: number
  /** Version of the message. */
  readonly version: number
  /** Bytes of the response that are printed, and what of the request after it (certificates). */
  readonly response: number
  /** A number of 8 bytes in the request that is an address in the program, and the offset it points to. */
  readonly pointer?: readonly [at: number, to: number]
}

/** What `pointer` may lead to: room for 32 KiB. */
export const ROOM = DATA + 0x4000

/**
 * Reads its request from standard input and writes the response to standard output. It leaves with the error number of
 * what failed; with exitinfo2 in its high half, the firmware's error is lost to the shell and found in `dmesg`.
 */
export function ioctlProgram({ request, version, response, pointer }: IoctlProgram): Uint8Array {
  const asm = createAssembler()
  const call = (number: number, ...values: readonly (number | 'r12')[]): void => {
    const to = [rdi, rsi, rdx] as const
    values.forEach((value, index) => {
      if (value === 'r12') asm.move(to[index], r12)
      else asm.set(to[index], value)
    })
    asm.set(rax, number)
    asm.bytes(0x0f, 0x05) // syscall
  }
  call(READ, 0, BASE + REQUEST, 0x800)
  if (pointer !== undefined) {
    asm.set(rbx, BASE + REQUEST + pointer[0])
    asm.set(rcx, BASE + pointer[1])
    asm.store(rbx, 0, rcx)
  }
  call(OPEN, BASE + PATH, 2)
  asm.move(r12, rax)
  call(IOCTL, 'r12', request, BASE + IOCTL_ARGUMENT)
  asm.move(r12, rax)
  call(WRITE, 1, BASE + RESPONSE, response)
  if (pointer !== undefined) call(WRITE, 1, BASE + pointer[1], 0x2000)
  asm.set(rdi, 0)
  asm.alu('sub', rdi, r12)
  asm.set(rax, EXIT)
  asm.bytes(0x0f, 0x05)
  const code = asm.assemble()

  const file = new Uint8Array(SIZE)
  const view = new DataView(file.buffer)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  // ET_EXEC, EM_X86_64, entry, program headers
  view.setUint32(16, 62 << 16 | 2, true)
  view.setUint32(20, 1, true)
  view.setBigUint64(24, BigInt(BASE + HEADER), true)
  view.setBigUint64(32, 64n, true)
  view.setUint16(52, 64, true)
  view.setUint16(54, 56, true)
  view.setUint16(56, 1, true)
  // PT_LOAD, readable, writable, executable
  view.setUint32(64, 1, true)
  view.setUint32(68, 7, true)
  view.setBigUint64(80, BigInt(BASE), true)
  view.setBigUint64(96, BigInt(SIZE), true)
  view.setBigUint64(104, BigInt(SIZE), true)
  view.setBigUint64(112, 0x1000n, true)
  file.set(code, HEADER)
  file.set(new TextEncoder().encode('/dev/sev-guest\0'), PATH)
  // struct snp_guest_request_ioctl: message version, request, response, exitinfo2
  view.setUint8(IOCTL_ARGUMENT, version)
  view.setBigUint64(IOCTL_ARGUMENT + 8, BigInt(BASE + REQUEST), true)
  view.setBigUint64(IOCTL_ARGUMENT + 16, BigInt(BASE + RESPONSE), true)
  return file
}
