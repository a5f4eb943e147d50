/**
 * The builder that writes handlers: operands come from the micro-op that the local `pc` points to. The same code serves
 * the big dispatch function and the cold functions; an `Access` says how each of them reaches memory and leaves.
 */
import {
  I32, I64, add, and, call, eq, extendS, extendU, i32, i64, load128, load32, load32S64, load64, load8U, loadSized,
  local, ne,
  or, select, shl, shrS, shrU, sub, typeOf, wrap, xor, eqz, v128,
} from '../wasm/expr.ts'
import type { Expr, ValueType } from '../wasm/expr.ts'
import type { WasmFunction } from '../wasm/function.ts'
import { MEM, REG, XMM_REG, IMM } from '../insn.ts'
import {
  CC_A, CC_B, CC_OP, EVENT, GPR, MODE_SALT, RIP, SEG, SEG_BASE, SEG_SIZE, SHADOW, TIME_END, XMM, YMMH,
} from '../state.ts'
import { KIND, ccOp, condition, flagImage, genericCondition, memorySource } from './flags.ts'
import type { FlagFunctions, FlagSource } from './flags.ts'
import type { Builder } from './builder.ts'
import type { Form } from './form.ts'
import { MEM_ABSOLUTE, MEM_INDEX } from './form.ts'
import { EXIT, JUMP_CACHE_ENTRIES, TLB_ENTRIES, TLB_WRITE, UOP, UOP_SIZE, regByte } from './uop.ts'

const none = i32(0)

/** What an access wants: to read, to write without reading, or to read and then write the same bytes. */
export const WANT = { READ: 1, WRITE: 2, MODIFY: 3 } as const
export type Want = (typeof WANT)[keyof typeof WANT]

/** How handlers of one kind reach memory and leave. */
export interface Access {
  /** Instructions left in the slice, with the block's charged; null where that is not known. */
  readonly budget: Expr | null
  /**
   * Called where the TLB has no entry; `hit` is the host address when there is one. Returns the host address to use.
   */
  translate(b: InterpreterBuilder, address: Expr, size: number, want: Want): Expr
  /** Ends a store at a host address that `translate` gave. */
  commit(b: InterpreterBuilder, size: number): void
  /** Goes on at the block whose header is `header`; `checked`: the block may lie in another page. */
  enter(b: InterpreterBuilder, header: Expr, checked: boolean): void
  leave(b: InterpreterBuilder, reason: number, uop: Expr): void
  /**
   * Runs the micro-op again, for one more instruction of the budget (an iteration of a repeated string instruction).
   */
  repeat(b: InterpreterBuilder): void
  bulk(b: InterpreterBuilder, kind: 'movs' | 'stos', size: number): void
}

export class InterpreterBuilder implements Builder {
  readonly f: WasmFunction
  readonly pc: Expr
  readonly tlb: Expr
  form: Form
  /** Set when the handler has left for good. */
  ended = false
  private readonly access: Access
  private readonly functions: FlagFunctions
  private readonly jumpCache: number
  private produced: FlagSource | null = null
  /** False once flags of an unknown kind have replaced those the form names as its source. */
  private flagsKnown = true
  private vectorHost: Expr | null = null

  constructor(
    f: WasmFunction, form: Form, pc: Expr, tlb: Expr, access: Access, functions: FlagFunctions, jumpCache: number,
  ) {
    this.f = f
    this.form = form
    this.pc = pc
    this.tlb = tlb
    this.access = access
    this.functions = functions
    this.jumpCache = jumpCache
  }

  let(e: Expr): Expr {
    return this.f.let(e)
  }

  private register(slot: number): Expr {
    return load8U(this.pc, regByte(slot))
  }

  get(slot: number, size = this.form.size): Expr {
    const kind = this.form.kinds[slot]
    if (kind === REG) return loadSized(size, this.register(slot), GPR)
    if (kind === MEM) return this.load(size, this.address())
    if (kind === IMM) return this.immediateOperand(size)
    throw new Error(`${this.form.op}: operand ${slot} of kind ${kind} has no scalar value`)
  }

  private immediateOperand(size: number): Expr {
    if (this.form.memory === MEM_ABSOLUTE) return size === 8 ? load32S64(this.pc, UOP.DISP) : load32(this.pc, UOP.DISP)
    return size === 8 ? load64(this.pc, UOP.IMM) : load32(this.pc, UOP.IMM)
  }

  set(slot: number, value: Expr, size = this.form.size): void {
    if (this.form.kinds[slot] === MEM) this.store(size, this.address(), value)
    else this.writeRegister(this.register(slot), value, size)
  }

  private writeRegister(register: Expr, value: Expr, size: number): void {
    if (size === 4) this.f.store(8, register, extendU(value), GPR)
    else this.f.store(size, register, value, GPR)
  }

