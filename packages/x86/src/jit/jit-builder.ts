/**
 * The builder that writes compiled code: operands are known, general registers and lazy flags live in WebAssembly
 * locals. What it can't do in place (a TLB miss, the host's work) leaves for the instruction's micro-op, where the
 * interpreter goes on; that is always possible, because nothing of the instruction has happened yet.
 */
import {
  I64, add, and, eq, eqz, extendU, i32, i64, load128, load32, load64, loadSized, local, ne, or, select, shl, shrS, shrU,
  typeOf, v128,
  wrap, xor,
} from '../wasm/expr.ts'
import type { Expr, ValueType } from '../wasm/expr.ts'
import type { WasmFunction } from '../wasm/function.ts'
import type { Insn } from '../insn.ts'
import { IMM, MEM, REG, REG_HIGH, XMM_REG } from '../insn.ts'
import { MODE_SALT, SEG, SEG_BASE, SEG_SIZE, XMM, YMMH } from '../state.ts'
import type { Builder } from '../engine/builder.ts'
import { KIND, ccOp, condition, flagImage } from '../engine/flags.ts'
import type { FlagSource } from '../engine/flags.ts'
import type { Form } from '../engine/form.ts'
import { JUMP_CACHE_ENTRIES, TLB_ENTRIES, TLB_WRITE, UOP } from '../engine/uop.ts'

const none = i32(0)

/** One instruction as the JIT sees it. */
export interface JitInsn {
  readonly insn: Insn
  readonly form: Form
  /** Its micro-op: where the interpreter goes on when compiled code leaves. */
  readonly uop: number
  /** RIP of the next instruction. */
  readonly nextRip: bigint
}

/** What surrounds the instruction: the region's function. */
export interface JitContext {
  readonly f: WasmFunction
  /** Local of a general register; `written` makes the exit store it. */
  register(number: number, written: boolean): number
  /** Locals of CC_A, CC_B (i64) and CC_OP (i32). */
  readonly flags: { readonly a: number; readonly b: number; readonly op: number }
  readonly tlb: Expr
  readonly jumpCache: number
  /** Leaves for a micro-op (even) or a block header (odd). */
  exit(target: Expr): void
  /** Goes to where the block's branch leads. */
  jump(insn: JitInsn): void
  branch(insn: JitInsn, condition: Expr): void
  /** Compares with likely targets inside the region first. */
  likelyTargets(insn: JitInsn, target: Expr): void
  /** Evaluates a condition of flags whose kind is not known: an imported-free function of the module. */
  genericCondition(cc: number): Expr
  genericImage(): Expr
  /** Where to go when the jump cache does not know `target`: RIP is stored, and the answer looks it up. */
  missedJump(target: Expr): Expr
}

export class JitBuilder implements Builder {
  readonly f: WasmFunction
  form: Form
  private at: JitInsn
  private readonly context: JitContext
  /** What is known of the flags at this point of the block. */
  source: FlagSource | null = null
  ended = false
  private vectorHost: Expr | null = null

  constructor(context: JitContext, first: JitInsn) {
    this.context = context
    this.f = context.f
    this.at = first
    this.form = first.form
  }

  begin(at: JitInsn): void {
    this.at = at
    this.form = at.form
    this.vectorHost = null
  }

  let(e: Expr): Expr {
    return this.f.let(e)
  }

  private kind(slot: number): number {
    const { insn } = this.at
    return slot === 0 ? insn.kind0 : slot === 1 ? insn.kind1 : slot === 2 ? insn.kind2 : insn.kind3
  }

  private number(slot: number): number {
    const { insn } = this.at
    return slot === 0 ? insn.reg0 : slot === 1 ? insn.reg1 : slot === 2 ? insn.reg2 : insn.reg3
  }

  private readRegister(number: number, size: number, high: boolean): Expr {
    const whole = local(this.context.register(number, false), I64)
    if (size === 8) return whole
    const low = wrap(whole)
    if (size === 4) return low
    if (size === 2) return and(low, i32(0xffff))
    return high ? and(shrU(low, i32(8)), i32(0xff)) : and(low, i32(0xff))
  }

  private writeRegister(number: number, value: Expr, size: number, high: boolean): void {
    const index = this.context.register(number, true)
    const whole = local(index, I64)
    if (size === 8) this.f.set(index, value)
    else if (size === 4) this.f.set(index, extendU(value))
    else if (size === 2) this.f.set(index, or(and(whole, i64(-65536)), extendU(and(value, i32(0xffff)))))
    else if (high) this.f.set(index, or(and(whole, i64(-65281)), shl(extendU(and(value, i32(0xff))), i64(8))))
    else this.f.set(index, or(and(whole, i64(-256)), extendU(and(value, i32(0xff)))))
  }

