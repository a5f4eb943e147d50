/**
 * Branches of 64-bit mode, and the flag instructions that kernels run all the time. Other modes: `meanings-legacy.ts`.
 */
import { add, and, eqz, extendU, i32, i64, ne, or, shrU, sub, wrap } from '../wasm/expr.ts'
import { CPL, CR4, MSR_TSC_AUX, SYSFLAGS, TSC_OFFSET } from '../state.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { STATUS_FLAGS, truncate } from './flags.ts'

const RCX = 1
const RSP = 4

const pushReturn = (b: Builder): void => {
  const sp = b.let(sub(b.gpr(RSP, 8), i64(8)))
  b.store(8, sp, b.returnAddress())
  b.setGpr(RSP, sp, 8)
}

const call: WasmMeaning = (b) => {
  if (b.form.kinds[0] === 7) {
    pushReturn(b)
    b.jump()
    return
  }
  b.jumpIndirect(b.get(0, 8), () => { pushReturn(b) })
}

const jump: WasmMeaning = (b) => {
  if (b.form.kinds[0] === 7) b.jump()
  else b.jumpIndirect(b.get(0, 8))
}

/** RET; the immediate is how many bytes of parameters to drop. */
const ret: WasmMeaning = (b) => {
  const sp = b.let(b.gpr(RSP, 8))
  const target = b.load(8, sp)
  const after = add(sp, i64(8))
  b.jumpIndirect(target, () => { b.setGpr(RSP, b.form.kinds[0] === 0 ? after : add(after, b.get(0, 8)), 8) })
}

/** The immediate of the form is the width of the counter: the address size. */
const loop = (zf: number | null): WasmMeaning => (b) => {
  const size = b.immediate()
  const one = size === 8 ? i64(1) : i32(1)
  const counter = b.let(truncate(size, sub(b.gpr(RCX, size), one)))
  b.setGpr(RCX, counter, size)
  const more = ne(counter, size === 8 ? i64(0) : i32(0))
  b.branch(zf === null ? more : and(more, zf === 1 ? b.condition(4) : b.condition(5)))
}
const jcxz: WasmMeaning = (b) => {
  b.branch(eqz(b.gpr(RCX, b.immediate())))
}

/** IOPL below CPL: what then happens is the host's to say. */
const needIopl = (b: Builder): void => {
  b.hostIf(ne(b.state32(CPL), i32(0)))
}

const IF = 0x200
/** What POPFQ at CPL 0 takes from the stack besides the status flags: DF, IF, IOPL, NT, AC, ID. TF goes to the host. */
const POPF_TAKES = 0x24_7600
const TF = 0x100
const VM_VIF_VIP = 0x1a_0000

const pushf: WasmMeaning = (b) => {
  const image = b.let(or(b.flagImage(), b.state32(SYSFLAGS)))
  const sp = b.let(sub(b.gpr(RSP, 8), i64(8)))
  // RF and VM are pushed as 0.
  b.store(8, sp, extendU(and(image, i32(~0x3_0000))))
  b.setGpr(RSP, sp, 8)
}

const AC = 0x4_0000
const popf: WasmMeaning = (b) => {
  needIopl(b)
  const sp = b.let(b.gpr(RSP, 8))
  const v = b.let(wrap(b.load(8, sp)))
  const before = b.let(b.state32(SYSFLAGS))
  // A change of AC changes which TLB serves; single-step starts with the next instruction: both are for the host.
  b.hostIf(and(or(and(v, i32(TF | VM_VIF_VIP)), and(or(v, before), i32(TF | AC))), i32(TF | VM_VIF_VIP | AC)))
  b.setGpr(RSP, add(sp, i64(8)), 8)
  b.setState32(SYSFLAGS, or(and(before, i32(~POPF_TAKES)), and(v, i32(POPF_TAKES))))
  b.imageFlags(and(v, i32(STATUS_FLAGS)))
  b.f.if(and(v, i32(IF)), () => { b.checkEvents() })
}

const cli: WasmMeaning = (b) => {
  needIopl(b)
  b.setState32(SYSFLAGS, and(b.state32(SYSFLAGS), i32(~IF)))
}

const sti: WasmMeaning = (b) => {
  needIopl(b)
  const before = b.let(b.state32(SYSFLAGS))
  b.setState32(SYSFLAGS, or(before, i32(IF)))
  // The instruction after STI runs before any interrupt, if IF was clear. (Where STI ends a block the host runs it.)
  b.checkEvents(eqz(and(before, i32(IF))))
}

const TSD = 4
const rdtsc = (withAux: boolean): WasmMeaning => (b) => {
  // CR4.TSD keeps others than CPL 0 away: the host says how.
  b.hostIf(and(and(b.state32(CR4), i32(TSD)), b.state32(CPL)))
  const time = b.timestamp()
  if (time === null) {
    b.hostIf(i32(1))
    return
  }
  const value = b.let(add(time, b.state64(TSC_OFFSET)))
  b.setGpr(0, wrap(value), 4)
  b.setGpr(2, wrap(shrU(value, i64(32))), 4)
  if (withAux) b.setGpr(RCX, b.state32(MSR_TSC_AUX), 4)
}

export const controlMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ['jcc', (b) => { b.branch(b.condition(b.form.cc)) }],
  ['jmp', jump],
  ['call', call],
  ['ret', ret],
  ['loop', loop(null)],
  ['loope', loop(1)],
  ['loopne', loop(0)],
  ['jcxz', jcxz],
  ['rdtsc', rdtsc(false)],
  ['rdtscp', rdtsc(true)],
  ['pushf', pushf],
  ['popf', popf],
  ['cli', cli],
  ['sti', sti],
]

