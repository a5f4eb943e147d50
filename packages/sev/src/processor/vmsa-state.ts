/** State that SEV-ES swaps beside what the plain save area has (APM vol. 2, table B-4): offsets in a VMSA. */
import { Vmsa } from '@cofferdam/spec'
import type { MemoryViews } from '@cofferdam/memory'
import type { EngineCpu } from '@cofferdam/x86'
import { loadExtra, loadGuest, saveExtra, saveGuest, state } from '@cofferdam/x86'

const V = Vmsa.offset
const { GPR } = state

/** Registers by their number; RAX and RSP are in the plain part. */
const GENERAL = [
  [V.rcx, 1], [V.rdx, 2], [V.rbx, 3], [V.rbp, 5], [V.rsi, 6], [V.rdi, 7], [V.r8, 8], [V.r9, 9], [V.r10, 10],
  [V.r11, 11], [V.r12, 12], [V.r13, 13], [V.r14, 14], [V.r15, 15],
] as const
const QWORDS = [[V.xss, state.XSS], [V.xcr0, state.XCR0]] as const
const DEBUG = [[V.dr0, 0], [V.dr1, 1], [V.dr2, 2], [V.dr3, 3]] as const

const X87_WORDS = [
  [V.x87Fsw, state.FSW], [V.x87Fcw, state.FCW], [V.x87Fop, state.FOP], [V.x87Ds, state.FDS], [V.x87Cs, state.FCS],
] as const

/** Fields that VMSA register protection obfuscates: the general registers. */
const PROTECTED = [V.rax, V.rsp, ...GENERAL.map(([offset]) => offset)]

/** Copies eight bytes; as words, because BigInts would be made for each. */
function copy64(views: MemoryViews, to: number, from: number): void {
  const { i32 } = views
  i32[to >>> 2] = i32[from >>> 2]
  i32[(to >>> 2) + 1] = i32[(from >>> 2) + 1]
}

/** Sets a 64-bit register to 32 bits. */
function set32(views: MemoryViews, to: number, value: number): void {
  views.u32[to >>> 2] = value
  views.u32[(to >>> 2) + 1] = 0
}

const read16 = (views: MemoryViews, at: number): number => views.u16[at >>> 1]

/** The tag word as x87 has it (two bits a register, 11 empty) from one bit a register (1: valid), and back. */
function fullTags(views: MemoryViews): number {
  let tags = 0
  for (let n = 0; n < 8; n++) {
    const valid = ((views.u32[state.FTW >>> 2] >>> n) & 1) !== 0
    tags |= (valid ? tagOf(views, n) : 3) << (2 * n)
  }
  return tags
}

/** 0 valid, 1 zero, 2 special (SDM vol. 1, §8.1.7). */
function tagOf(views: MemoryViews, n: number): number {
  const at = state.FPR + 16 * n
  const high = views.i32[(at >>> 2) + 1]
  const exponent = read16(views, at + 8) & 0x7fff
  if (exponent === 0 && (views.i32[at >>> 2] | high) === 0) return 1
  return exponent === 0 || exponent === 0x7fff || high >= 0 ? 2 : 0
}

function abridgedTags(tags: number): number {
  let valid = 0
  for (let n = 0; n < 8; n++) if (((tags >>> (2 * n)) & 3) !== 3) valid |= 1 << n
  return valid
}

const topOf = (views: MemoryViews): number => (views.u32[state.FSW >>> 2] >>> 11) & 7

function loadFloating(views: MemoryViews, at: number): void {
  const { u8, u32 } = views
  copy64(views, state.FDP, at + V.x87Dp)
  u32[state.MXCSR >>> 2] = u32[(at + V.mxcsr) >>> 2] & 0xffff
  u32[state.FTW >>> 2] = abridgedTags(read16(views, at + V.x87Ftw))
  u32[state.FSW >>> 2] = read16(views, at + V.x87Fsw)
  u32[state.FCW >>> 2] = read16(views, at + V.x87Fcw)
  u32[state.FOP >>> 2] = read16(views, at + V.x87Fop) & 0x7ff
  u32[state.FDS >>> 2] = read16(views, at + V.x87Ds)
  u32[state.FCS >>> 2] = read16(views, at + V.x87Cs)
  copy64(views, state.FIP, at + V.x87Rip)
  // Stack order: ST(0) first.
  const top = topOf(views)
  for (let i = 0; i < 8; i++) {
    const to = state.FPR + 16 * ((top + i) & 7)
    u8.fill(0, to, to + 16)
    u8.copyWithin(to, at + V.fpregX87 + 10 * i, at + V.fpregX87 + 10 * i + 10)
  }
  u8.copyWithin(state.XMM, at + V.fpregXmm, at + V.fpregXmm + 256)
  u8.copyWithin(state.YMMH, at + V.fpregYmm, at + V.fpregYmm + 256)
}

