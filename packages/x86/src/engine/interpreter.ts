/**
 * Generates the interpreter: one function with a br_table over handlers (measured: three times as fast as calls through
 * a table), and, one at a time, the cold functions for forms outside it and for accesses that the TLB cannot serve.
 */
import {
  I32, I64, add, and, call, eq, eqz, i32, i64, leS, load16U, load32, ltS, or, sub, local, load64, shrU, wrap,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { WasmFunction } from '../wasm/function.ts'
import { ModuleWriter } from '../wasm/module.ts'
import { BUDGET, CPU_SLOT, EVENT, EXIT_REASON, EXIT_UOP, MISS_EA, MISS_INFO, RIP, SCRATCH, TLB_BASE } from '../state.ts'
import { nestCases, writeFlagFunctions } from './flags.ts'
import type { FlagFunctions } from './flags.ts'
import type { Form } from './form.ts'
import { InterpreterBuilder } from './interpreter-builder.ts'
import type { Access } from './interpreter-builder.ts'
import { BULK, EVENT_STOP, EXIT, FIRST_FORM_HANDLER, HANDLER, HEADER, JIT_UOP, UOP, UOP_SIZE, missInfo } from './uop.ts'
import { wasmMeanings } from './meanings.ts'
import { repeatOnce, writeBulkFunctions } from './strings.ts'
import type { BulkFunctions } from './strings.ts'

const none = i32(0)

/** Where the generated code finds what is not at a fixed place. */
export interface InterpreterLayout {
  /** Address of the jump cache. */
  readonly jumpCache: number
  /** Pages of the memory, as imported. */
  readonly memoryPages: number
  readonly tableSize: number
}

/** Writes the meaning of a form, and of the branch fused behind it. */
function writeForm(b: InterpreterBuilder, form: Form): void {
  for (let f: Form | null = form; f !== null; f = f.then) {
    b.form = f
    const meaning = wasmMeanings.get(f.op)
    if (meaning === undefined) throw new Error(`no WebAssembly meaning for ${f.op}`)
    meaning(b)
  }
}

/** Locals of the dispatch function. */
const PC = 0
const BUDGET_LOCAL = 1

/** Writes the module with the dispatch function `run(pc, budget)` and the flag functions. */
export function writeInterpreter(forms: readonly Form[], layout: InterpreterLayout): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter()
  const miss = module.importFunction('miss', [I32, I32, I32], [I32])
  module.importMemory(layout.memoryPages)
  module.importTable(layout.tableSize)
  const coldType = module.type([I32, I32], [I32])
  const functions = writeFlagFunctions(module)
  const bulk = writeBulkFunctions(module)
  const run = module.declare([I32, I32], [])
  const f = new WasmFunction([I32, I32])
  writeDispatch(f, forms, { functions, bulk, miss, coldType, jumpCache: layout.jumpCache })
  module.define(run, f)
  module.export('run', run)
  return module.build()
}

/**
 * Writes a module with what stands in the table until a form's cold function is wanted: `uncompiled(pc, tlb)` has it
 * compiled, and calls it. In the interpreter's own module V8 would put it into the dispatch function where nothing else
 * was called yet, and throw that function's code away when something is.
 */
export function writeUncompiled(layout: InterpreterLayout): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter()
  const compileCold = module.importFunction('compileCold', [I32], [])
  module.importMemory(layout.memoryPages)
  module.importTable(layout.tableSize)
  const number = module.declare([I32, I32], [I32])
  const f = new WasmFunction([I32, I32])
  f.emit(load16U(local(0, I32), UOP.FORM))
  f.code.u8(0x10)
  f.code.u32(compileCold)
  f.callIndirect(module.type([I32, I32], [I32]), [local(0, I32), local(1, I32)], load16U(local(0, I32), UOP.FORM))
  module.define(number, f)
  module.export('uncompiled', number)
  return module.build()
}

interface DispatchParts {
  functions: FlagFunctions
  bulk: BulkFunctions
  miss: number
  coldType: number
  jumpCache: number
}

