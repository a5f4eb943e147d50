/** What VMRUN and #VMEXIT swap, and what VMLOAD and VMSAVE move (APM vol. 2, §15.5, §15.6, table B-2). */
import type { Views } from '../cpu.ts'
import type { EngineCpu } from '../engine/cpu-services.ts'
import {
  CPL, CR0, CR2, CR3, CR4, CS, DR, DS, EFER, ES, FS, GDTR, GPR, GS, IDTR, LDTR, MSR_CSTAR, MSR_KERNEL_GS_BASE,
  MSR_LSTAR,
  MSR_PAT, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, SEG, SEG_BASE, SEG_SIZE, SS, TR,
} from '../state.ts'
import { CR0_BITS, FLAG } from '../system/bits.ts'
import { read64, SAVE, write64 } from './vmcb.ts'

const RAX = GPR
const RSP = GPR + 4 * 8
const DR6 = DR + 6 * 8
const DR7 = DR + 7 * 8
/** Flags that a load replaces: all that a processor has. */
const ALL_FLAGS = 0x3f_7fd5

const RUN_SEGMENTS = [[SAVE.es, ES], [SAVE.cs, CS], [SAVE.ss, SS], [SAVE.ds, DS]] as const
const TABLES = [[SAVE.gdtr, GDTR], [SAVE.idtr, IDTR]] as const
const EXTRA_SEGMENTS = [[SAVE.fs, FS], [SAVE.gs, GS], [SAVE.ldtr, LDTR], [SAVE.tr, TR]] as const
const EXTRA_REGISTERS = [
  [SAVE.star, MSR_STAR], [SAVE.lstar, MSR_LSTAR], [SAVE.cstar, MSR_CSTAR], [SAVE.sfmask, MSR_SFMASK],
  [SAVE.kernelGsBase, MSR_KERNEL_GS_BASE], [SAVE.sysenterCs, MSR_SYSENTER_CS], [SAVE.sysenterEsp, MSR_SYSENTER_ESP],
  [SAVE.sysenterEip, MSR_SYSENTER_EIP],
] as const
const CONTROL_REGISTERS = [[SAVE.efer, EFER], [SAVE.cr0, CR0], [SAVE.cr3, CR3], [SAVE.cr4, CR4]] as const

/** VMRUN and #VMEXIT sign-extend bases to bit 63 (APM vol. 2, §15.5.1). */
const canonical = (views: Views, at: number): bigint =>
  BigInt.asIntN((views.u32[CR4 >>> 2] & 0x1000) !== 0 ? 57 : 48, read64(views, at))

/** Segment records are the same here and there; only the base is sign-extended. */
function loadSegment(views: Views, from: number, segment: number): void {
  const to = SEG + segment * SEG_SIZE
  views.u8.copyWithin(to, from, from + SEG_BASE)
  // Bits above the twelve that exist are nobody's.
  views.u16[(to + 2) >>> 1] &= 0xfff
  views.i64[(to + SEG_BASE) >>> 3] = canonical(views, from + SEG_BASE)
}

const saveSegment = (views: Views, to: number, segment: number): void => {
  const from = SEG + segment * SEG_SIZE
  views.u8.copyWithin(to, from, from + SEG_SIZE)
}

function loadTable(views: Views, from: number, register: number): void {
  views.u32[register >>> 2] = views.u32[(from + 4) >>> 2] & 0xffff
  views.i64[(register + 8) >>> 3] = canonical(views, from + SEG_BASE)
}

function saveTable(views: Views, to: number, register: number): void {
  views.u32[to >>> 2] = 0
  views.u32[(to + 4) >>> 2] = views.u32[register >>> 2]
  views.u64[(to + SEG_BASE) >>> 3] = views.u64[(register + 8) >>> 3]
}

/** What VMRUN loads of a guest and of #VMEXIT's host alike. `at` is where the save area begins. */
function loadCommon(cpu: EngineCpu, at: number): void {
  const { views } = cpu
  // CR4 first: it says how wide canonical addresses are.
  for (const [offset, register] of CONTROL_REGISTERS) views.u64[register >>> 3] = read64(views, at + offset)
  for (const [offset, segment] of RUN_SEGMENTS) loadSegment(views, at + offset, segment)
  for (const [offset, register] of TABLES) loadTable(views, at + offset, register)
  views.u64[RSP >>> 3] = read64(views, at + SAVE.rsp)
  views.u64[RAX >>> 3] = read64(views, at + SAVE.rax)
}

