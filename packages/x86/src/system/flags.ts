/** PUSHF, POPF, CLI, STI, STAC, CLAC, HLT, and the CPL rules around them (SDM vol. 2). */
import type { Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { GPR, SHADOW } from '../state.ts'
import {
  changeFlags, cpl, loadStack, loadStack32, requireCpl0, setStackOffset, stackOffset, storeStack, writeU32,
} from './access.ts'
import { FLAG } from './bits.ts'
import { flagMask } from './iret.ts'

/** PUSHF: VM and RF are pushed as zero. */
export const pushf: Meaning = (cpu, insn) => {
  const { size } = insn
  storeStack(cpu, -size, size, BigInt((cpu.getFlags() & ~(FLAG.VM | FLAG.RF)) >>> 0))
  setStackOffset(cpu, stackOffset(cpu, -size))
}

/** POPF: IF needs CPL ≤ IOPL, IOPL needs CPL 0; what is not allowed stays as it is. RF is cleared. */
export const popf: Meaning = (cpu, insn) => {
  const { size } = insn
  // All bytes of the slot are read, and may fault.
  const flags = size === 8 ? Number(loadStack(cpu, 0, 8) & 0xffff_ffffn) : loadStack32(cpu, 0, size)
  setStackOffset(cpu, stackOffset(cpu, size))
  const mask = flagMask(cpu, size)
  changeFlags(cpu, flags & mask, size === 2 ? mask : mask | FLAG.RF)
}

const ioplAllows = (level: number, flags: number): boolean => level <= ((flags >>> 12) & 3)

/** CLI and STI: #GP(0) when CPL is above IOPL. */
export const cli: Meaning = (cpu) => {
  if (!ioplAllows(cpl(cpu), cpu.getFlags())) raise(VECTOR.GP, 0)
  cpu.setFlags(0, FLAG.IF)
}

/** STI: interrupts are taken only after the next instruction, when they were off before. */
export const sti: Meaning = (cpu) => {
  const flags = cpu.getFlags()
  if (!ioplAllows(cpl(cpu), flags)) raise(VECTOR.GP, 0)
  if ((flags & FLAG.IF) === 0) writeU32(cpu, SHADOW, 1)
  cpu.setFlags(FLAG.IF, FLAG.IF)
}

const setAc = (value: number): Meaning => (cpu) => {
  if (cpl(cpu) !== 0) raise(VECTOR.UD)
  changeFlags(cpu, value, FLAG.AC)
}

/** STAC and CLAC: #UD outside CPL 0. */
export const stac = setAc(FLAG.AC)
export const clac = setAc(0)

/** HLT. The saved RIP of the interrupt that ends it is the next instruction's. */
export const hlt: Meaning = (cpu) => {
  requireCpl0(cpu)
  cpu.halt()
}

/** LAHF and SAHF: the low flags in AH. */
export const lahf: Meaning = (cpu) => { cpu.views.u8[GPR + 1] = (cpu.getFlags() & 0xd5) | 2 }
export const sahf: Meaning = (cpu) => { cpu.setFlags(cpu.views.u8[GPR + 1], 0xd5) }

