/** Moves, exchanges and the stack (SDM vol. 2). */
import { I32, add, and, eq, extendS, extendU, i32, i64, ne, select, shrS, sub, wrap } from '../wasm/expr.ts'
import { YIELDS } from '../state.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { KIND, signed, truncate } from './flags.ts'
import { RAX, RBP, RDX, RSP, sized } from './operand-values.ts'

const cmpxchg: WasmMeaning = (b) => {
  const { size } = b.form
  const accumulator = b.let(b.gpr(RAX, size))
  const source = b.let(b.get(1))
  let seen = accumulator
  if (b.form.memory === 0) {
    // A register keeps all its 64 bits when the comparison fails.
    seen = b.let(b.get(0))
    b.f.if(eq(seen, accumulator), () => { b.set(0, source) })
  } else {
    b.modify(0, (old) => {
      seen = b.let(old)
      return select(eq(seen, accumulator), source, seen)
    })
  }
  b.flags(KIND.SUB, accumulator, seen)
  // A 32-bit failure clears the upper half of RAX, a success leaves it (SDM CMPXCHG: "accumulator := temp" only then).
  b.f.if(ne(seen, accumulator), () => { b.setGpr(RAX, seen, size) })
}

const xadd: WasmMeaning = (b) => {
  const y = b.let(b.get(1))
  let seen = y
  b.modify(0, (old) => {
    seen = b.let(old)
    const r = b.let(truncate(b.form.size, add(seen, y)))
    b.flags(KIND.ADD, r, y)
    // The register gets the old value before the destination, so that XADD of a register with itself adds.
    if (b.form.memory === 0) b.set(1, seen)
    return r
  })
  if (b.form.memory !== 0) b.set(1, seen)
}

const exchange: WasmMeaning = (b) => {
  const memorySlot = b.form.kinds[1] === 3 ? 1 : 0
  const other = b.let(b.get(1 - memorySlot))
  let seen = other
  b.modify(memorySlot, (old) => {
    seen = b.let(old)
    return other
  })
  b.set(1 - memorySlot, seen)
}

const extension = (isSigned: boolean): WasmMeaning => (b) => {
  const { size, size2 } = b.form
  const v = b.get(1, size2)
  if (!isSigned) {
    b.set(0, size === 8 && v.type === I32 ? extendU(v) : v)
    return
  }
  const s = size2 === 8 ? v : signed(size2, v)
  b.set(0, size === 8 && s.type === I32 ? extendS(s) : size === 2 ? and(s, i32(0xffff)) : s)
}

const push: WasmMeaning = (b) => {
  const size = b.form.size
  const v = b.let(b.get(0))
  const sp = b.let(sub(b.gpr(RSP, 8), i64(size)))
  b.store(size, sp, v)
  b.setGpr(RSP, sp, 8)
}

/** Marks forms of POP whose memory operand is based on RSP. */
export const POP_RSP_BASED = 1

const pop: WasmMeaning = (b) => {
  const { size } = b.form
  const sp = b.let(b.gpr(RSP, 8))
  const v = b.load(size, sp)
  const after = add(sp, i64(size))
  if (b.form.memory === 0) {
    b.setGpr(RSP, after, 8)
    b.set(0, v)
    return
  }
  // A memory destination based on RSP uses the value after the pop; RSP itself is changed only when the store is
  // through.
  const address = b.immediate() === POP_RSP_BASED ? add(b.address(), i64(size)) : b.address()
  b.store(size, address, v)
  b.setGpr(RSP, after, 8)
}

const leave: WasmMeaning = (b) => {
  const { size } = b.form
  const bp = b.let(b.gpr(RBP, 8))
  const v = b.load(size, bp)
  b.setGpr(RSP, add(bp, i64(size)), 8)
  b.setGpr(RBP, v, size)
}

const widenAccumulator: WasmMeaning = (b) => {
  const { size } = b.form
  if (size === 8) b.setGpr(RAX, extendS(b.gpr(RAX, 4)), 8)
  else b.setGpr(RAX, truncate(size, signed(size / 2, b.gpr(RAX, size / 2))), size)
}

const spreadSign: WasmMeaning = (b) => {
  const { size } = b.form
  b.setGpr(RDX, truncate(size, shrS(signed(size, b.gpr(RAX, size)), sized(b, size === 8 ? 63 : 31))), size)
}

/** CLFLUSH, CLFLUSHOPT, CLWB: a byte is loaded. Where somebody listens to caches, the host's meaning tells it. */
const cacheLine: WasmMeaning = (b) => { b.load(1, b.address()) }

export const moveMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ['mov', (b) => { b.set(0, b.get(1)) }],
  ['lea', (b) => { b.set(0, b.form.size === 8 ? b.address(false) : truncate(b.form.size, wrap(b.address(false)))) }],
  ['movzx', extension(false)],
  ['movsx', extension(true)],
  ['cmpxchg', cmpxchg],
  ['xadd', xadd],
  ['xchg', exchange],
  ['push', push],
  ['pop', pop],
  ['leave', leave],
  ['cbw', widenAccumulator],
  ['cwd', spreadSign],
  ['setcc', (b) => { b.set(0, b.condition(b.form.cc)) }],
  ['cmovcc', (b) => {
    const v = b.let(b.get(1))
    b.set(0, select(b.condition(b.form.cc), v, b.get(0)))
  }],
  ['nop', () => { /* nothing, as its name says */ }],
  ['pause', (b) => { b.hostIf(b.state32(YIELDS)) }],
  ...['clflush', 'clflushopt', 'clwb'].map((n) => [n, cacheLine] as const),
  // Every access is done when its instruction is.
  ...['lfence', 'mfence', 'sfence', 'serialize'].map((n) => [n, (): void => {}] as const),
  ...['movnti', 'movdiri'].map((n) => [n, (b: Builder): void => { b.set(0, b.get(1)) }] as const),
]
