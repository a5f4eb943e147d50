/** String instructions. One iteration is one access each side; repeated MOVS and STOS go a page at a time. */
import {
  I32, add, and, eq, eqz, extendU, i32, i64, load32, load64, local, ltU, mul, ne, or, select, shl, shrU, sub, wrap,
  loadSized,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { WasmFunction } from '../wasm/function.ts'
import type { ModuleWriter } from '../wasm/module.ts'
import { BUDGET, GPR, MISS_EA, MISS_INFO, SYSFLAGS } from '../state.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { KIND } from './flags.ts'
import { BULK, TLB_ENTRIES, TLB_WRITE, missInfo } from './uop.ts'

const RAX = 0
const RCX = 1
const RSI = 6
const RDI = 7
const none = i32(0)

/** ±size by DF. */
const step = (b: Builder, size: number): Expr =>
  b.let(sub(i64(size), extendU(mul(and(shrU(b.state32(SYSFLAGS), i32(10)), i32(1)), i32(2 * size)))))
const advance = (b: Builder, register: number, by: Expr): void => { b.setGpr(register, add(b.gpr(register, 8), by), 8) }

/** One iteration of MOVS or STOS. */
function iterate(b: Builder, kind: 'movs' | 'stos', size: number): void {
  const by = step(b, size)
  const value = kind === 'movs' ? b.load(size, b.gpr(RSI, 8)) : b.gpr(RAX, size)
  b.store(size, b.gpr(RDI, 8), value)
  if (kind === 'movs') advance(b, RSI, by)
  advance(b, RDI, by)
}

/**
 * Part of a repeated MOVS or STOS, which is then run again while RCX is not 0: what `bulk` did when it is not 0, else
 * one element.
 */
export function repeatOnce(b: Builder, kind: 'movs' | 'stos', size: number, bulk: Expr): void {
  b.f.if(ne(b.gpr(RCX, 8), i64(0)), () => {
    b.f.if(eqz(bulk), () => {
      iterate(b, kind, size)
      b.setGpr(RCX, sub(b.gpr(RCX, 8), i64(1)), 8)
    })
    b.repeatWhile(ne(b.gpr(RCX, 8), i64(0)))
  })
}

const moving = (kind: 'movs' | 'stos'): WasmMeaning => (b) => {
  if (b.form.rep === 0) iterate(b, kind, b.form.size)
  else b.bulk(kind, b.form.size)
}

/** What an iteration compares, or null. */
type Compared = readonly [Expr, Expr] | null

/**
 * LODS, CMPS and SCAS, with REPE/REPNE stopping on ZF where they compare. Flags are set by the last iteration only: a
 * fault before it finds them as they were before the instruction (SDM vol. 2, REP).
 */
const comparing = (iteration: (b: Builder, by: Expr) => Compared): WasmMeaning => (b) => {
  const { rep, size } = b.form
  const setFlags = (compared: Compared): void => {
    if (compared !== null) b.flags(KIND.SUB, compared[0], compared[1])
  }
  if (rep === 0) {
    setFlags(iteration(b, step(b, size)))
    return
  }
  b.f.if(ne(b.gpr(RCX, 8), i64(0)), () => {
    const compared = iteration(b, step(b, size))
    const left = b.let(sub(b.gpr(RCX, 8), i64(1)))
    b.setGpr(RCX, left, 8)
    const more = ne(left, i64(0))
    b.repeatWhile(compared === null ? more : and(more, (rep === 0xf3 ? eq : ne)(compared[0], compared[1])))
    setFlags(compared)
  })
  b.flagsUnless(i32(1), () => { /* only that flags may or may not have been set */ })
}

const lods = comparing((b, by) => {
  b.setGpr(RAX, b.load(b.form.size, b.gpr(RSI, 8)), b.form.size)
  advance(b, RSI, by)
  return null
})
const scas = comparing((b, by) => {
  const value = b.load(b.form.size, b.gpr(RDI, 8))
  const a = b.let(b.gpr(RAX, b.form.size))
  advance(b, RDI, by)
  return [a, value]
})
const cmps = comparing((b, by) => {
  // The destination is read first: it is the one that faults when both would.
  const right = b.load(b.form.size, b.gpr(RDI, 8))
  const left = b.load(b.form.size, b.gpr(RSI, 8))
  advance(b, RSI, by)
  advance(b, RDI, by)
  return [left, right]
})

export const stringMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ['movs', moving('movs')], ['stos', moving('stos')], ['lods', lods], ['scas', scas], ['cmps', cmps],
]

export type BulkFunctions = Readonly<Record<'movs' | 'stos', (size: number) => number>>

