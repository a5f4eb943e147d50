/** Addition, subtraction, logic and the flags alone (SDM vol. 2). Undefined flags are set as noted beside. */
import { add, and, i32, leU, ltU, or, select, shl, shrU, sub, xor } from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { SYSFLAGS } from '../state.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { FLAG, KIND, truncate } from './flags.ts'
import { sized, widen } from './operand-values.ts'

const addition: WasmMeaning = (b) => {
  const y = b.let(b.get(1))
  b.modify(0, (a) => {
    const r = b.let(truncate(b.form.size, add(a, y)))
    b.flags(KIND.ADD, r, y)
    return r
  })
}

const subtraction: WasmMeaning = (b) => {
  const y = b.let(b.get(1))
  b.modify(0, (old) => {
    const a = b.let(old)
    b.flags(KIND.SUB, a, y)
    return truncate(b.form.size, sub(a, y))
  })
}

const logic = (f: (a: Expr, y: Expr) => Expr): WasmMeaning => (b) => {
  const y = b.let(b.get(1))
  b.modify(0, (a) => {
    const r = b.let(f(a, y))
    b.flags(KIND.LOGIC, r, r)
    return r
  })
}

/** ADC and SBB: without a carry in they are ADD and SUB, and their flags are kept as those. */
const withCarry = (subtract: boolean): WasmMeaning => (b) => {
  const c = b.let(b.condition(2))
  const y = b.let(b.get(1))
  b.modify(0, (old) => {
    const a = b.let(old)
    const ct = widen(b, c)
    const r = b.let(truncate(b.form.size, subtract ? sub(sub(a, y), ct) : add(add(a, y), ct)))
    if (b.flagsNeeded) {
      if (subtract) b.flagsEither(c, KIND.SBB, KIND.SUB, a, y)
      else b.flagsEither(c, KIND.ADC, KIND.ADD, r, y)
    }
    return r
  })
}

const increment = (by: 1 | -1): WasmMeaning => (b) => {
  const c = b.flagsNeeded ? b.let(b.condition(2)) : i32(0)
  b.modify(0, (a) => {
    const r = b.let(truncate(b.form.size, add(a, sized(b, by))))
    b.flags(by === 1 ? KIND.INC : KIND.DEC, r, widen(b, c))
    return r
  })
}

/** ADCX and ADOX: a chain through one flag. */
const chain = (flag: number): WasmMeaning => (b) => {
  const image = b.let(b.flagImage())
  const c = b.let(flag === FLAG.CF ? and(image, i32(1)) : and(shrU(image, i32(11)), i32(1)))
  const a = b.let(b.get(0))
  const y = b.let(b.get(1))
  const r = b.let(add(add(a, y), widen(b, c)))
  b.set(0, r)
  const carry = select(c, leU(r, a), ltU(r, a))
  b.imageFlags(or(and(image, i32(~flag)), flag === FLAG.CF ? carry : shl(carry, i32(11))))
}

/** CMC, CLC, STC. */
const carryFlag = (f: (image: Expr) => Expr): WasmMeaning => (b) => {
  b.imageFlags(f(b.flagImage()))
}

const compareAnd = (b: Builder): void => {
  const r = b.let(and(b.get(0), b.get(1)))
  b.flags(KIND.LOGIC, r, r)
}

export const arithmeticMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ['add', addition],
  ['sub', subtraction],
  ['cmp', (b) => {
    const a = b.let(b.get(0))
    b.flags(KIND.SUB, a, b.let(b.get(1)))
  }],
  ['and', logic(and)],
  ['or', logic(or)],
  ['xor', logic(xor)],
  ['test', compareAnd],
  ['adc', withCarry(false)],
  ['sbb', withCarry(true)],
  ['inc', increment(1)],
  ['dec', increment(-1)],
  ['neg', (b) => {
    b.modify(0, (old) => {
      const a = b.let(old)
      b.flags(KIND.SUB, sized(b, 0), a)
      return truncate(b.form.size, sub(sized(b, 0), a))
    })
  }],
  ['not', (b) => { b.modify(0, (a) => truncate(b.form.size, xor(a, sized(b, -1)))) }],
  ['adcx', chain(FLAG.CF)],
  ['adox', chain(FLAG.OF)],
  ['clc', carryFlag((image) => and(image, i32(~1)))],
  ['stc', carryFlag((image) => or(image, i32(1)))],
  ['cmc', carryFlag((image) => xor(image, i32(1)))],
  ['cld', (b) => { b.setState32(SYSFLAGS, and(b.state32(SYSFLAGS), i32(~0x400))) }],
  ['std', (b) => { b.setState32(SYSFLAGS, or(b.state32(SYSFLAGS), i32(0x400))) }],
  ['lahf', (b) => { b.setAh(or(and(b.flagImage(), i32(0xff)), i32(2))) }],
  ['sahf', (b) => {
    const ah = and(b.ah(), i32(FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF))
    b.imageFlags(or(ah, and(b.flagImage(), i32(FLAG.OF))))
  }],
]
