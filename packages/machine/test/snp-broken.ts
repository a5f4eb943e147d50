/** For each rule of SEV-SNP a guest of a few instructions that breaks it, and one that nearly does. */
import { flatGdt, flatSegments, Reg, vmsaOf } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import {
  ApCreationInfo, ApCreationRequest, Cr0, Cr4, Efer, Ghcb, GhcbMsr, Msr, PscEntry, PscOperation, RmpAdjustAttributes,
  LinuxUnacceptedMemory, SvsmCallingArea, SvsmCoreCall, Vmsa, VmgExit,
} from '@cofferdam/spec'
import type { MachineOptions } from '../src/index.ts'
import { handleVc, pageState, pvalidate, request } from './snp-code.ts'
import { exitThrough, fillGhcb, findGhcb, GHCB_SHARED, openGhcb } from './snp-ghcb.ts'
import { callingArea, takesUnaccepted, unacceptedTable } from './snp-machine.ts'
import type { Code } from './snp-machine.ts'

const { rax, rbx, rcx, rdx, rsi, rdi, r8 } = Reg
const MiB = 2 ** 20
/** A page of RAM that nobody uses. */
export const PAGE = 0x200_0000

/** Ends the guest in order: a termination request. */
export const end = (asm: Assembler): void => { request(asm, 0x100n) }

/** A rule's guests, and the evidence. */
export interface Broken {
  /**
   * Breaks the rule: by the instruction at `here`, or by the VMGEXIT that ends at `after`; that the rest of the run
   * breaks more rules is what `more` says.
   */
  readonly code: Code
  readonly options?: Partial<MachineOptions>
  readonly more?: readonly string[]
  readonly vmpl?: number
  /** How long it runs; by default to its end. */
  readonly instructions?: number
  /** Its addresses; without them there are none. */
  readonly gva?: number
  readonly gpa?: number
  /** What the RMP entry says, null where none is involved. */
  readonly entry: RegExp | null
  /** Does nearly the same, and breaks nothing. */
  readonly nearMiss: Code
  readonly nearOptions?: Partial<MachineOptions>
}

const share = (asm: Assembler): void => {
  pvalidate(asm, PAGE, 0)
  request(asm, pageState(PAGE, PscOperation.SHARED))
}

const unshare = (asm: Assembler): void => {
  request(asm, pageState(PAGE, PscOperation.PRIVATE))
  pvalidate(asm, PAGE, 1)
}

function wait(asm: Assembler, rounds: number): void {
  asm.set(rdi, rounds)
  asm.label('wait')
  asm.aluImmediate('add', rdi, -1)
  asm.jumpIf('ne', 'wait')
}

/** A read or write of eight bytes, at `here`. */
const access = (asm: Assembler, address: number, how: 'load' | 'store' = 'load'): void => {
  asm.set(rbx, address)
  asm.label('here')
  if (how === 'load') asm.load(rax, rbx)
  else asm.store(rbx, 0, rax)
}

const svsm = { svsm: { vmpl: 2 } } as const

/** More pages than the host changes at once, and the last of them validated, after one request or after all. */
const changeList = (goesOn: boolean): Code => (asm) => {
  const count = 65
  pvalidate(asm, LAST, 0)
  openGhcb(asm)
  asm.set(rdi, GHCB_SHARED + Ghcb.offset.sharedBuffer)
  asm.set(rax, (count - 1) << 16)
  asm.store(rdi, 0, rax)
  for (let i = 0; i < count; i++) {
    asm.set(rax, BigInt(PAGE + i * 4096) | PscEntry.pack({ operation: BigInt(PscOperation.PRIVATE) }))
    asm.store(rdi, 8 + 8 * i, rax)
  }
  for (let round = 0; round < (goesOn ? 2 : 1); round++) {
    fillGhcb(asm, VmgExit.PAGE_STATE_CHANGE)
    asm.move(rax, rbx)
    asm.aluImmediate('add', rax, Ghcb.offset.sharedBuffer)
    asm.store(rsi, Ghcb.offset.swScratch, rax)
    exitThrough(asm)
  }
  asm.set(rax, LAST)
  asm.set(rcx, 0)
  asm.set(rdx, 1)
  asm.label('here')
  asm.plain('pvalidate')
  end(asm)
}
const LAST = PAGE + 64 * 4096