  get(slot: number, size = this.form.size): Expr {
    const kind = this.kind(slot)
    if (kind === REG || kind === REG_HIGH) return this.readRegister(this.number(slot), size, kind === REG_HIGH)
    if (kind === MEM) return this.load(size, this.address())
    if (kind !== IMM) throw new Error(`${this.form.op}: operand ${slot} has no scalar value`)
    const { immLo, immHi } = this.at.insn
    if (size === 8) return i64((BigInt(immHi) << 32n) | BigInt(immLo >>> 0))
    return i32(size === 1 ? immLo & 0xff : size === 2 ? immLo & 0xffff : immLo)
  }

  set(slot: number, value: Expr, size = this.form.size): void {
    const kind = this.kind(slot)
    if (kind === MEM) this.store(size, this.address(), value)
    else this.writeRegister(this.number(slot), value, size, kind === REG_HIGH)
  }

  modify(slot: number, change: (old: Expr) => Expr): void {
    const { size } = this.form
    const kind = this.kind(slot)
    if (kind === MEM) this.modifyAt(size, this.address(), change)
    else this.writeRegister(
      this.number(slot), change(this.readRegister(this.number(slot), size, kind === REG_HIGH)), size, kind === REG_HIGH,
    )
  }

  modifyAt(size: number, address: Expr, change: (old: Expr) => Expr): void {
    const host = this.translate(this.let(address), size, true)
    const value = change(loadSized(size, host))
    this.f.store(size, host, value)
  }

  localValue(index: number, type: ValueType): Expr {
    return local(index, type)
  }

  gpr(number: number, size: number): Expr {
    return this.readRegister(number, size, false)
  }

  setGpr(number: number, value: Expr, size: number): void {
    this.writeRegister(number, value, size, false)
  }

  ah(): Expr {
    return this.readRegister(0, 1, true)
  }

  setAh(value: Expr): void {
    this.writeRegister(0, value, 1, true)
  }

  address(withSegment = true): Expr {
    const { insn, nextRip } = this.at
    let e: Expr
    if (insn.ripRelative !== 0) {
      e = i64(BigInt.asIntN(64, nextRip + BigInt(insn.disp)))
    } else if (insn.absolute64 !== 0) {
      e = i64((BigInt(insn.dispHi) << 32n) | BigInt(insn.disp >>> 0))
    } else {
      const index = insn.index >= 0 ? shl(this.readRegister(insn.index, 8, false), i64(insn.scale)) : null
      const base = insn.base >= 0 ? this.readRegister(insn.base, 8, false) : null
      const sum = base === null ? index : index === null ? base : add(base, index)
      e = sum === null ? i64(insn.disp) : add(sum, i64(insn.disp))
    }
    const { segment } = this.form
    return withSegment && segment !== 0 ? add(e, load64(none, SEG + segment * SEG_SIZE + SEG_BASE)) : e
  }

  /** Host address of an access; a miss leaves for the micro-op. */
  private translate(address: Expr, size: number, write: boolean): Expr {
    const entry = this.let(add(and(wrap(shrU(address, i64(8))), i32((TLB_ENTRIES - 1) << 4)), this.context.tlb))
    const side = write ? TLB_WRITE : 0
    const last = size === 1 ? address : add(address, i64(size - 1))
    this.f.if(ne(and(last, i64(-4096)), load64(entry, side)), () => { this.leave() })
    return this.let(add(wrap(address), load32(entry, side + 8)))
  }

  private leave(): void {
    this.storeSource()
    this.context.exit(i32(this.at.uop))
  }

  /** Makes CC_OP say what is known statically; done where control leaves the block. */
  storeSource(): void {
    if (this.source !== null) {
      const { kind, size } = this.source
      this.f.set(this.context.flags.op, i32(ccOp(kind, kind === KIND.IMAGE ? 4 : size)))
    }
  }

  load(size: number, address: Expr): Expr {
    return this.let(loadSized(size, this.translate(this.let(address), size, false)))
  }

  store(size: number, address: Expr, value: Expr): void {
    const v = this.let(value)
    this.f.store(size, this.translate(this.let(address), size, true), v)
  }

  vector(slot: number, half: number): Expr {
    if (this.kind(slot) === XMM_REG) return load128(none, (half === 0 ? XMM : YMMH) + this.number(slot) * 16)
    if (this.vectorHost === null) {
      throw new Error(`${this.form.op}: vector memory operand read before it was translated`)
    }
    return load128(this.vectorHost, half * 16)
  }

  setVector(slot: number, half: number, value: Expr): void {
    if (this.kind(slot) === XMM_REG) this.f.store(16, none, value, (half === 0 ? XMM : YMMH) + this.number(slot) * 16)
    else this.f.store(16, this.vectorHost as Expr, value, half * 16)
  }

  clearUpper(number: number): void {
    this.f.store(16, none, v128(0n, 0n), YMMH + number * 16)
  }

