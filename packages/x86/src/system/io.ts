/** IN, OUT, INS, OUTS and the I/O permission bitmap (SDM vol. 1 chapter 19, vol. 2). */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { IMM } from '../insn.ts'
import { ES, TR } from '../state.ts'
import {
  addressRegister, cpl, gpr32, gpr64, isProtected, operandKind, RAX, RCX, RDI, RDX, RSI, segAttributes, segBase,
  segLimit, setGpr, setGpr64,
} from './access.ts'
import { FLAG } from './bits.ts'
import { linear } from './descriptor.ts'

/** Offset of the I/O map base in a 32- or 64-bit TSS. */
const TSS_IO_MAP = 0x66

/**
 * Checks that the present privilege may use `size` ports from `port`: CPL ≤ IOPL, or their bits in the TSS are clear.
 * The processor reads two bytes of the bitmap, both of which must lie inside the TSS (SDM vol. 1 §19.5.2).
 */
export function checkPort(cpu: Cpu, port: number, size: number): void {
  if (!isProtected(cpu) || cpl(cpu) <= ((cpu.getFlags() >>> 12) & 3)) return
  const is32 = (segAttributes(cpu, TR) & 0xd) === 9
  const limit = segLimit(cpu, TR)
  if (!is32 || limit < TSS_IO_MAP + 1) raise(VECTOR.GP, 0)
  const base = segBase(cpu, TR)
  const at = cpu.loadSystem(linear(cpu, base + BigInt(TSS_IO_MAP)), 2) + (port >>> 3)
  if (at + 1 > limit) raise(VECTOR.GP, 0)
  const bits = cpu.loadSystem(linear(cpu, base + BigInt(at)), 2) >>> (port & 7)
  if ((bits & ((1 << size) - 1)) !== 0) raise(VECTOR.GP, 0)
}

const accessSize = (insn: Insn): 1 | 2 | 4 => (insn.size === 1 ? 1 : insn.size === 2 ? 2 : 4)

/** The port: an immediate byte or DX. */
const portOf = (cpu: Cpu, insn: Insn, n: number): number =>
  operandKind(insn, n) === IMM ? insn.immLo & 0xff : gpr32(cpu, RDX) & 0xffff

/** IN AL/AX/EAX, imm8 or DX. */
export const inPort: Meaning = (cpu, insn) => {
  const size = accessSize(insn)
  const port = portOf(cpu, insn, 1)
  checkPort(cpu, port, size)
  setGpr(cpu, RAX, size, cpu.host.portRead(port, size))
}

/** OUT imm8 or DX, AL/AX/EAX. */
export const outPort: Meaning = (cpu, insn) => {
  const size = accessSize(insn)
  const port = portOf(cpu, insn, 0)
  checkPort(cpu, port, size)
  const value = gpr32(cpu, RAX)
  cpu.host.portWrite(port, size, size === 4 ? value : value & (size === 2 ? 0xffff : 0xff))
}

/** Adds to a string register at the address size. */
function advance(cpu: Cpu, insn: Insn, reg: number, delta: number): void {
  if (insn.addrSize === 8) setGpr64(cpu, reg, BigInt.asUintN(64, gpr64(cpu, reg) + BigInt(delta)))
  else setGpr(cpu, reg, insn.addrSize, gpr32(cpu, reg) + delta)
}

/**
 * Runs one iteration of a string instruction. With REP and a count that has not reached zero, the next instruction is
 * this one again: interrupts are taken between iterations, with the registers as they are then.
 */
function iterate(cpu: Cpu, insn: Insn, index: number, port: number, body: () => void): void {
  const repeats = insn.rep !== 0
  // Also where nothing is left to be done.
  checkPort(cpu, port, accessSize(insn))
  if (repeats && addressRegister(cpu, insn, RCX) === 0n) return
  body()
  const step = accessSize(insn)
  advance(cpu, insn, index, (cpu.getFlags() & FLAG.DF) !== 0 ? -step : step)
  if (!repeats) return
  advance(cpu, insn, RCX, -1)
  if (addressRegister(cpu, insn, RCX) !== 0n) cpu.setNextRip(cpu.rip())
}

/** INS: one iteration per call. The destination is checked before the port is read, since a read may have effects. */
export const ins: Meaning = (cpu, insn) => {
  const size = accessSize(insn)
  const port = gpr32(cpu, RDX) & 0xffff
  iterate(cpu, insn, RDI, port, () => {
    const address = cpu.segmentAddress(ES, addressRegister(cpu, insn, RDI), size, true)
    cpu.checkWrite(address, size)
    cpu.store(address, size, cpu.host.portRead(port, size))
  })
}

/** OUTS: one iteration per call. */
export const outs: Meaning = (cpu, insn) => {
  const size = accessSize(insn)
  const port = gpr32(cpu, RDX) & 0xffff
  iterate(cpu, insn, RSI, port, () => {
    const seg = insn.segOverride >= 0 ? insn.segOverride : 3
    const address = cpu.segmentAddress(seg, addressRegister(cpu, insn, RSI), size, false)
    cpu.host.portWrite(port, size, cpu.load(address, size))
  })
}
