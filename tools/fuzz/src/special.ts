/** Instructions that need more than an operand in the right place: far pointers, frames, selectors, areas, masks. */
import { SELECTOR, STATE, type Batch } from '@cofferdam/oracle'
import type { Encoded, Mode } from './encode.ts'
import { OPERAND } from './inside.ts'
import { operandAt } from './operands.ts'
import { code16At, LOCAL, MAIN } from './places.ts'
import type { Pool } from './pool.ts'
import { baseOf, poke, REGISTER, SEGMENT, stackWidth } from './state.ts'
import { descriptorOf } from './segments.ts'

export interface SpecialOptions {
  readonly pool: Pool
  readonly batch: Batch
  readonly index: number
  readonly mode: Mode
  readonly made: Encoded
  readonly codeAt: number
}

/** Selectors that a case loads: good ones, ones of the wrong kind, privilege or presence, ones beyond the tables. */
function anySelector({ pool: { random }, codeAt }: SpecialOptions): number {
  const choice = random.below(16)
  if (choice < 6) return random.pick([SELECTOR.DATA, SELECTOR.CODE32, SELECTOR.CODE64, code16At(codeAt)])
  if (choice < 12) return random.pick(Object.values(LOCAL))
  if (choice < 14) return random.pick([0, 1, 2, 3, 0x10, 0x18, 0x20, 0x28, 0x29, 0x2a, 0x30, 0x08, 0x40, 0x50])
  return random.pick([0x38, 0x63, 0x80, 0x83, 0xffff, 0x107, 0x207, LOCAL.DATA16 & ~3, LOCAL.CODE32 & ~1, 0xfffc])
}

const CODE_SELECTORS = [
  SELECTOR.CODE32, SELECTOR.CODE32, SELECTOR.CODE64, SELECTOR.CODE64, LOCAL.CODE32, LOCAL.EXECUTE_ONLY,
]

/** A far pointer: mostly to code that is there. */
function farTarget(options: SpecialOptions): { selector: number; offset: bigint } {
  const { pool, codeAt } = options
  const { random } = pool
  const far = random.below(4) === 0
  const selector = far ? anySelector(options) : random.pick([...CODE_SELECTORS, code16At(codeAt)])
  const base = (selector & 4) !== 0 && (selector & 3) === 3 && !far ? descriptorOf(selector).base : 0
  const offset = random.below(8) === 0 ? pool.integer() : BigInt(codeAt - base + random.below(16))
  return { selector, offset }
}

/** What becomes of a case: `step` because it leaves the bytes; `unfit` because its operands cannot be had. */
export type Special = 'plain' | 'step' | 'unfit'

/** Adjusts the case. */
export function prepareSpecial(options: SpecialOptions): Special {
  const { batch, index, made, pool: { random } } = options
  const { name, operands } = made.line
  const at = batch.at(index)
  if (operands.includes(OPERAND.S) && operands[0] === OPERAND.S) loadSelector(options)
  switch (name) {
    case 'callf': case 'jmpf': {
      const { selector, offset } = farTarget(options)
      const size = made.operandSize
      if (made.farAt >= 0) {
        for (let i = 0; i < size; i++) {
          made.bytes[made.farAt + i] = Number(BigInt.asUintN(64, offset) >> BigInt(8 * i) & 0xffn)
        }
        made.bytes[made.farAt + size] = selector & 0xff
        made.bytes[made.farAt + size + 1] = selector >> 8
      } else pokeFar(options, operandAt(batch, index, made, options.mode), size, offset, selector)
      return 'step'
    }
    case 'retf': case 'iret': frame(options, name === 'iret'); return 'step'
    case 'les': case 'lds': case 'lss': case 'lfs': case 'lgs':
      pokeFar(
        options, operandAt(batch, index, made, options.mode), made.operandSize, options.pool.integer(),
        anySelector(options),
      )
      return 'plain'
    case 'pop':
      if (operands[0] >= OPERAND.SEG) poke(batch, index, stackAt(options), 2, BigInt(anySelector(options)))
      return 'plain'
    case 'lar': case 'lsl': case 'verr': case 'verw': case 'arpl': loadSelector(options); return 'plain'
    case 'int': int(options); return 'plain'
    case 'bound': bounds(options); return 'plain'
    case 'popf':
      // Without TF: what follows would be traced.
      pokeFlags(options, stackAt(options))
      return 'plain'
    case 'xsave': case 'xsaveopt': case 'xsavec': case 'xrstor': case 'fxsave': case 'fxrstor': return area(options)
    case 'cmpxchg8b': case 'cmpxchg16b':
      // Once in a while it succeeds.
      if (random.below(3) !== 0) {
        pokePair(options, operandAt(batch, index, made, options.mode), name === 'cmpxchg16b' ? 8 : 4)
      }
      return 'plain'
    case 'div': case 'idiv':
      // A dividend that fits more often than a random one.
      if (random.below(2) === 0) {
        const small = random.below(2) === 0 ? 0 : 0xffff_ffff
        batch.u32[((at + STATE.GPR) >> 2) + 2 * REGISTER.RDX] = small
        batch.u32[((at + STATE.GPR) >> 2) + 2 * REGISTER.RDX + 1] = options.mode === 64 ? small : 0
      }
      return 'plain'
    default: return 'plain'
  }
}

/** Linear address of the top of the stack. */
function stackAt({ batch, index, mode }: SpecialOptions): number {
  const width = stackWidth(batch, index, mode)
  const pointer = BigInt.asUintN(8 * width, batch.u64[((batch.at(index) + STATE.GPR) >> 3) + REGISTER.RSP])
  return Number(BigInt.asUintN(32, pointer + baseOf(batch, index, mode, SEGMENT.SS)))
}

