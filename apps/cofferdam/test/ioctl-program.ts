/** Static x86-64 programs for the guest that make requests of SEV's devices, assembled here. */
import { type Assembler, createAssembler, Reg } from '@cofferdam/boot'

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
const SYSCALL = [0x0f, 0x05] as const

/** Makes system calls with these arguments, `r12` being what that register holds. */
const caller = (asm: Assembler) => (number: number, ...values: readonly (number | 'r12')[]): void => {
  const to = [rdi, rsi, rdx] as const
  values.forEach((value, index) => {
    if (value === 'r12') asm.move(to[index], r12)
    else asm.set(to[index], value)
  })
  asm.set(rax, number)
  asm.bytes(...SYSCALL)
}

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
  const call = caller(asm)
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
  asm.bytes(...SYSCALL)
  const { file, view } = programFile(asm.assemble(), '/dev/sev-guest')
  // struct snp_guest_request_ioctl: message version, request, response, exitinfo2
  view.setUint8(IOCTL_ARGUMENT, version)
  view.setBigUint64(IOCTL_ARGUMENT + 8, BigInt(BASE + REQUEST), true)
  view.setBigUint64(IOCTL_ARGUMENT + 16, BigInt(BASE + RESPONSE), true)
  return file
}

/** An ELF file of one segment with room for data behind the code, which starts with the path of a device. */
function programFile(code: Uint8Array, path: string): { file: Uint8Array, view: DataView } {
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
  file.set(new TextEncoder().encode(`${path}\0`), PATH)
  return { file, view }
}

/** `SEV_ISSUE_CMD` of /dev/sev, and commands of it (include/uapi/linux/psp-sev.h). */
const SEV_ISSUE_CMD = 0xc010_5300
export const SevIoctl = {
  FACTORY_RESET: 0, PLATFORM_STATUS: 1, PEK_GEN: 2, GET_ID2: 8, SNP_PLATFORM_STATUS: 9, SNP_COMMIT: 10,
} as const
export type SevIoctlName = keyof typeof SevIoctl

/** What the program prints of a request: what ioctl returned, the firmware's error, and data. */
const ANSWER = { size: 0x80, result: 0, issue: 8, error: 0x14, data: 0x20, dataBytes: 0x60 } as const

/** Gives /dev/sev these commands, one after the other, and writes the answers to standard output. */
export function sevProgram(commands: readonly SevIoctlName[]): Uint8Array {
  const asm = createAssembler()
  const call = caller(asm)
  call(OPEN, BASE + PATH, 2)
  asm.move(r12, rax)
  commands.forEach((_, n) => {
    const answer = BASE + RESPONSE + n * ANSWER.size
    call(IOCTL, 'r12', SEV_ISSUE_CMD, answer + ANSWER.issue)
    asm.set(rbx, answer)
    asm.store(rbx, ANSWER.result, rax)
  })
  call(WRITE, 1, BASE + RESPONSE, commands.length * ANSWER.size)
  asm.set(rdi, 0)
  asm.set(rax, EXIT)
  asm.bytes(...SYSCALL)
  const { file, view } = programFile(asm.assemble(), '/dev/sev')
  commands.forEach((name, n) => {
    const at = RESPONSE + n * ANSWER.size
    // struct sev_issue_cmd, packed: command, data, error
    view.setUint32(at + ANSWER.issue, SevIoctl[name], true)
    view.setBigUint64(at + ANSWER.issue + 4, BigInt(BASE + at + ANSWER.data), true)
    if (name !== 'GET_ID2') return
    // struct sev_user_data_get_id2: where the id goes, and how long it may be
    view.setBigUint64(at + ANSWER.data, BigInt(BASE + at + ANSWER.data + 0x10), true)
    view.setUint32(at + ANSWER.data + 8, 64, true)
  })
  return file
}

/** What the program wrote: for each command what ioctl returned, the firmware's status, and the data. */
export const sevAnswers = (bytes: Uint8Array, commands: readonly SevIoctlName[]) =>
  commands.map((name, n) => {
    const at = n * ANSWER.size
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, ANSWER.size)
    return {
      name, result: Number(view.getBigInt64(ANSWER.result, true)), error: view.getUint32(ANSWER.error, true),
      data: bytes.subarray(at + ANSWER.data, at + ANSWER.data + ANSWER.dataBytes),
    }
  })
