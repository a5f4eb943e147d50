/**
 * The vocabulary in which meanings of instructions are written. The interpreter's generator and the JIT implement it:
 * the first reads operands from the micro-op, the second knows them.
 */
import type { Expr, ValueType } from '../wasm/expr.ts'
import type { WasmFunction } from '../wasm/function.ts'
import type { Form } from './form.ts'

export interface Builder {
  readonly form: Form
  readonly f: WasmFunction

  /** Evaluates now, once. */
  let(e: Expr): Expr
  /** Operand `slot`, zero-extended; memory is loaded. */
  get(slot: number, size?: number): Expr
  /** Writes operand `slot`; 32-bit register writes clear the upper half. */
  set(slot: number, value: Expr, size?: number): void
  /** Reads, changes and writes operand `slot`; memory is translated once, for writing, before `change` runs. */
  modify(slot: number, change: (old: Expr) => Expr): void
  /** The same at a linear address. */
  modifyAt(size: number, address: Expr, change: (old: Expr) => Expr): void
  /** A local that a meaning made itself. */
  localValue(index: number, type: ValueType): Expr
  gpr(number: number, size: number): Expr
  setGpr(number: number, value: Expr, size: number): void
  ah(): Expr
  setAh(value: Expr): void
  /** Linear address of the memory operand; without the segment's base for LEA. */
  address(withSegment?: boolean): Expr
  load(size: number, address: Expr): Expr
  store(size: number, address: Expr, value: Expr): void

  /** Lower (0) or upper (1) half of vector operand `slot`. */
  vector(slot: number, half: number): Expr
  setVector(slot: number, half: number, value: Expr): void
  /** Clears bits 255:128 of YMM register `number`. */
  clearUpper(number: number): void
  /** Host address of a vector memory operand of `size` bytes, translated once. */
  vectorAddress(size: number, write: boolean, aligned: boolean): Expr
  /** Ends a store through `vectorAddress`. */
  commitVector(size: number): void
  /** The immediate as a number known when code is generated (forms whose key holds it). */
  immediate(): number

  /** Whether anybody will look at the flags this instruction sets. */
  readonly flagsNeeded: boolean
  flags(kind: number, a: Expr, b: Expr): void
  /** Flags of `kind` when the condition (0 or 1) holds, else of `otherwise`. */
  flagsEither(when: Expr, kind: number, otherwise: number, a: Expr, b: Expr): void
  /** Runs `set`, which sets flags, unless the condition holds. */
  flagsUnless(when: Expr, set: () => void): void
  /** Sets all six flags from their image. */
  imageFlags(image: Expr): void
  /** Replaces the flags of `mask` and keeps the others. */
  replaceFlags(mask: number, bits: Expr): void
  condition(cc: number): Expr
  /** The six flags at their places in EFLAGS. */
  flagImage(): Expr
  /** A word of the processor's state (`state.ts`). */
  state32(at: number): Expr
  state64(at: number): Expr
  setState32(at: number, value: Expr): void
  setState64(at: number, value: Expr): void

  /** Raises `vector` (no error code) when the condition holds. */
  raiseIf(condition: Expr, vector: number): void
  /** Leaves the instruction to the host's meaning when the condition holds; nothing must have changed yet. */
  hostIf(condition: Expr): void
  /** After this instruction, looks at events when one is pending; `shadow`: only after the next instruction. */
  checkEvents(shadow?: Expr): void

  /** The time-stamp counter before TSC_OFFSET (i64); null where the host must answer. */
  timestamp(): Expr | null
  returnAddress(): Expr
  jump(): void
  branch(condition: Expr): void
  /** Goes on at `target`, after `before` has changed what the branch changes: #GP for the target comes before that. */
  jumpIndirect(target: Expr, before?: () => void): void
  /** Runs the instruction again (a repeated string instruction) while the condition holds. */
  repeatWhile(condition: Expr): void
  /** Copies (`size` bytes a step, forward) as far as one page of each side goes; see `strings.ts`. */
  bulk(kind: 'movs' | 'stos', size: number): void
}

/** A meaning over the builder. */
export type WasmMeaning = (b: Builder) => void