function writeDispatch(f: WasmFunction, forms: readonly Form[], parts: DispatchParts): void {
  const pc = local(PC, I32)
  const budget = local(BUDGET_LOCAL, I32)
  const tlbLocal = f.newLocal(I32)
  const slotLocal = f.newLocal(I32)
  const missEa = f.newLocal(I64)
  const missWant = f.newLocal(I32)
  const tlb = local(tlbLocal, I32)
  f.set(tlbLocal, load32(none, TLB_BASE))
  f.set(slotLocal, load32(none, CPU_SLOT))

  const leave = (reason: number, uop: Expr): void => {
    f.store(4, none, uop, EXIT_UOP)
    f.store(4, none, i32(reason), EXIT_REASON)
    f.store(4, none, budget, BUDGET)
    f.return()
  }
  const enter = (target: Expr, checked: boolean, top: number): void => {
    const header = f.let(target)
    if (checked) {
      f.if(eqz(load32(add(load32(header, HEADER.PAGE), local(slotLocal, I32)))), () => { leave(EXIT.PAGE, header) })
    }
    f.set(BUDGET_LOCAL, sub(budget, load32(header, HEADER.COUNT)))
    const hotness = f.let(sub(load32(header, HEADER.HOTNESS), i32(1)))
    f.store(4, header, hotness, HEADER.HOTNESS)
    f.if(ltS(or(hotness, budget), none), () => { leave(EXIT.ENTER, header) })
    f.set(PC, load32(header, HEADER.ENTRY))
    f.br(top)
  }

  /** One more round of the micro-op at `pc`: it counts as an instruction. */
  const repeat = (top: number): void => {
    f.set(BUDGET_LOCAL, sub(budget, i32(1)))
    f.if(or(leS(budget, none), and(load32(none, EVENT), i32(EVENT_STOP))), () => { leave(EXIT.REPEAT, pc) })
    f.br(top)
  }

  f.loop((top) => {
    f.block((cold) => {
      f.block((missed) => {
        const access: Access = {
          budget,
          translate(b, address, size, want) {
            const { hit, host } = b.probe(address, size, want !== 1)
            f.if(eqz(hit), () => {
              f.set(missEa, address)
              f.set(missWant, i32(missInfo(size, want)))
              f.br(missed)
            })
            return b.let(host)
          },
          commit() { /* a store that hit the TLB is done */ },
          enter(_b, header, checked) { enter(header, checked, top) },
          leave(_b, reason, uop) { leave(reason, uop) },
          repeat() { repeat(top) },
          bulk(b, kind, size) {
            f.store(4, none, budget, BUDGET)
            const outcome = b.let(call(parts.bulk[kind](size), I32, [tlb]))
            f.set(BUDGET_LOCAL, load32(none, BUDGET))
            f.if(outcome, () => {
              f.if(eq(outcome, i32(BULK.BUDGET)), () => { leave(EXIT.REPEAT, pc) })
              f.if(eq(outcome, i32(BULK.SLOW)), () => { f.br(cold) })
              f.set(missEa, b.state64(MISS_EA))
              f.set(missWant, b.state32(MISS_INFO))
              f.br(missed)
            })
          },
        }
        const total = FIRST_FORM_HANDLER + forms.length
        nestCases(f, total, (at) => {
          if (at < FIRST_FORM_HANDLER) {
            writeSpecial(f, at, {
              pc, leave, enter: (header) => { enter(header, true, top) }, top, cold, budget, coldType: parts.coldType,
            })
          } else {
            const form = forms[at - FIRST_FORM_HANDLER]
            const b = new InterpreterBuilder(f, form, pc, tlb, access, parts.functions, parts.jumpCache)
            writeForm(b, form)
            if (!b.ended) {
              f.set(PC, add(pc, i32(UOP_SIZE)))
              f.br(top)
            }
          }
          f.releaseTemporaries()
        }, load16U(pc, UOP.HANDLER))
        f.unreachable()
      })
      // A TLB miss: 1 = filled, run the micro-op again; 0 = the cold function must serve it (or its fault).
      f.emit(
        call(parts.miss, I32, [wrap(local(missEa, I64)), wrap(shrU(local(missEa, I64), i64(32))), local(missWant, I32)])
      )
      f.code.u8(0x0d)
      f.code.u32(1)
    })
    writeColdCall(f, { pc, tlb, coldType: parts.coldType, leave, enter, repeat, top })
  })
}


interface SpecialParts {
  coldType: number
  pc: Expr
  budget: Expr
  leave: (reason: number, uop: Expr) => void
  enter: (header: Expr) => void
  top: number
  cold: number
}

function writeSpecial(
  f: WasmFunction, handler: number, { pc, budget, coldType, leave, enter, cold, top }: SpecialParts,
): void {
  switch (handler) {
    case HANDLER.LINK:
      f.store(8, none, loadImmediate(pc), RIP)
      leave(EXIT.LINK, load32(pc, UOP.LINK))
      return
    case HANDLER.COLD:
      f.br(cold)
      return
    case HANDLER.HOST:
      leave(EXIT.HOST, pc)
      return
    case HANDLER.JIT:
      writeJitCall(f, { pc, budget, coldType, enter, top })
      return
    case HANDLER.LOOKUP:
      leave(EXIT.LOOKUP, pc)
      return
    case HANDLER.CROSS:
      f.if(eqz(load32(add(load32(pc, UOP.DISP), load32(none, CPU_SLOT)))), () => { leave(EXIT.CROSS, pc) })
      f.set(PC, add(pc, i32(UOP_SIZE)))
      f.br(top)
      return
    case HANDLER.ADDRESS:
      leave(EXIT.ADDRESS, pc)
      return
    case HANDLER.STEP:
      f.store(8, none, loadImmediate(pc), RIP)
      leave(EXIT.STEP, pc)
      return
    default:
      enter(load32(pc, UOP.LINK))
  }
}

const loadImmediate = (pc: Expr): Expr => load64(pc, UOP.IMM)