/** Adds the functions that do repeated MOVS and STOS; each returns one of `BULK`. */
export function writeBulkFunctions(module: ModuleWriter): BulkFunctions {
  const write = (kind: 'movs' | 'stos'): ((size: number) => number) => {
    const numbers = new Map<number, number>([1, 2, 4, 8].map((size) => [size, writeBulk(module, kind, size)]))
    return (size) => numbers.get(size) ?? 0
  }
  return { movs: write('movs'), stos: write('stos') }
}

function writeBulk(module: ModuleWriter, kind: 'movs' | 'stos', size: number): number {
  const number = module.declare([I32], [I32])
  const f = new WasmFunction([I32])
  const log = 31 - Math.clz32(size)
  const registers = { rcx: GPR + RCX * 8, rsi: GPR + RSI * 8, rdi: GPR + RDI * 8, rax: GPR }
  const left = (address: Expr): Expr => sub(i32(4096), and(wrap(address), i32(4095)))
  const min = (a: Expr, b: Expr): Expr => select(ltU(a, b), a, b)
  /** Host address of a byte whose whole page is wanted; a miss returns. */
  const translate = (address: Expr, writes: boolean): Expr => {
    const entry = f.let(add(and(wrap(shrU(address, i64(8))), i32((TLB_ENTRIES - 1) << 4)), local(0, I32)))
    const side = writes ? TLB_WRITE : 0
    f.if(ne(and(address, i64(-4096)), load64(entry, side)), () => {
      f.store(8, none, address, MISS_EA)
      f.store(4, none, i32(missInfo(1, writes ? 2 : 1)), MISS_INFO)
      f.return(i32(BULK.MISS))
    })
    return f.let(add(wrap(address), load32(entry, side + 8)))
  }
  f.loop((head) => {
    const n = f.let(load64(none, registers.rcx))
    f.if(eqz(n), () => { f.return(i32(BULK.DONE)) })
    // With DF downwards, with TF an element at a time.
    f.if(and(load32(none, SYSFLAGS), i32(0x500)), () => { f.return(i32(BULK.SLOW)) })
    const to = f.let(load64(none, registers.rdi))
    const from = kind === 'movs' ? f.let(load64(none, registers.rsi)) : null
    const room = f.let(shrU(from === null ? left(to) : min(f.let(left(from)), f.let(left(to))), i32(log)))
    const count = f.let(wrap(select(ltU(n, extendU(room)), n, extendU(room))))
    f.if(eqz(count), () => { f.return(i32(BULK.SLOW)) })
    const bytes = f.let(shl(count, i32(log)))
    const source = from === null ? null : translate(from, false)
    const target = translate(to, true)
    if (source !== null) {
      // MEMORY.COPY behaves as if through a buffer; a forward copy onto itself from below must not.
      f.if(ltU(f.let(sub(target, source)), bytes), () => {
        copyForward(f, target, source, bytes, size)
      }, () => { f.memoryCopy(target, source, bytes) })
      f.store(8, none, add(from as Expr, extendU(bytes)), registers.rsi)
    } else {
      fill(f, target, bytes, size, registers.rax)
    }
    f.store(8, none, add(to, extendU(bytes)), registers.rdi)
    const rest = f.let(sub(n, extendU(count)))
    f.store(8, none, rest, registers.rcx)
    f.if(eqz(rest), () => { f.return(i32(BULK.DONE)) })
    const budget = f.let(sub(load32(none, BUDGET), i32(1)))
    f.store(4, none, budget, BUDGET)
    f.if(or(shrU(budget, i32(31)), eqz(budget)), () => { f.return(i32(BULK.BUDGET)) })
    f.br(head)
  })
  f.unreachable()
  module.define(number, f)
  return number
}

function copyForward(f: WasmFunction, target: Expr, source: Expr, bytes: Expr, size: number): void {
  const at = f.newLocal(I32)
  f.set(at, i32(0))
  f.loop((head) => {
    f.store(size, add(target, local(at, I32)), loadSized(size, add(source, local(at, I32))))
    f.set(at, add(local(at, I32), i32(size)))
    f.brIf(ltU(local(at, I32), bytes), head)
  })
}

function fill(f: WasmFunction, target: Expr, bytes: Expr, size: number, rax: number): void {
  if (size === 1) {
    f.memoryFill(target, loadSized(1, none, rax), bytes)
    return
  }
  const value = f.let(loadSized(size, none, rax))
  const at = f.newLocal(I32)
  f.if(eqz(value), () => { f.memoryFill(target, none, bytes) }, () => {
    f.set(at, i32(0))
    f.loop((head) => {
      f.store(size, add(target, local(at, I32)), value)
      f.set(at, add(local(at, I32), i32(size)))
      f.brIf(ltU(local(at, I32), bytes), head)
    })
  })
}

