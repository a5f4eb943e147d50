/** MXCSR around an instruction: the environment it sets up, and what its exceptions lead to (SDM vol. 1, §11.5). */
import type { Cpu } from '../cpu.ts'
import { MXCSR } from '../state.ts'
import type { Vec } from '../vector/vec.ts'
import { raiseSimd } from './checks.ts'
import { createEnv, F32, type Format } from './softfloat.ts'

const MXCSR_DAZ = 0x40
const MXCSR_FTZ = 0x8000
/** Flags of invalid, denormal and divide-by-zero: found before anything is computed. */
const BEFORE = 7

/** The environment of the SSE instruction that is running. */
export const env = createEnv()

/**
 * What native arithmetic may do: 0 nothing; 1 results whose exactness it can tell; 2 also inexact ones, as PE is
 * already set and masked.
 */
export let native = 0

/** Sets `env` up from MXCSR. */
export function beginSse(cpu: Cpu): void {
  const mxcsr = cpu.views.u32[MXCSR >> 2]
  env.flags = 0
  env.rounding = mxcsr >> 13 & 3
  env.unmasked = ~mxcsr >> 7 & 0x3f
  env.daz = (mxcsr & MXCSR_DAZ) !== 0
  env.ftz = (mxcsr & MXCSR_FTZ) !== 0
  native = env.rounding || env.unmasked ? 0 : mxcsr & 0x20 ? 2 : 1
}

/**
 * Adds the exceptions to MXCSR and raises #XM for an unmasked one. When an unmasked one is found before computing,
 * those found after computing are not noted.
 */
export function finishSse(cpu: Cpu): void {
  if (env.flags === 0) return
  const before = env.flags & env.unmasked & BEFORE
  cpu.views.u32[MXCSR >> 2] |= before ? env.flags & BEFORE : env.flags
  if (env.flags & env.unmasked) raiseSimd(cpu)
}

/** Bits of lane `i`. */
export function getLane(f: Format, v: Vec, i: number): bigint {
  return f === F32 ? BigInt(v.u32[i]) : v.u64[i]
}

export function setLane(f: Format, v: Vec, i: number, bits: bigint): void {
  if (f === F32) v.u32[i] = Number(bits)
  else v.u64[i] = bits
}