function saveCommon(cpu: EngineCpu, at: number): void {
  const { views } = cpu
  for (const [offset, segment] of RUN_SEGMENTS) saveSegment(views, at + offset, segment)
  for (const [offset, register] of TABLES) saveTable(views, at + offset, register)
  for (const [offset, register] of CONTROL_REGISTERS) write64(views, at + offset, views.u64[register >>> 3])
  write64(views, at + SAVE.rflags, BigInt(cpu.getFlags() >>> 0))
  write64(views, at + SAVE.rsp, views.u64[RSP >>> 3])
  write64(views, at + SAVE.rax, views.u64[RAX >>> 3])
}

/** Loads the guest that the save area at `at` describes, but for RIP, which is the answer. */
export function loadGuest(cpu: EngineCpu, at: number, pat: boolean): bigint {
  const { views } = cpu
  loadCommon(cpu, at)
  views.u64[CR2 >>> 3] = read64(views, at + SAVE.cr2)
  views.u64[DR6 >>> 3] = read64(views, at + SAVE.dr6)
  views.u64[DR7 >>> 3] = read64(views, at + SAVE.dr7)
  if (pat) views.u64[MSR_PAT >>> 3] = read64(views, at + SAVE.gPat)
  // Real mode runs at CPL 0 (APM vol. 2, §15.5.1).
  views.u32[CPL >>> 2] = (views.u32[CR0 >>> 2] & CR0_BITS.PE) === 0 ? 0 : views.u8[at + SAVE.cpl] & 3
  cpu.setFlags(Number(read64(views, at + SAVE.rflags) & 0xffff_ffffn), ALL_FLAGS)
  return read64(views, at + SAVE.rip)
}

/** Saves the guest that runs, with `rip`. */
export function saveGuest(cpu: EngineCpu, at: number, rip: bigint, pat: boolean): void {
  const { views } = cpu
  saveCommon(cpu, at)
  write64(views, at + SAVE.rip, rip)
  write64(views, at + SAVE.cr2, views.u64[CR2 >>> 3])
  write64(views, at + SAVE.dr6, views.u64[DR6 >>> 3])
  write64(views, at + SAVE.dr7, views.u64[DR7 >>> 3])
  if (pat) write64(views, at + SAVE.gPat, views.u64[MSR_PAT >>> 3])
  views.u8[at + SAVE.cpl] = views.u32[CPL >>> 2]
}

/** Saves the host that executes VMRUN; execution goes on at `rip` after #VMEXIT. */
export function saveHost(cpu: EngineCpu, at: number, rip: bigint): void {
  saveCommon(cpu, at)
  write64(cpu.views, at + SAVE.rip, rip)
}

/** Loads the host again and answers its RIP: CPL 0, PE set, VM clear, no breakpoints (APM vol. 2, §15.6). */
export function loadHost(cpu: EngineCpu, at: number): bigint {
  const { views } = cpu
  loadCommon(cpu, at)
  views.u64[CR0 >>> 3] |= BigInt(CR0_BITS.PE)
  views.u64[DR7 >>> 3] = 0x400n
  views.u32[CPL >>> 2] = 0
  cpu.setFlags(Number(read64(views, at + SAVE.rflags) & 0xffff_ffffn) & ~FLAG.VM, ALL_FLAGS)
  return read64(views, at + SAVE.rip)
}

/** VMLOAD. */
export function loadExtra(views: Views, at: number): void {
  for (const [offset, segment] of EXTRA_SEGMENTS) loadSegment(views, at + offset, segment)
  for (const [offset, register] of EXTRA_REGISTERS) views.u64[register >>> 3] = read64(views, at + offset)
}

/** VMSAVE. */
export function saveExtra(views: Views, at: number): void {
  for (const [offset, segment] of EXTRA_SEGMENTS) saveSegment(views, at + offset, segment)
  for (const [offset, register] of EXTRA_REGISTERS) write64(views, at + offset, views.u64[register >>> 3])
}
