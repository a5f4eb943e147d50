/** Gives registers and displacements values so that memory operands are where they should be. */
import { CODE, STATE, type Batch } from '@cofferdam/oracle'
import { writeBytes, type Encoded, type MemoryPlan, type Mode } from './encode.ts'
import { FORM } from './inside.ts'
import { BOUNDARIES, MAIN } from './places.ts'
import type { Pool } from './pool.ts'
import { baseOf, keptRegisters, REGISTER, SEGMENT, stackWidth } from './state.ts'

export interface PlaceOptions {
  readonly mode: Mode
  /** The case has one instruction: any register may get what its address needs. */
  readonly alone: boolean
}

/** Where a memory operand goes: mostly well inside, aligned or not; over the end of a page; nowhere. */
function target(pool: Pool): bigint {
  const { random } = pool
  const choice = random.below(100)
  if (choice < 45) return BigInt(MAIN - 128 + random.below(8) * 32)
  if (choice < 62) return BigInt(MAIN - 128 + random.below(225))
  if (choice < 72) return BigInt(MAIN - random.below(34))
  if (choice < 94) return BigInt(random.pick(BOUNDARIES) - random.below(34))
  if (choice < 97) return BigInt(random.pick(BOUNDARIES) + random.below(34))
  if (choice < 98) return BigInt(CODE.AT + random.below(CODE.LENGTH))
  return pool.integer()
}

export function placeOperands(
  pool: Pool, batch: Batch, index: number, code: readonly Encoded[], options: PlaceOptions,
): void {
  const { random } = pool
  const { mode, alone } = options
  const gpr = (batch.at(index) + STATE.GPR) >> 3
  if (!alone) {
    const { bases, index: small } = keptRegisters(mode)
    for (const r of bases) {
      const linear = BigInt(MAIN - 64 + random.below(16) * (random.below(4) === 0 ? 1 : 8))
      const offset = linear - baseOf(batch, index, mode, SEGMENT.DS)
      batch.u64[gpr + r] = mode === 64 ? BigInt.asUintN(64, offset) : BigInt.asUintN(32, offset)
    }
    batch.u64[gpr + small] = BigInt.asUintN(mode === 64 ? 64 : 32, BigInt(random.below(9) - 4))
  }
  for (const made of code) {
    const { memory } = made
    if (memory === null) continue
    const vsib = (made.line.flags & FORM.VSIB) !== 0
    if (memory.ripRelative) made.target = MAIN - 128 + random.below(random.below(8) === 0 ? 256 : 225)
    else if (alone && memory.base >= 0) solveBase(pool, batch, index, made, memory, mode, vsib)
    else if (made.dispAt >= 0) solveDisplacement(pool, batch, index, made, memory, mode, vsib)
    if (vsib) smallIndices(pool, batch, index, memory)
  }
  // The upper half of ESP is the harness's where SS has a stack pointer of 16 bits.
  if (stackWidth(batch, index, mode) === 2) batch.u64[gpr + REGISTER.RSP] &= 0xffffn
  // Whether masked bytes fault is the processor's to choose (SDM vol. 2, MASKMOVDQU): none lie outside.
  if (code.some(({ line }) => line.name.startsWith('maskmov'))) {
    const linear = BigInt(MAIN - 128 + random.below(240))
    for (const segment of [SEGMENT.DS]) {
      batch.u64[gpr + REGISTER.RDI] = BigInt.asUintN(
        mode === 64 ? 64 : 32, linear - baseOf(batch, index, mode, segment),
      )
    }
  }
}

/** A signed number from the low `bits` of a value. */
const signed = (bits: number, value: bigint): number => Number(BigInt.asIntN(bits, value))

/** Chooses a displacement and sets the base register. */
function solveBase(
  pool: Pool, batch: Batch, index: number, made: Encoded, memory: MemoryPlan, mode: Mode, vsib: boolean,
): void {
  const { random } = pool
  const gpr = (batch.at(index) + STATE.GPR) >> 3
  const at = target(pool) - baseOf(batch, index, mode, memory.segment)
  const bits = memory.addressSize * 8
  let disp = 0
  if (made.dispAt >= 0) {
    disp = made.dispSize === 1 ? random.below(256) - 128
      : made.dispSize === 2 ? random.below(0x1_0000)
      : random.u32() | 0
    writeBytes(made, made.dispAt, made.dispSize, disp)
  }
  const scaled = memory.index < 0 || vsib ? 0n : batch.u64[gpr + memory.index] << BigInt(memory.scale)
  let value: bigint
  if (memory.index === memory.base && !vsib) value = (at - BigInt(disp)) / (1n + (1n << BigInt(memory.scale)))
  else value = at - BigInt(disp) - scaled
  batch.u64[gpr + memory.base] = withNoise(pool, BigInt.asUintN(bits, value), bits, mode)
}