const DATA = { start: 32 * MiB, end: 112 * MiB } as const
/** Reads pages of its own again and again; what #VC does is the test's. */
export const reader = (handler: Code): Code => (asm) => {
  handleVc(asm, handler)
  asm.label('again')
  asm.set(rsi, DATA.start)
  asm.set(rdi, DATA.end)
  asm.label('next')
  asm.load(rax, rsi)
  asm.aluImmediate('add', rsi, 2 * MiB)
  asm.alu('cmp', rsi, rdi)
  asm.jumpIf('ne', 'next')
  request(asm, BigInt(GhcbMsr.HV_FEATURES_REQ))
  asm.jump('again')
}
/** Validates what it is told is not validated, and goes on. */
export const validates = reader((asm) => {
  asm.bytes(0x0f, 0x20, 0xd0) // mov rax, cr2
  asm.set(rcx, 0)
  asm.set(rdx, 1)
  asm.label('here')
  asm.plain('pvalidate')
  asm.bytes(0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf) // add rsp, 8; iretq
})
const large = { memory: 128 * MiB, accept: 'eager' } as const
export const attacked = { ...large, hostile: [{ mode: 'unmap', at: 100_000 }] } as const

/** SVSM_CORE_PVALIDATE, so many times, of a page that it gives up, with no reserved bits but those of `more`. */
export const callPvalidate = (more: bigint, times = 1): Code => (asm) => {
  for (let n = 0; n < times; n++) pvalidateOnce(asm, more)
  asm.label('after')
  end(asm)
}

function pvalidateOnce(asm: Assembler, more: bigint): void {
  const list = PAGE + 0x1000
  asm.set(rdi, list)
  asm.set(rax, 1)
  asm.store(rdi, 0, rax)
  asm.set(rax, BigInt(PAGE) | more)
  asm.store(rdi, 8, rax)
  asm.set(r8, callingArea())
  asm.set(rax, 1)
  asm.store(r8, SvsmCallingArea.offset.callPending, rax, 1)
  asm.set(rax, BigInt(GhcbMsr.RUN_VMPL_REQ))
  asm.set(rdx, 0)
  asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
  asm.plain('wrmsr')
  asm.set(rax, SvsmCoreCall.PVALIDATE)
  asm.set(rcx, list)
  asm.plain('vmgexit')
}

/** The SVSM's own memory, and where a page of 1 GiB maps it. */
const [SVSM, LINEAR] = [2 ** 39, 2 ** 32]
/** Maps 1 GiB of guest physical memory at LINEAR and reads its beginning. */
const readAt = (address: number): Code => (asm) => {
  asm.set(rdx, 0x7_ffff_ffff_f000n)
  asm.bytes(0x0f, 0x20, 0xdb) // mov rbx, cr3
  asm.alu('and', rbx, rdx)
  asm.load(rbx, rbx)
  asm.alu('and', rbx, rdx)
  asm.set(rax, BigInt(address) | 0x83n | 1n << 51n)
  asm.store(rbx, 4 * 8, rax)
  access(asm, LINEAR)
  end(asm)
}

/** Makes a page shared and private again, some time after the kernel has started: a host may lie about that. */
const changeTwice: Code = (asm) => {
  wait(asm, 1e6)
  share(asm)
  request(asm, pageState(PAGE, PscOperation.PRIVATE))
  asm.set(rax, PAGE)
  asm.set(rcx, 0)
  asm.set(rdx, 1)
  asm.label('here')
  asm.plain('pvalidate')
  end(asm)
}