  modify(slot: number, change: (old: Expr) => Expr): void {
    const { size } = this.form
    if (this.form.kinds[slot] === MEM) {
      const host = this.access.translate(this, this.let(this.address()), size, WANT.MODIFY)
      this.f.store(size, host, change(loadSized(size, host)))
      this.access.commit(this, size)
      return
    }
    const register = this.let(this.register(slot))
    this.writeRegister(register, change(loadSized(size, register, GPR)), size)
  }

  modifyAt(size: number, address: Expr, change: (old: Expr) => Expr): void {
    const host = this.access.translate(this, this.let(address), size, WANT.MODIFY)
    this.f.store(size, host, change(loadSized(size, host)))
    this.access.commit(this, size)
  }

  localValue(index: number, type: ValueType): Expr {
    return local(index, type)
  }

  ah(): Expr {
    return load8U(none, GPR + 1)
  }

  setAh(value: Expr): void {
    this.f.store(1, none, value, GPR + 1)
  }

  gpr(number: number, size: number): Expr {
    return loadSized(size, none, GPR + number * 8)
  }

  setGpr(number: number, value: Expr, size: number): void {
    if (size === 4) this.f.store(8, none, extendU(value), GPR + number * 8)
    else this.f.store(size, none, value, GPR + number * 8)
  }

  address(withSegment = true): Expr {
    const { memory, segment } = this.form
    let e: Expr
    if (memory === MEM_ABSOLUTE) {
      // The immediate of CALL is its return address, from which a RIP-relative operand is counted.
      e = this.form.op === 'call' ? add(this.returnAddress(), load32S64(this.pc, UOP.DISP)) : load64(this.pc, UOP.IMM)
    } else {
      e = add(load64(load8U(this.pc, UOP.BASE), GPR), load32S64(this.pc, UOP.DISP))
      if (memory === MEM_INDEX) {
        e = add(e, shl(load64(load8U(this.pc, UOP.INDEX), GPR), extendU(load8U(this.pc, UOP.SCALE))))
      }
    }
    return withSegment && segment !== 0 ? add(e, load64(none, SEG + segment * SEG_SIZE + SEG_BASE)) : e
  }

  load(size: number, address: Expr): Expr {
    return this.let(loadSized(size, this.access.translate(this, this.let(address), size, WANT.READ)))
  }

  store(size: number, address: Expr, value: Expr): void {
    const v = this.let(value)
    this.f.store(size, this.access.translate(this, this.let(address), size, WANT.WRITE), v)
    this.access.commit(this, size)
  }

  vector(slot: number, half: number): Expr {
    const kind = this.form.kinds[slot]
    if (kind === XMM_REG) return load128(this.register(slot), half === 0 ? XMM : YMMH)
    if (this.vectorHost === null) {
      throw new Error(`${this.form.op}: vector memory operand read before it was translated`)
    }
    return load128(this.vectorHost, half * 16)
  }

  setVector(slot: number, half: number, value: Expr): void {
    if (this.form.kinds[slot] === XMM_REG) this.f.store(16, this.register(slot), value, half === 0 ? XMM : YMMH)
    else this.f.store(16, this.vectorHost as Expr, value, half * 16)
  }

  clearUpper(number: number): void {
    this.f.store(16, none, v128(0n, 0n), YMMH + number * 16)
  }

  vectorAddress(size: number, write: boolean, aligned: boolean): Expr {
    const address = this.let(this.address())
    if (aligned) this.hostIf(ne(and(wrap(address), i32(size - 1)), none))
    this.vectorHost = this.access.translate(this, address, size, write ? WANT.WRITE : WANT.READ)
    return this.vectorHost
  }

  commitVector(size: number): void {
    this.access.commit(this, size)
  }

  immediate(): number {
    return this.form.immediate
  }

  get flagsNeeded(): boolean {
    return this.form.flagsNeeded
  }

  flags(kind: number, a: Expr, b: Expr): void {
    const { size, flagsNeeded } = this.form
    if (!flagsNeeded) return
    const valueA = this.let(a)
    const valueB = this.let(b)
    this.produced = { kind, size, a: valueA, b: valueB }
    const width = typeOf(size) === I64 ? 8 : 4
    this.f.store(width, none, valueA, CC_A)
    if (kind !== KIND.LOGIC && kind !== KIND.IMAGE) this.f.store(width, none, valueB, CC_B)
    this.f.store(4, none, i32(ccOp(kind, kind === KIND.IMAGE ? 4 : size)), CC_OP)
  }

  flagsEither(when: Expr, kind: number, otherwise: number, a: Expr, b: Expr): void {
    const { size, flagsNeeded } = this.form
    if (!flagsNeeded) return
    const width = typeOf(size) === I64 ? 8 : 4
    this.f.store(width, none, a, CC_A)
    this.f.store(width, none, b, CC_B)
    this.f.store(4, none, select(when, i32(ccOp(kind, size)), i32(ccOp(otherwise, size))), CC_OP)
    this.flagsKnown = false
  }

