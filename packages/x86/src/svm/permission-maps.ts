/** The I/O and MSR permission maps (APM vol. 2, §15.10, §15.11). */
import { Intercept3, Intercept4, SvmExit } from '@cofferdam/spec'
import type { Insn } from '../insn.ts'
import { IMM } from '../insn.ts'
import { OP } from '../ops.ts'
import { DS, EFER as EFER_STATE } from '../state.ts'
import { gpr32, operandKind, RCX, RDX, readU64, requireCpl0 } from '../system/access.ts'
import { checkPort } from '../system/io.ts'
import type { Intercept } from './intercepts.ts'
import type { GuestWorld } from './world.ts'

const ADDRESS_SIZE_BIT: Readonly<Record<number, number>> = { 2: 1 << 7, 4: 1 << 8, 8: 1 << 9 }

/** EXITINFO1 of an I/O intercept (figure 15-2). */
function ioInfo(insn: Insn, port: number, size: number): bigint {
  const input = insn.op === OP.in || insn.op === OP.ins
  const string = insn.op === OP.ins || insn.op === OP.outs
  const segment = !string || input ? 0 : insn.segOverride >= 0 ? insn.segOverride : DS
  const word = (port << 16) | (segment << 10) | ADDRESS_SIZE_BIT[insn.addrSize] | (size << 4)
    | (insn.rep !== 0 ? 8 : 0) | (string ? 4 : 0) | (input ? 1 : 0)
  return BigInt(word >>> 0)
}

/** Whether any byte of an access is marked; the map has three bits more than there are ports. */
function isPortMarked(world: GuestWorld, port: number, size: number): boolean {
  const base = Number(world.control.iopm & ~0xfffn)
  for (let at = port; at < port + size; at++) {
    if (((world.byteAt(base + (at >>> 3)) >>> (at & 7)) & 1) !== 0) return true
  }
  return false
}

/** IN, OUT, INS, OUTS: after IOPL and the TSS's bitmap, before everything else. */
export const interceptIo: Intercept = (world, cpu, insn) => {
  if ((world.control.vector3 & Intercept3.mask.IOIO_PROT) === 0) return false
  const size = insn.size === 1 ? 1 : insn.size === 2 ? 2 : 4
  const slot = insn.op === OP.in ? 1 : 0
  const immediate = (insn.op === OP.in || insn.op === OP.out) && operandKind(insn, slot) === IMM
  const port = immediate ? insn.immLo & 0xff : gpr32(cpu, RDX) & 0xffff
  checkPort(cpu, port, size)
  if (!world.everyPort && !isPortMarked(world, port, size)) return false
  return world.leave(SvmExit.IOIO, ioInfo(insn, port, size), BigInt.asUintN(64, cpu.nextRip()))
}

/** First MSR of each of the map's ranges of 8 K. */
const RANGES = [0, 0xc000_0000, 0xc001_0000] as const
const RANGE = 0x2000
const RANGE_BYTES = 0x800

function isMsrMarked(world: GuestWorld, index: number, write: boolean): boolean {
  const range = RANGES.findIndex((first) => index >= first && index < first + RANGE)
  if (range < 0) return true
  const bit = (index - RANGES[range]) * 2 + (write ? 1 : 0)
  const byte = world.byteAt(Number(world.control.msrpm & ~0xfffn) + range * RANGE_BYTES + (bit >>> 3))
  return ((byte >>> (bit & 7)) & 1) !== 0
}

const EFER = 0xc000_0080

/** RDMSR and WRMSR: after the CPL check, before what the register itself objects to. */
export const interceptMsr = (write: boolean): Intercept => (world, cpu) => {
  requireCpl0(cpu)
  const index = gpr32(cpu, RCX)
  const isProtected = (world.control.vector3 & Intercept3.mask.MSR_PROT) !== 0
  if (world.interceptsMsr(index, write, isProtected && isMsrMarked(world, index, write))) {
    world.leave(SvmExit.MSR, write ? 1n : 0n)
  }
  if (write && index === EFER && (world.control.vector4 & Intercept4.mask.EFER_WRITE_TRAP) !== 0) {
    world.trapAfter(SvmExit.EFER_WRITE_TRAP, () => readU64(cpu, EFER_STATE))
  }
  return false
}