/** Bits above the address size are not looked at. */
const withNoise = ({ random }: Pool, value: bigint, bits: number, mode: Mode): bigint => {
  if (bits === 64) return value
  const wide = bits === 32 ? value | BigInt(random.u32()) << 32n : value | BigInt(random.u32() >>> 16) << 16n
  return mode === 64 ? wide : BigInt.asUintN(32, wide)
}

/** Registers are what they are: the displacement brings the operand near if it can. */
function solveDisplacement(
  pool: Pool, batch: Batch, index: number, made: Encoded, memory: MemoryPlan, mode: Mode, vsib: boolean,
): void {
  const { random } = pool
  const gpr = (batch.at(index) + STATE.GPR) >> 3
  const at = target(pool) - baseOf(batch, index, mode, memory.segment)
  if (memory.base < 0 && memory.index >= 0 && !vsib && made.dispSize === 4 && random.below(4) !== 0) {
    // [index+disp32]: the index can be anything when it is alone.
    const kept = keptRegisters(mode)
    if (memory.index !== kept.index) {
      const disp = random.u32() | 0
      writeBytes(made, made.dispAt, 4, disp)
      const rest = BigInt.asUintN(memory.addressSize * 8, at - BigInt(disp)) & ~((1n << BigInt(memory.scale)) - 1n)
      batch.u64[gpr + memory.index] = BigInt.asUintN(mode === 64 ? 64 : 32, rest >> BigInt(memory.scale))
      return
    }
  }
  const base = memory.base < 0 ? 0n : batch.u64[gpr + memory.base]
  const scaled = memory.index < 0 || vsib ? 0n : batch.u64[gpr + memory.index] << BigInt(memory.scale)
  if (made.dispSize === 8) {
    made.bytes.splice(
      made.dispAt, 8, ...Array.from({ length: 8 }, (_, i) => Number(BigInt.asUintN(64, at) >> BigInt(8 * i) & 0xffn))
    )
    return
  }
  const disp = made.dispSize === 1 ? random.below(256) - 128 : signed(made.dispSize * 8, at - base - scaled)
  writeBytes(made, made.dispAt, made.dispSize, disp)
}

/** Gathers: the elements of the index register are small. */
function smallIndices({ random }: Pool, batch: Batch, index: number, memory: MemoryPlan): void {
  const at = (batch.at(index) + STATE.YMM + 32 * memory.index) >> 2
  const wide = random.below(2) === 0
  for (let i = 0; i < 8; i++) batch.u32[at + i] = wide && (i & 1) === 1 ? 0 : random.below(16)
}

/** Linear address of an operand, or −1 where it is none that a number holds. */
export function operandAt(batch: Batch, index: number, made: Encoded, mode: Mode): number {
  const { memory } = made
  if (memory === null) return -1
  if (memory.ripRelative) return made.target ?? -1
  const gpr = (batch.at(index) + STATE.GPR) >> 3
  let offset = memory.base < 0 ? 0n : batch.u64[gpr + memory.base]
  if (memory.index >= 0) offset += batch.u64[gpr + memory.index] << BigInt(memory.scale)
  if (made.dispAt >= 0) {
    let disp = 0n
    for (let i = made.dispSize - 1; i >= 0; i--) disp = disp << 8n | BigInt(made.bytes[made.dispAt + i])
    offset += BigInt.asIntN(made.dispSize * 8, disp)
  }
  const linear = BigInt.asUintN(memory.addressSize * 8, offset) + baseOf(batch, index, mode, memory.segment)
  const whole = BigInt.asUintN(mode === 64 ? 64 : 32, linear)
  return whole > 0xffff_ffffn ? -1 : Number(whole)
}