/** A page that is no multiple of 2 MiB for a VMSA, and one for what its processor runs: a jump to itself. */
const [VMSA, SPIN] = [PAGE + 0x1000, PAGE + 0x3000]

/** AP_CREATION for processor 1 and VMPL0. */
function createAp(asm: Assembler, what: number): void {
  fillGhcb(asm, VmgExit.AP_CREATION, 2, [
    ['swExitInfo1', ApCreationInfo.pack({ request: BigInt(what), vmpl: 0n, apicId: 1n })],
    ['swExitInfo2', BigInt(VMSA)],
    // Its features, which only a creation takes.
    ['rax', what === ApCreationRequest.CREATE ? 1n : 0n],
  ])
  exitThrough(asm)
}

/** Starts another processor and touches the page that it runs from, while it does or after it has been stopped. */
const touchVmsa = (stops: boolean): Code => (asm) => {
  const segments = flatSegments(0x10, 0x18, true)
  const bytes = vmsaOf({
    registers: {}, rip: BigInt(SPIN), rflags: 2n, cr0: BigInt(Cr0.pack({ PE: 1, MP: 1, ET: 1, NE: 1, WP: 1, PG: 1 })),
    cr3: 0n, cr4: BigInt(Cr4.pack({ PAE: 1 })), efer: BigInt(Efer.pack({ LME: 1, LMA: 1 })),
    gdtr: { base: 0x1000n, limit: flatGdt(segments).length - 1 }, idtr: { base: 0n, limit: 0 }, segments,
  })
  const words = new BigUint64Array(bytes.buffer)
  // Memory holds noise before it is written.
  asm.set(rdi, VMSA)
  asm.set(rcx, words.length)
  asm.set(rax, 0)
  asm.bytes(0xf3, 0x48, 0xab) // rep stosq
  asm.set(rdi, VMSA)
  words.forEach((word, i) => {
    if (word === 0n) return
    asm.set(rax, word)
    asm.store(rdi, 8 * i, rax)
  })
  asm.bytes(0x0f, 0x20, 0xd8) // mov rax, cr3
  asm.store(rdi, Vmsa.offset.cr3, rax)
  asm.set(rdi, SPIN)
  asm.set(rax, 0xfeeb)
  asm.store(rdi, 0, rax, 2)
  asm.set(rax, VMSA)
  asm.set(rcx, 0)
  asm.set(rdx, Number(RmpAdjustAttributes.pack({ targetVmpl: 1n, vmsa: 1n })))
  asm.plain('rmpadjust')
  openGhcb(asm)
  createAp(asm, ApCreationRequest.CREATE)
  wait(asm, 1e5)
  if (stops) createAp(asm, ApCreationRequest.DESTROY)
  access(asm, VMSA + 0x10)
  end(asm)
}

/** An exit that needs no register, with RBX as it says. */
const askFeatures = (value: bigint): Code => (asm) => {
  openGhcb(asm)
  fillGhcb(asm, VmgExit.HV_FEATURES, 2, [['rbx', value]])
  exitThrough(asm)
  asm.label('after')
  end(asm)
}

const askVersion = (version: number): Code => (asm) => {
  openGhcb(asm)
  fillGhcb(asm, VmgExit.HV_FEATURES, version)
  exitThrough(asm)
  asm.label('after')
  end(asm)
}

/** A request by the MSR protocol. */
const ask = (value: bigint): Code => (asm) => {
  request(asm, value)
  asm.label('after')
  end(asm)
}

/** PVALIDATE of the page, at the label. */
const validateHere: Code = (asm) => {
  asm.set(rax, PAGE)
  asm.set(rcx, 0)
  asm.set(rdx, 1)
  asm.label('here')
  asm.plain('pvalidate')
}