function pokeFar(
  { batch, index }: SpecialOptions, linear: number, size: number, offset: bigint, selector: number,
): void {
  if (linear < 0) return
  poke(batch, index, linear, size, BigInt.asUintN(64, offset))
  poke(batch, index, linear + size, 2, BigInt(selector))
}

/** A selector in the register, or the memory, that is the source. */
function loadSelector(options: SpecialOptions): void {
  const { batch, index, made, mode } = options
  const selector = anySelector(options)
  if (made.memory !== null) {
    const linear = operandAt(batch, index, made, mode)
    if (linear >= 0) poke(batch, index, linear, 2, BigInt(selector))
    return
  }
  const modrm = made.bytes[made.bytes.length - 1]
  // REX lies directly before the opcode, of one byte or two.
  const opcodeAt = made.bytes.length - (made.line.space === 0 ? 2 : 3)
  const rex = mode === 64 && opcodeAt > 0 && (made.bytes[opcodeAt - 1] & 0xf0) === 0x40 ? made.bytes[opcodeAt - 1] : 0
  const rm = modrm & 7 | (rex & 1) << 3
  batch.u16[((batch.at(index) + STATE.GPR) >> 1) + 4 * rm] = selector
}

/** What RETF and IRET pop: offset, selector, flags, and in 64-bit mode the stack. */
function frame(options: SpecialOptions, withFlags: boolean): void {
  const { batch, index, mode, made: { operandSize: size }, pool: { random } } = options
  const { selector, offset } = farTarget(options)
  let at = stackAt(options)
  const push = (value: bigint): void => {
    poke(batch, index, at, size, BigInt.asUintN(64, value))
    at += size
  }
  push(offset)
  push(BigInt(selector))
  // AC counts at once for what is popped after it, and Linux takes #AC without AC for a split lock (and tries again).
  if (withFlags) push(flagImage(options) & ~0x4_0000n)
  if (!withFlags || mode !== 64) return
  push(BigInt(MAIN - 32 + random.below(64)))
  push(BigInt(random.below(8) !== 0 ? SELECTOR.DATA : anySelector(options)))
}

const TF = 0x100
/** What Linux keeps for itself of a user's flags: it clears NT on its way out, and RF is its own. */
const flagImage = ({ pool: { random } }: SpecialOptions): bigint => BigInt(random.u32() & 0x3f_7fd7 & ~TF & ~0x1_4000)

function pokeFlags(options: SpecialOptions, linear: number): void {
  poke(options.batch, options.index, linear, 4, flagImage(options))
}

/** Vectors whose gates user code may not use, and the two that it may; 0x80 is the kernel's. */
function int({ made, pool: { random } }: SpecialOptions): void {
  const vector = random.pick([3, 4, random.below(256)])
  made.bytes[made.bytes.length - 1] = vector === 0x80 ? 0x81 : vector
}

/** Bounds around the index, at times. */
function bounds(options: SpecialOptions): void {
  const { batch, index, made, mode, pool: { random } } = options
  const linear = operandAt(batch, index, made, mode)
  if (linear < 0 || random.below(3) === 0) return
  const size = made.operandSize
  poke(batch, index, linear, size, 1n << BigInt(8 * size - 1))
  poke(batch, index, linear + size, size, (1n << BigInt(8 * size - 1)) - 1n)
}

/** Puts what RDX:RAX holds where CMPXCHG8B or CMPXCHG16B compare. */
function pokePair({ batch, index }: SpecialOptions, linear: number, size: number): void {
  if (linear < 0) return
  const gpr = (batch.at(index) + STATE.GPR) >> 3
  poke(batch, index, linear, size, batch.u64[gpr + REGISTER.RAX])
  poke(batch, index, linear + size, size, batch.u64[gpr + REGISTER.RDX])
}

/**
 * Areas of 512 or 832 bytes do not fit the window: most of one is zero memory. The mask stays within the states that
 * are compared, and every state is in use, since what the processor takes for unused is its own affair (SDM vol. 1
 * §13.6).
 */
function area(options: SpecialOptions): Special {
  const { batch, index, made, mode, pool: { random } } = options
  const at = batch.at(index)
  const { memory } = made
  // They hold the mask.
  const inMask = (r: number): boolean => r === REGISTER.RAX || r === REGISTER.RDX
  const narrowStack = memory?.base === REGISTER.RSP && stackWidth(batch, index, mode) === 2
  if (memory === null || inMask(memory.base) || inMask(memory.index) || narrowStack) return 'unfit'
  batch.u32[((at + STATE.GPR) >> 2) + 2 * REGISTER.RDX] = 0
  batch.u32[((at + STATE.GPR) >> 2) + 2 * REGISTER.RAX] = random.below(8)
  batch.u16[(at + STATE.FCW) >> 1] |= 0x40
  batch.u8[at + STATE.YMM] |= 1
  batch.u8[at + STATE.YMM + 16] |= 1
  if (random.below(8) === 0 || memory.base < 0 || memory.index === memory.base) return 'plain'
  // Aligned, and at times with a header that holds something.
  const linear = operandAt(batch, index, made, mode)
  if (linear < 0) return 'plain'
  const to = random.pick([MAIN - 4096, MAIN - 512, MAIN - 512 - 64, MAIN + 64, MAIN - 64])
  const gpr = ((at + STATE.GPR) >> 3) + memory.base
  const moved = batch.u64[gpr] + BigInt(to - linear)
  batch.u64[gpr] = BigInt.asUintN(mode === 64 ? 64 : 32, moved)
  if (random.below(2) === 0) return 'plain'
  for (let i = 0; i < 64; i += 8) poke(batch, index, to + 512 + i, 8, i === 0 ? BigInt(random.below(8)) : 0n)
  return 'plain'
}