  flagsUnless(when: Expr, set: () => void): void {
    this.f.if(eqz(when), set)
    // Which kind it is only shows at run time.
    this.produced = null
    this.flagsKnown = false
  }

  imageFlags(image: Expr): void {
    if (!this.flagsNeeded) return
    const a = this.let(image)
    this.f.store(4, none, a, CC_A)
    this.f.store(4, none, i32(ccOp(KIND.IMAGE, 4)), CC_OP)
    this.produced = { kind: KIND.IMAGE, size: 4, a, b: a }
  }

  replaceFlags(mask: number, bits: Expr): void {
    if (!this.flagsNeeded) return
    this.imageFlags(or(and(this.flagImage(), i32(~mask)), bits))
  }

  condition(cc: number): Expr {
    if (this.produced !== null) return condition(cc, this.produced)
    const { source } = this.form
    if (source >= 0 && this.flagsKnown) return condition(cc, memorySource(source >> 2, 1 << (source & 3)))
    return genericCondition(this.functions, cc)
  }

  flagImage(): Expr {
    const { source } = this.form
    if (this.produced !== null) return flagImage(this.produced)
    if (source >= 0 && this.flagsKnown) return flagImage(memorySource(source >> 2, 1 << (source & 3)))
    return call(this.functions.image, I32, [])
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

  raiseIf(when: Expr, _vector: number): void {
    // The TypeScript meaning of the same instruction raises it: one place for error codes.
    this.hostIf(when)
  }

  hostIf(when: Expr): void {
    this.f.if(when, () => { this.access.leave(this, EXIT.HOST, this.pc) })
  }

  checkEvents(shadow?: Expr): void {
    this.f.if(load32(none, EVENT), () => {
      if (shadow !== undefined) this.setState32(SHADOW, shadow)
      this.access.leave(this, EXIT.EVENT, add(this.pc, i32(UOP_SIZE)))
    })
  }

  timestamp(): Expr | null {
    const { budget } = this.access
    if (budget === null) return null
    return sub(load64(none, TIME_END), extendS(add(budget, load32(this.pc, UOP.LINK2))))
  }

  returnAddress(): Expr {
    return load64(this.pc, UOP.IMM)
  }

  jump(): void {
    this.access.enter(this, load32(this.pc, UOP.LINK), true)
    this.ended = true
  }

  branch(when: Expr): void {
    this.f.if(when, () => { this.access.enter(this, load32(this.pc, UOP.LINK), false) })
    this.access.enter(this, load32(this.pc, UOP.LINK2), false)
    this.ended = true
  }

  jumpIndirect(target: Expr, before?: () => void): void {
    const t = this.let(target)
    const slot = this.let(shl(and(xor(wrap(t), wrap(shrU(t, i64(16)))), i32(JUMP_CACHE_ENTRIES - 1)), i32(4)))
    const unknown = this.let(ne(xor(t, load64(none, MODE_SALT)), load64(slot, this.jumpCache)))
    this.f.if(unknown, () => {
      // Beyond 48 bits it may be #GP, which the TypeScript meaning raises.
      this.hostIf(ne(shrS(shl(t, i64(16)), i64(16)), t))
      if (before === undefined) this.leaveTo(t)
    })
    if (before !== undefined) {
      before()
      this.f.if(unknown, () => { this.leaveTo(t) })
    }
    const header = this.let(load32(slot, this.jumpCache + 8))
    // Whoever compiles this block wants to know where it leads.
    this.f.store(4, this.pc, header, UOP.LINK)
    this.access.enter(this, header, true)
    this.ended = true
  }

  /** Leaves to look up the block at `target`. */
  private leaveTo(target: Expr): void {
    this.setState64(RIP, target)
    this.access.leave(this, EXIT.LOOKUP, this.pc)
  }

  repeatWhile(when: Expr): void {
    this.f.if(when, () => { this.access.repeat(this) })
  }

  bulk(kind: 'movs' | 'stos', size: number): void {
    this.access.bulk(this, kind, size)
  }

  /** The TLB probe: host address of `address` when the entry is there. */
  probe(address: Expr, size: number, write: boolean): { hit: Expr; host: Expr } {
    const entry = this.let(add(and(wrap(shrU(address, i64(8))), i32((TLB_ENTRIES - 1) << 4)), this.tlb))
    const side = write ? TLB_WRITE : 0
    // The last byte's page is compared: an access that crosses a page never hits (the first byte's entry has another
    // tag or the addend of the second page would be used, so both ends must be in one page).
    const last = size === 1 ? address : add(address, i64(size - 1))
    return { hit: eq(and(last, i64(-4096)), load64(entry, side)), host: add(wrap(address), load32(entry, side + 8)) }
  }
}