/** Reads eight bytes around the end of a page whose successor is not validated, or is. */
const loadAt = (address: number, validated: boolean): Code => (asm) => {
  if (!validated) pvalidate(asm, PAGE + 4096, 0)
  access(asm, address)
  end(asm)
}

/** Validates a page, touches some words of it and uses another one. */
const useValidated = (touched: readonly number[]): Code => (asm) => {
  pvalidate(asm, PAGE, 0)
  pvalidate(asm, PAGE, 1)
  asm.set(rbx, PAGE)
  for (const offset of touched) asm.load(rax, rbx, offset)
  access(asm, PAGE + 0x100, 'store')
  end(asm)
}

/** Writes the first byte of the bitmap of unaccepted memory, twice. */
const writeTable = ([first, second]: readonly [number, number]): Code => (asm) => {
  asm.set(rbx, unacceptedTable() + LinuxUnacceptedMemory.size)
  asm.set(rax, first)
  asm.store(rbx, 0, rax, 1)
  asm.set(rax, second)
  asm.label('here')
  asm.store(rbx, 0, rax, 1)
  end(asm)
  takesUnaccepted(asm)
}

/** By rule. */
export const BROKEN: Readonly<Record<string, Broken>> = {
  'snp-unvalidated-access': {
    code(asm) {
      pvalidate(asm, PAGE, 0)
      access(asm, PAGE + 0x18)
      end(asm)
    },
    gva: PAGE + 0x18, gpa: PAGE + 0x18, entry: /^guest-invalid, 4K, asid 1, gpa 0x2000000, VMPL0 /,
    nearMiss(asm) {
      pvalidate(asm, PAGE, 0)
      pvalidate(asm, PAGE, 1)
      access(asm, PAGE + 0x18)
      end(asm)
    },
  },
  'snp-load-past-end': {
    code: loadAt(PAGE + 4093, false), gva: PAGE + 4096, gpa: PAGE + 4096, entry: /^guest-invalid, 4K, asid 1, gpa 0x2001000, /,
    nearMiss: loadAt(PAGE + 4088, false),
  },
  'snp-double-validation': {
    code(asm) {
      validateHere(asm)
      end(asm)
    },
    gva: PAGE, gpa: PAGE, entry: /^guest-valid, 4K, asid 1, gpa 0x2000000, /,
    nearMiss(asm) {
      pvalidate(asm, PAGE, 0)
      pvalidate(asm, PAGE, 1)
      end(asm)
    },
  },
  'snp-shared-as-private': {
    code(asm) {
      share(asm)
      access(asm, PAGE + 8, 'store')
      end(asm)
    },
    gva: PAGE + 8, gpa: PAGE + 8, entry: /^hypervisor, 4K$/,
    nearMiss(asm) {
      share(asm)
      unshare(asm)
      access(asm, PAGE + 8, 'store')
      end(asm)
    },
  },
  'snp-private-as-shared': {
    code(asm) {
      access(asm, GHCB_SHARED, 'store')
      end(asm)
    },
    gva: GHCB_SHARED, entry: /^guest-valid, 4K, asid 1/,
    nearMiss(asm) {
      findGhcb(asm)
      asm.store(rbx, 0, rax)
      openGhcb(asm)
      access(asm, GHCB_SHARED, 'store')
      end(asm)
    },
  },
  'snp-shared-while-validated': {
    code: ask(pageState(PAGE, PscOperation.SHARED)), gpa: PAGE, entry: /^guest-valid, 4K, asid 1, gpa 0x2000000/,
    nearMiss(asm) {
      share(asm)
      end(asm)
    },
  },
  'snp-replaced-page': {
    code: validates, options: attacked, instructions: 4e5, entry: /^guest-valid, 4K, asid 1/,
    nearMiss: validates, nearOptions: large,
  },
  'snp-psc-unchecked': { code: changeList(false), gva: LAST, gpa: LAST, entry: /^guest-valid, 4K, asid 1, gpa 0x2040000/, nearMiss: changeList(true) },
  'snp-ghcb-private': {
    code(asm) {
      asm.set(rbx, PAGE)
      exitThrough(asm)
      asm.label('after')
      end(asm)
    },
    gpa: PAGE, entry: /^guest-valid/,
    nearMiss: askVersion(2),
  },
  'snp-ghcb-unregistered': {
    code(asm) {
      share(asm)
      asm.set(rbx, PAGE)
      exitThrough(asm)
      asm.label('after')
      end(asm)
    },
    gpa: PAGE, entry: /^hypervisor, 4K$/,
    nearMiss: askVersion(2),
  },
  'snp-ghcb-malformed': { code: askVersion(7), entry: /^hypervisor, 4K$/, nearMiss: askVersion(2) },
  'snp-ghcb-exposed-register': { code: askFeatures(0x5ecen), entry: /^hypervisor, 4K$/, nearMiss: askFeatures(0n) },
  'snp-msr-undefined-bits': {
    code: ask(1n << 12n | BigInt(GhcbMsr.SEV_INFO_REQ)), entry: null, nearMiss: ask(BigInt(GhcbMsr.SEV_INFO_REQ)),
  },
  'snp-cpuid-outside-table': {
    code: ask(0x4000_0010n << 32n | BigInt(GhcbMsr.CPUID_REQ)), entry: null,
    nearMiss: ask(0x8000_001fn << 32n | BigInt(GhcbMsr.CPUID_REQ)),
  },
  'snp-pvalidate-vmpl': {
    code: validateHere,
    options: svsm, vmpl: 2, gva: PAGE, entry: null,
    nearMiss: callPvalidate(0n), nearOptions: svsm,
  },
  'snp-vmpl-access': {
    code: readAt(SVSM), options: svsm, vmpl: 2, gva: LINEAR, gpa: SVSM, entry: /^guest-valid, \d., asid 1, gpa 0x8000000000, VMPL0 [a-zA-Z ]*$/,
    more: ['snp-no-progress'],
    nearMiss: readAt(0), nearOptions: svsm,
  },
  'snp-vmsa-touched': {
    code: touchVmsa(false), options: { vcpus: 2 }, gva: VMSA + 0x10, gpa: VMSA + 0x10,
    entry: /^guest-valid, 4K, asid 1, gpa 0x2001000, vmsa, in use, /, more: ['snp-no-progress'],
    nearMiss: touchVmsa(true), nearOptions: { vcpus: 2 },
  },
  'snp-unevicted-page': {
    code: useValidated([]), options: { errata: ['coherency'] }, gpa: PAGE + 0x100, entry: /^guest-valid, 4K, asid 1, gpa 0x2000000/,
    nearMiss: useValidated([0, 0xff8]), nearOptions: { errata: ['coherency'] },
  },
  'snp-unaccepted-table': {
    code: writeTable([0, 0xf0]), gpa: unacceptedTable() + LinuxUnacceptedMemory.size, entry: /^guest-valid, /,
    nearMiss: writeTable([0, 0]),
  },
  'snp-no-progress': {
    code: changeTwice, options: { hostile: [{ mode: 'lie-psc', at: 1e6 }] }, gpa: PAGE, entry: /^hypervisor, 4K$/,
    nearMiss: changeTwice,
  },
  'startup-absolute-reference': {
    code(asm) {
      asm.set(rbx, 0xffff_ffff_8100_0000n)
      asm.label('here')
      asm.load(rax, rbx)
    },
    gva: 0xffff_ffff_8100_0000, entry: null,
    // Ends in the same way, and is another mistake.
    nearMiss(asm) {
      asm.set(rbx, 0x7000_0000_0000n)
      asm.load(rax, rbx)
    },
  },
  'svsm-reserved-field': {
    code: callPvalidate(0x10n), options: svsm, vmpl: 2, entry: null, nearMiss: callPvalidate(0n), nearOptions: svsm,
  },
}