function saveFloating(views: MemoryViews, at: number): void {
  const { u8, u16, u32 } = views
  copy64(views, at + V.x87Dp, state.FDP)
  u32[(at + V.mxcsr) >>> 2] = u32[state.MXCSR >>> 2]
  u16[(at + V.x87Ftw) >>> 1] = fullTags(views)
  for (const [offset, from] of X87_WORDS) u16[(at + offset) >>> 1] = u32[from >>> 2]
  copy64(views, at + V.x87Rip, state.FIP)
  const top = topOf(views)
  for (let i = 0; i < 8; i++) {
    const from = state.FPR + 16 * ((top + i) & 7)
    u8.copyWithin(at + V.fpregX87 + 10 * i, from, from + 10)
  }
  u8.copyWithin(at + V.fpregXmm, state.XMM, state.XMM + 256)
  u8.copyWithin(at + V.fpregYmm, state.YMMH, state.YMMH + 256)
}

/** Turns the protected registers round with the nonce: the same to hide and to show. */
export function obfuscate(views: MemoryViews, at: number, nonce: bigint): void {
  for (const offset of PROTECTED) views.u64[(at + offset) >>> 3] ^= nonce
}

/** Type B state but for segments and system-call registers: also what the host gets back. */
function loadB(views: MemoryViews, at: number, debug: boolean): void {
  for (const [offset, n] of GENERAL) copy64(views, GPR + 8 * n, at + offset)
  for (const [offset, to] of QWORDS) copy64(views, to, at + offset)
  set32(views, state.PKRU, views.u32[(at + V.pkru) >>> 2])
  set32(views, state.MSR_TSC_AUX, views.u32[(at + V.tscAux) >>> 2])
  if (debug) for (const [offset, n] of DEBUG) copy64(views, state.DR + 8 * n, at + offset)
}

/** Loads a guest from its VMSA at `at`, a byte offset in the WebAssembly memory; answers RIP. */
export function loadVmsa(cpu: EngineCpu, at: number, debug: boolean): bigint {
  const { views } = cpu
  const rip = loadGuest(cpu, at, true)
  loadExtra(views, at)
  loadB(views, at, debug)
  loadFloating(views, at)
  return rip
}

/** Saves the guest that runs to its VMSA. */
export function saveVmsa(cpu: EngineCpu, at: number, rip: bigint, debug: boolean): void {
  const { views } = cpu
  saveGuest(cpu, at, rip, true)
  saveExtra(views, at)
  for (const [offset, n] of GENERAL) copy64(views, at + offset, GPR + 8 * n)
  for (const [offset, from] of QWORDS) copy64(views, at + offset, from)
  views.u32[(at + V.pkru) >>> 2] = views.u32[state.PKRU >>> 2]
  views.u32[(at + V.tscAux) >>> 2] = views.u32[state.MSR_TSC_AUX >>> 2]
  if (debug) for (const [offset, n] of DEBUG) copy64(views, at + offset, state.DR + 8 * n)
  saveFloating(views, at)
}

const MXCSR_RESET = 0x1f80
const FCW_RESET = 0x40
const CLEARED = [
  state.FSW, state.FTW, state.FOP, state.FCS, state.FDS, state.FIP, state.FIP + 4, state.FDP, state.FDP + 4, state.CR2,
  state.CR2 + 4,
] as const

/** Type C state: what the host finds is what reset leaves, whatever the guest had. */
export function resetC(views: MemoryViews): void {
  const { u8, u32 } = views
  for (const at of CLEARED) u32[at >>> 2] = 0
  u32[state.FCW >>> 2] = FCW_RESET
  u32[state.MXCSR >>> 2] = MXCSR_RESET
  u8.fill(0, state.FPR, state.FPR + 128)
  u8.fill(0, state.XMM, state.XMM + 256)
  u8.fill(0, state.YMMH, state.YMMH + 256)
  set32(views, state.DR + 6 * 8, 0xffff_0ff0)
  set32(views, state.DR + 7 * 8, 0x400)
}

/** Gives the host its type B state back from its save area (the format of a VMSA), which it wrote itself. */
export function loadHostB(cpu: EngineCpu, at: number, debug: boolean): void {
  loadExtra(cpu.views, at)
  loadB(cpu.views, at, debug)
}

/** Wipes a guest's registers where there is no host to have others: a program in TypeScript. */
export function wipe(views: MemoryViews): void {
  views.u8.fill(0, GPR, GPR + 128)
}
