/** What VMRUN and #VMEXIT swap, and what VMLOAD and VMSAVE move (APM vol. 2, §15.5, §15.6, table B-2). */
import type { MemoryViews } from '@cofferdam/memory'
import type { EngineCpu } from '../engine/cpu-services.ts'
import {
  CPL, CR0, CR2, CR3, CR4, CS, DR, DS, EFER, ES, FS, GDTR, GPR, GS, IDTR, LDTR, MSR_CSTAR, MSR_KERNEL_GS_BASE,
  MSR_LSTAR,
  MSR_PAT, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, SEG, SEG_BASE, SEG_SIZE, SS, TR,
} from '../state.ts'
import { CR0_BITS, DR7_BITS, FLAG } from '../system/bits.ts'
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

/** Copies eight bytes; as words, because BigInts would be made for each. */
function copy64(views: MemoryViews, to: number, from: number): void {
  const { i32 } = views
  i32[to >>> 2] = i32[from >>> 2]
  i32[(to >>> 2) + 1] = i32[(from >>> 2) + 1]
}

/** Copies an address; VMRUN and #VMEXIT sign-extend bases to bit 63 (APM vol. 2, §15.5.1). */
function copyBase(views: MemoryViews, to: number, from: number): void {
  const { i32 } = views
  const unused = (i32[CR4 >>> 2] & 0x1000) !== 0 ? 7 : 16
  i32[to >>> 2] = i32[from >>> 2]
  i32[(to >>> 2) + 1] = (i32[(from >>> 2) + 1] << unused) >> unused
}

/** Segment records are the same here and there; only the base is sign-extended. */
function loadSegment(views: MemoryViews, from: number, segment: number): void {
  const to = SEG + segment * SEG_SIZE
  copy64(views, to, from)
  // Bits above the twelve that exist are nobody's.
  views.u16[(to + 2) >>> 1] &= 0xfff
  copyBase(views, to + SEG_BASE, from + SEG_BASE)
}

function saveSegment(views: MemoryViews, to: number, segment: number): void {
  const from = SEG + segment * SEG_SIZE
  copy64(views, to, from)
  copy64(views, to + SEG_BASE, from + SEG_BASE)
}

function loadTable(views: MemoryViews, from: number, register: number): void {
  views.u32[register >>> 2] = views.u32[(from + 4) >>> 2] & 0xffff
  copyBase(views, register + 8, from + SEG_BASE)
}

function saveTable(views: MemoryViews, to: number, register: number): void {
  views.u32[to >>> 2] = 0
  views.u32[(to + 4) >>> 2] = views.u32[register >>> 2]
  copy64(views, to + SEG_BASE, register + 8)
}

/** What VMRUN loads of a guest and of #VMEXIT's host alike. `at` is where the save area begins. */
function loadCommon(cpu: EngineCpu, at: number): void {
  const { views } = cpu
  // CR4 first: it says how wide canonical addresses are.
  for (const [offset, register] of CONTROL_REGISTERS) copy64(views, register, at + offset)
  for (const [offset, segment] of RUN_SEGMENTS) loadSegment(views, at + offset, segment)
  for (const [offset, register] of TABLES) loadTable(views, at + offset, register)
  copy64(views, RSP, at + SAVE.rsp)
  copy64(views, RAX, at + SAVE.rax)
}

function saveCommon(cpu: EngineCpu, at: number): void {
  const { views } = cpu
  for (const [offset, segment] of RUN_SEGMENTS) saveSegment(views, at + offset, segment)
  for (const [offset, register] of TABLES) saveTable(views, at + offset, register)
  for (const [offset, register] of CONTROL_REGISTERS) copy64(views, at + offset, register)
  views.u32[(at + SAVE.rflags) >>> 2] = cpu.getFlags()
  views.u32[(at + SAVE.rflags + 4) >>> 2] = 0
  copy64(views, at + SAVE.rsp, RSP)
  copy64(views, at + SAVE.rax, RAX)
}

/** Loads the guest that the save area at `at` describes, but for RIP, which is the answer. */
export function loadGuest(cpu: EngineCpu, at: number, pat: boolean): bigint {
  const { views } = cpu
  loadCommon(cpu, at)
  copy64(views, CR2, at + SAVE.cr2)
  copy64(views, DR6, at + SAVE.dr6)
  copy64(views, DR7, at + SAVE.dr7)
  if (pat) copy64(views, MSR_PAT, at + SAVE.gPat)
  // Real mode runs at CPL 0 (APM vol. 2, §15.5.1).
  views.u32[CPL >>> 2] = (views.u32[CR0 >>> 2] & CR0_BITS.PE) === 0 ? 0 : views.u8[at + SAVE.cpl] & 3
  cpu.setFlags(views.i32[(at + SAVE.rflags) >>> 2], ALL_FLAGS)
  return read64(views, at + SAVE.rip)
}

/** Saves the guest that runs, with `rip`. */
export function saveGuest(cpu: EngineCpu, at: number, rip: bigint, pat: boolean): void {
  const { views } = cpu
  saveCommon(cpu, at)
  write64(views, at + SAVE.rip, rip)
  copy64(views, at + SAVE.cr2, CR2)
  copy64(views, at + SAVE.dr6, DR6)
  copy64(views, at + SAVE.dr7, DR7)
  if (pat) copy64(views, at + SAVE.gPat, MSR_PAT)
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
  views.u64[DR7 >>> 3] = BigInt(DR7_BITS.FIXED1)
  views.u32[CPL >>> 2] = 0
  cpu.setFlags(views.i32[(at + SAVE.rflags) >>> 2] & ~FLAG.VM, ALL_FLAGS)
  return read64(views, at + SAVE.rip)
}

/** VMLOAD. */
export function loadExtra(views: MemoryViews, at: number): void {
  for (const [offset, segment] of EXTRA_SEGMENTS) loadSegment(views, at + offset, segment)
  for (const [offset, register] of EXTRA_REGISTERS) copy64(views, register, at + offset)
}

/** VMSAVE. */
export function saveExtra(views: MemoryViews, at: number): void {
  for (const [offset, segment] of EXTRA_SEGMENTS) saveSegment(views, at + offset, segment)
  for (const [offset, register] of EXTRA_REGISTERS) copy64(views, at + offset, register)
}