/** Runs compiled code; it answers the micro-op to go on at, or (odd) the block to enter. */
function writeJitCall(
  f: WasmFunction, { pc, budget, coldType, enter, top }: Pick<SpecialParts,
  'pc' | 'budget' | 'coldType' | 'enter' | 'top'>,
): void {
  const result = f.newLocal(I32)
  f.callIndirect(
    coldType, [load32(pc, JIT_UOP.ENTRY), add(budget, load32(pc, JIT_UOP.COUNT))], load32(pc, JIT_UOP.FUNCTION),
  )
  f.code.u8(0x21)
  f.code.u32(result)
  f.set(BUDGET_LOCAL, load32(none, BUDGET))
  f.if(and(local(result, I32), i32(1)), () => { enter(and(local(result, I32), i32(-2))) })
  f.set(PC, local(result, I32))
  f.br(top)
}

interface ColdCallParts {
  pc: Expr
  tlb: Expr
  coldType: number
  leave: (reason: number, uop: Expr) => void
  enter: (header: Expr, checked: boolean, top: number) => void
  repeat: (top: number) => void
  top: number
}

/**
 * Calls the form's function: 0 = leave as it says, odd = enter that block, itself = repeat, else the micro-op to go
 * on at.
 */
function writeColdCall(f: WasmFunction, { pc, tlb, coldType, leave, enter, repeat, top }: ColdCallParts): void {
  const result = f.newLocal(I32)
  const next = local(result, I32)
  // A device that is accessed inside asks for the time: it follows from the budget and the micro-op.
  f.store(4, none, local(BUDGET_LOCAL, I32), BUDGET)
  f.store(4, none, pc, EXIT_UOP)
  f.callIndirect(coldType, [pc, tlb], load16U(pc, UOP.FORM))
  f.code.u8(0x21)
  f.code.u32(result)
  // The device may have taken time.
  f.set(BUDGET_LOCAL, load32(none, BUDGET))
  f.if(eqz(next), () => {
    f.store(4, none, local(BUDGET_LOCAL, I32), BUDGET)
    f.return()
  })
  f.if(and(next, i32(1)), () => {
    f.if(and(load32(none, EVENT), i32(EVENT_STOP)), () => { leave(EXIT.PAGE, and(next, i32(-2))) })
    enter(and(next, i32(-2)), true, top)
  })
  f.if(eq(next, pc), () => { repeat(top) })
  f.if(and(load32(none, EVENT), i32(EVENT_STOP)), () => { leave(EXIT.EVENT, next) })
  f.set(PC, next)
  f.br(top)
}

/** Writes a module with the cold function `cold(pc, tlb)` of one form. */
export function writeColdForm(form: Form, layout: InterpreterLayout): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter()
  const slow = module.importFunction('slow', [I32, I32, I32], [I32])
  const slowCommit = module.importFunction('slowCommit', [I32], [])
  const slowBulk = module.importFunction('slowBulk', [I32, I32], [I32])
  const image = module.importFunction('flagImage', [], [I32])
  const conditions = [0, 2, 4, 6, 8, 10, 12, 14].map((cc) => module.importFunction(`condition${cc}`, [], [I32]))
  module.importMemory(layout.memoryPages)
  const number = module.declare([I32, I32], [I32])
  const f = new WasmFunction([I32, I32])
  const pc = local(0, I32)
  const leave = (reason: number, uop: Expr): void => {
    f.store(4, none, uop, EXIT_UOP)
    f.store(4, none, i32(reason), EXIT_REASON)
    f.return(none)
  }
  let stored = -1
  const access: Access = {
    budget: null,
    translate(b, address, size, want) {
      const host = f.newLocal(I32)
      const { hit, host: direct } = b.probe(address, size, want !== 1)
      f.if(hit, () => { f.set(host, direct) }, () => {
        f.set(host, call(slow, I32, [wrap(address), wrap(shrU(address, i64(32))), i32(missInfo(size, want))]))
        f.if(eqz(local(host, I32)), () => { leave(EXIT.FAULT, pc) })
      })
      stored = host
      return local(host, I32)
    },
    commit(_b, size) {
      f.if(eq(local(stored, I32), i32(SCRATCH)), () => {
        f.emit(i32(size))
        f.code.u8(0x10)
        f.code.u32(slowCommit)
      })
    },
    enter(_b, header) { f.return(or(header, i32(1))) },
    leave(_b, reason, uop) { leave(reason, uop) },
    repeat() { f.return(pc) },
    bulk(b, kind, size) {
      repeatOnce(b, kind, size, call(slowBulk, I32, [i32(kind === 'movs' ? 1 : 0), i32(size)]))
    },
  }
  const b = new InterpreterBuilder(f, form, pc, local(1, I32), access, { image, conditions }, layout.jumpCache)
  writeForm(b, form)
  f.emit(add(pc, i32(UOP_SIZE)))
  module.define(number, f)
  module.export('cold', number)
  return module.build()
}

