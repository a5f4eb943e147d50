/** A guest of a few pages, as an IGVM file: it says something on the serial port, through its GHCB, and powers off. */
import { createAssembler, flatGdt, flatSegments, Reg, VMSA_GPA, vmsaOf, writeIgvm } from '@cofferdam/boot'
import type { Assembler, IgvmDirective, IgvmImage } from '@cofferdam/boot'
import { Cr0, Cr4, Efer, Ghcb, GhcbMsrTermination, IoioInfo, PscOperation, SnpPolicy, SvmExit } from '@cofferdam/spec'
import { request } from './snp-code.ts'

const { rax, rbx, rdx, rsi, rbp } = Reg
const PAGE = 4096
const C_BIT = 1n << 51n
/** Guest physical addresses. */
export const PLACES = {
  code: 0x10_0000, parameters: 0x10_1000, gdt: 0x10_2000, tables: 0x10_3000, ghcb: 0x20_0000,
} as const
const SERIAL = 0x3f8
/** Of the code page. */
const TEXT_AT = 0x800
/** Where VP count and memory map are in the parameter area. */
export const PARAMETERS = { vpCount: 0, memoryMap: 0x10, commandLine: 0x800 } as const

/** PML4, PDPT, page directory, and a table for the GHCB's 2 MiB; all encrypted but the GHCB. */
function pageTables(): Uint8Array {
  const bytes = new Uint8Array(4 * PAGE)
  const view = new DataView(bytes.buffer)
  const entry = (page: number, index: number, value: bigint): void => {
    view.setBigUint64(page * PAGE + 8 * index, value, true)
  }
  const table = (page: number): bigint => BigInt(PLACES.tables + page * PAGE) | C_BIT | 3n
  entry(0, 0, table(1))
  entry(1, 0, table(2))
  entry(2, 0, C_BIT | 0x83n)
  entry(2, 1, table(3))
  entry(3, 0, BigInt(PLACES.ghcb) | 3n)
  return bytes
}

/** OUT of the byte in RBX to the serial port. */
function putByte(a: Assembler): void {
  a.label('put')
  a.store(rbp, Ghcb.offset.rax, rbx)
  a.set(rax, 2)
  a.store(rbp, Ghcb.offset.protocolVersion, rax, 2)
  a.set(rax, SvmExit.IOIO)
  a.store(rbp, Ghcb.offset.swExitCode, rax)
  a.set(rax, IoioInfo.pack({ port: SERIAL, SZ8: 1, A64: 1 }))
  a.store(rbp, Ghcb.offset.swExitInfo1, rax)
  a.set(rax, 0)
  a.store(rbp, Ghcb.offset.swExitInfo2, rax)
  const valid = (['rax', 'swExitCode', 'swExitInfo1', 'swExitInfo2'] as const)
    .reduce((bitmap, field) => bitmap | 1n << BigInt(Ghcb.offset[field] / 8), 0n)
  a.set(rax, BigInt.asUintN(64, valid))
  a.store(rbp, Ghcb.offset.validBitmap, rax)
  a.set(rax, valid >> 64n)
  a.store(rbp, Ghcb.offset.validBitmap + 8, rax)
  a.plain('vmgexit')
  a.plain('ret')
}

/** Says `text`, then the number of processors that the host has told, and ends. */
function program(text: string): Uint8Array {
  const a = createAssembler()
  const gfn = BigInt(PLACES.ghcb / PAGE)
  request(a, 0x014n | gfn << 12n | BigInt(PscOperation.SHARED) << 52n)
  request(a, 0x012n | gfn << 12n)
  a.set(rax, PLACES.ghcb)
  a.set(rdx, 0)
  a.plain('wrmsr')
  a.set(rbp, PLACES.ghcb)
  a.set(rsi, PLACES.code + TEXT_AT)
  a.label('next')
  a.load(rbx, rsi, 0, 1)
  a.aluImmediate('cmp', rbx, 0)
  a.jumpIf('e', 'count')
  a.call('put')
  a.aluImmediate('add', rsi, 1)
  a.jump('next')
  a.label('count')
  a.set(rsi, PLACES.parameters)
  a.load(rbx, rsi, PARAMETERS.vpCount, 4)
  a.aluImmediate('add', rbx, 0x30)
  a.call('put')
  request(a, GhcbMsrTermination.pack({ info: 0x100n, reasonSet: 9n, reason: 0n }))
  putByte(a)
  const code = a.assemble()
  const page = new Uint8Array(PAGE)
  page.set(code)
  page.set(new TextEncoder().encode(`${text}\0`), TEXT_AT)
  return page
}

/** 64-bit code at the code page, with a stack below it. */
function vmsa(): Uint8Array {
  const segments = flatSegments(0x10, 0x18, true)
  return vmsaOf({
    registers: { rsp: BigInt(PLACES.gdt + 0xff0) }, rip: BigInt(PLACES.code), rflags: 2n,
    cr0: BigInt(Cr0.pack({ PE: 1, MP: 1, ET: 1, NE: 1, WP: 1, PG: 1 })), cr3: BigInt(PLACES.tables) | C_BIT,
    cr4: BigInt(Cr4.pack({ PAE: 1 })), efer: BigInt(Efer.pack({ LME: 1, LMA: 1 })),
    gdtr: { base: BigInt(PLACES.gdt), limit: flatGdt(segments).length - 1 }, idtr: { base: 0n, limit: 0 }, segments,
  })
}

/** The file's contents. */
export function igvmGuest(text: string, more: readonly IgvmDirective[] = []): IgvmImage {
  const page = (gpa: number, bytes: Uint8Array): IgvmDirective => ({
    kind: 'page', gpa, length: PAGE, type: 'normal', bytes,
  })
  const tables = pageTables()
  return {
    policy: SnpPolicy.pack({ SMT: 1n, RESERVED_ONE: 1n }),
    directives: [
      { kind: 'area', index: 7, length: PAGE },
      { kind: 'parameter', what: 'VP count', index: 7, offset: PARAMETERS.vpCount },
      { kind: 'parameter', what: 'memory map', index: 7, offset: PARAMETERS.memoryMap },
      { kind: 'parameter', what: 'command line', index: 7, offset: PARAMETERS.commandLine },
      { kind: 'required', gpa: 0x10_0000, length: 0x10_0000 },
      page(PLACES.code, program(text)),
      page(PLACES.gdt, flatGdt(flatSegments(0x10, 0x18, true))),
      ...[0, 1, 2, 3].map((n) => page(PLACES.tables + n * PAGE, tables.slice(n * PAGE, (n + 1) * PAGE))),
      { kind: 'insert', gpa: PLACES.parameters, index: 7 },
      ...more,
      { kind: 'vp', gpa: VMSA_GPA, vp: 0, vmsa: vmsa() },
    ],
  }
}

/** The file. */
export const igvmFile = (text: string, more?: readonly IgvmDirective[]): {
  readonly name: string, readonly bytes: Uint8Array,
} =>
  ({ name: 'guest.igvm', bytes: writeIgvm(igvmGuest(text, more)) })