  vectorAddress(size: number, write: boolean, aligned: boolean): Expr {
    const address = this.let(this.address())
    if (aligned) this.hostIf(ne(and(wrap(address), i32(size - 1)), none))
    this.vectorHost = this.translate(address, size, write)
    return this.vectorHost
  }

  commitVector(): void {
    // A store that hit the TLB is done.
  }

  immediate(): number {
    return this.form.immediate
  }

  get flagsNeeded(): boolean {
    return this.form.flagsNeeded
  }

  private setFlagLocals(a: Expr, b: Expr | null): void {
    const { flags } = this.context
    const wide = (e: Expr): Expr => (e.type === I64 ? e : extendU(e))
    this.f.set(flags.a, wide(a))
    if (b !== null) this.f.set(flags.b, wide(b))
  }

  private known(kind: number, size: number): FlagSource {
    const { flags } = this.context
    const narrow = (index: number): Expr => (typeOf(size) === I64 ? local(index, I64) : wrap(local(index, I64)))
    return { kind, size, a: narrow(flags.a), b: narrow(flags.b) }
  }

  flags(kind: number, a: Expr, b: Expr): void {
    if (!this.flagsNeeded) return
    this.setFlagLocals(this.let(a), kind === KIND.LOGIC || kind === KIND.IMAGE ? null : this.let(b))
    this.source = this.known(kind, this.form.size)
  }

  flagsEither(when: Expr, kind: number, otherwise: number, a: Expr, b: Expr): void {
    if (!this.flagsNeeded) return
    const { size } = this.form
    this.setFlagLocals(a, b)
    this.f.set(this.context.flags.op, select(when, i32(ccOp(kind, size)), i32(ccOp(otherwise, size))))
    this.source = null
  }

  flagsUnless(when: Expr, set: () => void): void {
    // Both ways must leave CC_OP right, since which one is taken is not known here.
    this.storeSource()
    this.source = null
    this.f.if(eqz(when), () => {
      set()
      this.storeSource()
    })
    this.source = null
  }

  imageFlags(image: Expr): void {
    if (!this.flagsNeeded) return
    this.setFlagLocals(this.let(image), null)
    this.source = this.known(KIND.IMAGE, 4)
  }

  replaceFlags(mask: number, bits: Expr): void {
    if (!this.flagsNeeded) return
    this.imageFlags(or(and(this.flagImage(), i32(~mask)), bits))
  }

  condition(cc: number): Expr {
    return this.source === null ? this.context.genericCondition(cc) : condition(cc, this.source)
  }

  flagImage(): Expr {
    return this.source === null ? this.context.genericImage() : flagImage(this.source)
  }

  state32(at: number): Expr {
    return load32(none, at)
  }

  state64(at: number): Expr {
    return load64(none, at)
  }

  setState32(at: number, value: Expr): void {
    this.f.store(4, none, value, at)
  }

  setState64(at: number, value: Expr): void {
    this.f.store(8, none, value, at)
  }

  raiseIf(when: Expr): void {
    this.hostIf(when)
  }

  hostIf(when: Expr): void {
    this.f.if(when, () => { this.leave() })
  }

  checkEvents(): void {
    throw new Error(`${this.form.op} is not compiled`)
  }

  timestamp(): Expr | null {
    return null
  }

  returnAddress(): Expr {
    return i64(this.at.nextRip)
  }

  jump(): void {
    this.storeSource()
    this.context.jump(this.at)
    this.ended = true
  }

  branch(when: Expr): void {
    const taken = this.let(when)
    this.storeSource()
    this.context.branch(this.at, taken)
    this.ended = true
  }

  jumpIndirect(target: Expr, before?: () => void): void {
    const t = this.let(target)
    // Beyond 48 bits it may be #GP, which comes before anything changes; the TypeScript meaning raises it.
    this.hostIf(ne(shrS(shl(t, i64(16)), i64(16)), t))
    before?.()
    this.storeSource()
    this.context.likelyTargets(this.at, t)
    const slot = this.let(shl(and(xor(wrap(t), wrap(shrU(t, i64(16)))), i32(JUMP_CACHE_ENTRIES - 1)), i32(4)))
    this.f.if(eq(xor(t, load64(none, MODE_SALT)), load64(slot, this.context.jumpCache)), () => {
      const header = this.let(load32(slot, this.context.jumpCache + 8))
      this.f.store(4, i32(this.at.uop), header, UOP.LINK)
      this.context.exit(or(header, i32(1)))
    })
    this.context.exit(this.context.missedJump(t))
    this.ended = true
  }

  repeatWhile(): void {
    throw new Error(`${this.form.op} is not compiled`)
  }

  bulk(): void {
    throw new Error(`${this.form.op} is not compiled`)
  }
}

