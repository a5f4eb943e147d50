/** FMA3: 132, 213 and 231 say which operands are multiplied; the one left is added. */
import type { Meaning } from '../cpu.ts'
import { readOperand, readXmm, vectorBytes, writeXmm } from '../vector/operands.ts'
import { A, B, C, R, type Vec } from '../vector/vec.ts'
import { fusedMultiplyAdd } from './arithmetic.ts'
import { checkAvx } from './checks.ts'
import { fusedAdd32, fusedAdd64 } from './native.ts'
import { beginSse, env, finishSse, getLane, native, setLane } from './sse-env.ts'
import { F32, F64, type Format } from './softfloat.ts'

/** Signs of product and addend: per operation, for even and odd lanes. */
const SIGNS: Record<string, readonly [product: number, evenAddend: number, oddAddend: number]> = {
  fmadd: [0, 0, 0], fmsub: [0, 1, 1], fnmadd: [1, 0, 0], fnmsub: [1, 1, 1], fmaddsub: [0, 1, 0], fmsubadd: [0, 0, 1],
}

/** Factors and addend as indices into (destination, second, third operand). */
const ORDERS: Record<string, readonly [number, number, number]> = { 132: [0, 2, 1], 213: [1, 0, 2], 231: [1, 2, 0] }

/** The lane by native arithmetic; false when it must be done exactly. */
function quick(f: Format, x: Vec, y: Vec, z: Vec, i: number, negateProduct: number, negateAddend: number): boolean {
  if (f === F32) {
    return fusedAdd32(negateProduct ? -x.f32[i] : x.f32[i], y.f32[i], negateAddend ? -z.f32[i] : z.f32[i], R, i)
  }
  return fusedAdd64(negateProduct ? -x.f64[i] : x.f64[i], y.f64[i], negateAddend ? -z.f64[i] : z.f64[i], R, i)
}

function fma(operation: string, order: string, f: Format, scalar: boolean): Meaning {
  const [negateProduct, even, odd] = SIGNS[operation]
  const operands: readonly Vec[] = [A, B, C]
  const [x, y, z] = ORDERS[order].map(n => operands[n]) as [Vec, Vec, Vec]
  const width = f === F32 ? 4 : 8
  return (cpu, insn) => {
    checkAvx(cpu)
    beginSse(cpu)
    const bytes = scalar ? 16 : vectorBytes(insn)
    readOperand(cpu, insn, 2, scalar ? width : bytes, C)
    readXmm(cpu, insn.reg1, bytes, B)
    readXmm(cpu, insn.reg0, bytes, A)
    R.u8.set(A.u8)
    const lanes = scalar ? 1 : bytes / width
    for (let i = 0; i < lanes; i++) {
      if (native && quick(f, x, y, z, i, negateProduct, i & 1 ? odd : even)) continue
      const bits = fusedMultiplyAdd(env, f, getLane(f, x, i), getLane(f, y, i), getLane(f, z, i), negateProduct,
        i & 1 ? odd : even)
      setLane(f, R, i, bits)
    }
    finishSse(cpu)
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

export const fmaMeanings: Record<string, Meaning> = {}
for (const order of Object.keys(ORDERS)) {
  for (const operation of Object.keys(SIGNS)) {
    fmaMeanings[`v${operation}${order}ps`] = fma(operation, order, F32, false)
    fmaMeanings[`v${operation}${order}pd`] = fma(operation, order, F64, false)
    if (operation === 'fmaddsub' || operation === 'fmsubadd') continue
    fmaMeanings[`v${operation}${order}ss`] = fma(operation, order, F32, true)
    fmaMeanings[`v${operation}${order}sd`] = fma(operation, order, F64, true)
  }
}
