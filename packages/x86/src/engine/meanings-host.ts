/**
 * Meanings in TypeScript for what the WebAssembly meanings leave: division faults, stack and strings of legacy modes.
 */
import type { Cpu, Meaning } from '../cpu.ts'
import { VECTOR, raise } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { MEM, REG_HIGH } from '../insn.ts'
import { GPR } from '../state.ts'

const RAX = GPR >>> 3
const RDX = (GPR >>> 3) + 2

const mask = (size: number): bigint => (1n << BigInt(size * 8)) - 1n

function operand(cpu: Cpu, insn: Insn): bigint {
  const { size } = insn
  if (insn.kind0 === MEM) {
    const address = cpu.operandAddress(insn, size, false)
    return size === 8 ? cpu.load64(address) : BigInt(cpu.load(address, size as 1 | 2 | 4))
  }
  const value = cpu.views.u64[(GPR >>> 3) + insn.reg0]
  return (insn.kind0 === REG_HIGH ? value >> 8n : value) & mask(size)
}

/** DIV and IDIV with every dividend; #DE for a zero divisor and for a quotient that does not fit. */
const divide = (isSigned: boolean): Meaning => (cpu, insn) => {
  const { u64 } = cpu.views
  const { size } = insn
  const bits = size * 8
  const low = size === 1 ? u64[RAX] & 0xffffn : u64[RAX] & mask(size)
  const wide = size === 1 ? 16 : bits * 2
  let dividend = size === 1 ? low : ((u64[RDX] & mask(size)) << BigInt(bits)) | low
  let divisor = operand(cpu, insn)
  if (isSigned) {
    dividend = BigInt.asIntN(wide, dividend)
    divisor = BigInt.asIntN(bits, divisor)
  }
  if (divisor === 0n) raise(VECTOR.DE)
  const quotient = dividend / divisor
  const remainder = dividend % divisor
  if ((isSigned ? BigInt.asIntN(bits, quotient) : BigInt.asUintN(bits, quotient)) !== quotient) raise(VECTOR.DE)
  if (size === 1) {
    u64[RAX] = (u64[RAX] & ~0xffffn) | (quotient & 0xffn) | ((remainder & 0xffn) << 8n)
    return
  }
  write(cpu, RAX, size, quotient)
  write(cpu, RDX, size, remainder)
}

function write(cpu: Cpu, at: number, size: number, value: bigint): void {
  const { u64 } = cpu.views
  u64[at] = size === 2 ? (u64[at] & ~0xffffn) | (value & 0xffffn) : value & mask(size)
}

export const hostMeanings: Readonly<Record<string, Meaning>> = {
  div: divide(false), idiv: divide(true), pause: (cpu) => { cpu.pause?.() },
}
