import { ByteWriter } from './bytes.ts'
import { Expr, I32, I64, OP, SIMD, V128, isConstant, local, storeOpcode } from './expr.ts'
import type { ValueType } from './expr.ts'

/** A place that branches go to: the end of a block or the head of a loop. */
export type Label = number

/** First vector opcode that takes no immediate; loads, stores, constants, shuffle and lane operators stand below. */
const firstPlainSimd = 35

/** The body of one WebAssembly function while it is written. */
export class WasmFunction {
  readonly code = new ByteWriter()
  readonly locals: ValueType[] = []
  private readonly parameterCount: number
  private readonly free = new Map<ValueType, number[]>([[I32, []], [I64, []], [V128, []]])
  private used: [ValueType, number][] = []
  private depth = 0

  constructor(parameters: readonly ValueType[]) {
    this.parameterCount = parameters.length
  }

  /** A local that lives as long as the function. */
  newLocal(type: ValueType): number {
    this.locals.push(type)
    return this.parameterCount + this.locals.length - 1
  }

  private temporary(type: ValueType): number {
    const index = this.free.get(type)?.pop() ?? this.newLocal(type)
    this.used.push([type, index])
    return index
  }

  /** Ends the life of all temporaries that `let` made. */
  releaseTemporaries(): void {
    for (const [type, index] of this.used) this.free.get(type)?.push(index)
    this.used = []
  }

  /** Evaluates once, now; the result may be read many times until `releaseTemporaries`. */
  let(e: Expr): Expr {
    if (e.stable || isConstant(e)) return e
    const index = this.temporary(e.type)
    this.set(index, e)
    const result = local(index, e.type)
    result.stable = true
    return result
  }

  emit(e: Expr): void {
    const { code } = this
    switch (e.op) {
      case OP.CONST32:
        code.u8(OP.CONST32)
        code.s32(Number(e.k))
        return
      case OP.CONST64:
        code.u8(OP.CONST64)
        code.s64(e.k)
        return
      case OP.LOCAL_GET:
        code.u8(OP.LOCAL_GET)
        code.u32(Number(e.k))
        return
      case OP.SELECT:
        this.emit(e.a as Expr)
        this.emit(e.b as Expr)
        this.emit(e.c as Expr)
        code.u8(OP.SELECT)
        return
      case OP.CALL:
        for (const argument of e.args ?? []) this.emit(argument)
        code.u8(OP.CALL)
        code.u32(Number(e.k))
        return
      default:
        if (e.a !== null) this.emit(e.a)
        if (e.b !== null) this.emit(e.b)
        if (e.op >= SIMD) {
          this.emitSimd(e)
          return
        }
        code.u8(e.op)
        if (e.op >= 0x28 && e.op <= 0x35) {
          code.u8(0)
          code.u32(Number(e.k))
        }
    }
  }

  private emitSimd(e: Expr): void {
    const { code } = this
    const number = e.op & 0xff
    code.u8(0xfd)
    code.u32(number)
    if (number <= 11) {
      code.u8(0)
      code.u32(Number(e.k))
    } else if (number <= 13) {
      for (let i = 0n; i < 128n; i += 8n) code.u8(Number((BigInt(e.k) >> i) & 0xffn))
    } else if (number >= 21 && number < firstPlainSimd) {
      code.u8(Number(e.k))
    }
  }

  set(index: number, e: Expr): void {
    this.emit(e)
    this.code.u8(0x21)
    this.code.u32(index)
  }

  /** Evaluates for its effect. */
  drop(e: Expr): void {
    this.emit(e)
    this.code.u8(0x1a)
  }

  store(size: number, address: Expr, value: Expr, offset = 0): void {
    this.emit(address)
    this.emit(value)
    const opcode = storeOpcode(size)
    if (opcode >= SIMD) {
      this.code.u8(0xfd)
      this.code.u8(opcode & 0xff)
    } else {
      this.code.u8(opcode)
    }
    this.code.u8(0)
    this.code.u32(offset)
  }

  if(condition: Expr, whenTrue: () => void, whenFalse?: () => void): void {
    this.emit(condition)
    this.code.u8(0x04)
    this.code.u8(0x40)
    this.depth++
    whenTrue()
    if (whenFalse !== undefined) {
      this.code.u8(0x05)
      whenFalse()
    }
    this.depth--
    this.code.u8(0x0b)
  }

  block(body: (end: Label) => void): void {
    this.code.u8(0x02)
    this.code.u8(0x40)
    this.depth++
    body(this.depth)
    this.depth--
    this.code.u8(0x0b)
  }

  loop(body: (head: Label) => void): void {
    this.code.u8(0x03)
    this.code.u8(0x40)
    this.depth++
    body(this.depth)
    this.depth--
    this.code.u8(0x0b)
  }

  br(label: Label): void {
    this.code.u8(0x0c)
    this.code.u32(this.depth - label)
  }

  brIf(condition: Expr, label: Label): void {
    this.emit(condition)
    this.code.u8(0x0d)
    this.code.u32(this.depth - label)
  }

  /** Branches to `labels[index]`, or to the last label when the index is past it. */
  brTable(index: Expr, labels: readonly Label[]): void {
    this.emit(index)
    this.code.u8(0x0e)
    this.code.u32(labels.length - 1)
    for (const label of labels) this.code.u32(this.depth - label)
  }

  return(value?: Expr): void {
    if (value !== undefined) this.emit(value)
    this.code.u8(0x0f)
  }

  /** Calls through table 0. */
  callIndirect(typeIndex: number, args: readonly Expr[], index: Expr): void {
    for (const argument of args) this.emit(argument)
    this.emit(index)
    this.code.u8(0x11)
    this.code.u32(typeIndex)
    this.code.u8(0)
  }

  unreachable(): void {
    this.code.u8(0)
  }

  memoryCopy(to: Expr, from: Expr, length: Expr): void {
    this.emit(to)
    this.emit(from)
    this.emit(length)
    this.code.append(new Uint8Array([0xfc, 10, 0, 0]))
  }

  memoryFill(to: Expr, value: Expr, length: Expr): void {
    this.emit(to)
    this.emit(value)
    this.emit(length)
    this.code.append(new Uint8Array([0xfc, 11, 0]))
  }
}
