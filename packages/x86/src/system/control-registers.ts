/**
 * Legal writes of CR0, CR3, CR4 and XCR0, apart from the instructions that make them (SDM vol. 3 §2.5, vol. 2 MOV CRn).
 */
import type { Cpu } from '../cpu.ts'
import { FLUSH, raise, VECTOR } from '../cpu.ts'
import { CR0, CR3, CR4, CS, EFER, XCR0 } from '../state.ts'
import { isLongMode, readU32, segAttributes, writeU64 } from './access.ts'
import { ATTR, CR0_BITS, CR4_BITS, EFER_BITS, XCR0_BITS } from './bits.ts'
import { systemOf } from './cpu-system.ts'

const gp = (): never => raise(VECTOR.GP, 0)

const CR0_USED = CR0_BITS.PE | CR0_BITS.MP | CR0_BITS.EM | CR0_BITS.TS | CR0_BITS.ET | CR0_BITS.NE | CR0_BITS.WP |
  CR0_BITS.AM | CR0_BITS.NW | CR0_BITS.CD | CR0_BITS.PG
/**
 * Changes of these mean that cached translations no longer hold (SDM vol. 3 §4.10.4.1), and WP that permissions moved.
 */
const CR0_FLUSH = CR0_BITS.PG | CR0_BITS.PE | CR0_BITS.WP
const CR4_FLUSH = CR4_BITS.PSE | CR4_BITS.PAE | CR4_BITS.PGE | CR4_BITS.LA57 | CR4_BITS.PCIDE | CR4_BITS.SMEP |
  CR4_BITS.SMAP | CR4_BITS.PKE

/** What turning paging on needs when EFER.LME is set (SDM vol. 3 §9.8.5). */
function checkLongModeEntry(cpu: Cpu): void {
  if ((readU32(cpu, CR4) & CR4_BITS.PAE) === 0) gp()
  if ((segAttributes(cpu, CS) & ATTR.L) !== 0) gp()
}

/** What turning paging off forbids: 64-bit code, and PCIDs. */
function checkPagingOff(cpu: Cpu): void {
  if (isLongMode(cpu) && (segAttributes(cpu, CS) & ATTR.L) !== 0) gp()
  if ((readU32(cpu, CR4) & CR4_BITS.PCIDE) !== 0) gp()
}

/**
 * #GP(0) for what CR0 may not become; answers what it would be. Bits 63:32 must be zero, undefined low bits are
 * ignored.
 */
export function checkCr0(cpu: Cpu, value: bigint): number {
  if (value >> 32n !== 0n) gp()
  const wanted = ((Number(value) & CR0_USED) | CR0_BITS.ET) >>> 0
  const paging = (wanted & CR0_BITS.PG) !== 0
  if (paging && (wanted & CR0_BITS.PE) === 0) gp()
  if ((wanted & (CR0_BITS.NW | CR0_BITS.CD)) === CR0_BITS.NW) gp()
  if (((readU32(cpu, CR0) ^ wanted) & CR0_BITS.PG) !== 0) {
    if (!paging) checkPagingOff(cpu)
    else if ((readU32(cpu, EFER) & EFER_BITS.LME) !== 0) checkLongModeEntry(cpu)
  }
  return wanted
}

/** Writes CR0; ET stays set. Enters and leaves long mode. */
export function writeCr0(cpu: Cpu, value: bigint): void {
  const wanted = checkCr0(cpu, value)
  const changes = readU32(cpu, CR0) ^ wanted
  const paging = (wanted & CR0_BITS.PG) !== 0
  const long = (readU32(cpu, EFER) & EFER_BITS.LME) !== 0
  if ((changes & CR0_BITS.PG) !== 0) {
    const efer = readU32(cpu, EFER)
    writeU64(cpu, EFER, BigInt((paging && long ? efer | EFER_BITS.LMA : efer & ~EFER_BITS.LMA) >>> 0))
  }
  writeU64(cpu, CR0, BigInt(wanted))
  if ((changes & CR0_FLUSH) !== 0) cpu.flushTlb(FLUSH.ALL)
  if (changes !== 0) cpu.modeChanged()
}

const NO_FLUSH = 1n << 63n

/** Writes CR3; with bit 63 and PCIDE, what is cached under the PCID still holds (SDM vol. 3 §4.10.4.1). */
export function writeCr3(cpu: Cpu, value: bigint): void {
  const base = checkCr3(cpu, value)
  writeU64(cpu, CR3, base)
  cpu.flushTlb(base === value || !isLongMode(cpu) ? FLUSH.NON_GLOBAL : FLUSH.SWITCH)
}

/**
 * #GP(0) for what CR3 may not become; answers what it would be. Reserved address bits are #GP(0) in long mode; bit 63
 * is legal only with PCIDE, and never stored.
 */
export function checkCr3(cpu: Cpu, value: bigint): bigint {
  if (!isLongMode(cpu)) return value & 0xffff_ffffn
  const pcids = (readU32(cpu, CR4) & CR4_BITS.PCIDE) !== 0
  const base = pcids ? value & ~NO_FLUSH : value
  const { legal } = systemOf(cpu)
  if ((base & ~legal.cr3Key) >> BigInt(legal.physicalBits) !== 0n) gp()
  return base
}

/** #GP(0) for what CR4 may not become: bits that the model does not have, transitions that long mode forbids. */
export function checkCr4(cpu: Cpu, value: bigint): number {
  const { legal } = systemOf(cpu)
  if ((value & ~BigInt(legal.cr4 >>> 0)) !== 0n) gp()
  const wanted = Number(value)
  const changes = readU32(cpu, CR4) ^ wanted
  const long = isLongMode(cpu)
  if (long && (wanted & CR4_BITS.PAE) === 0) gp()
  if (long && (changes & CR4_BITS.LA57) !== 0) gp()
  if ((changes & wanted & CR4_BITS.PCIDE) !== 0 && (!long || (readU32(cpu, CR3) & 0xfff) !== 0)) gp()
  return wanted
}

/** Writes CR4. */
export function writeCr4(cpu: Cpu, value: bigint): void {
  const wanted = checkCr4(cpu, value)
  const changes = readU32(cpu, CR4) ^ wanted
  writeU64(cpu, CR4, BigInt(wanted >>> 0))
  if ((changes & CR4_FLUSH) !== 0) cpu.flushTlb(FLUSH.ALL)
  if (changes !== 0) cpu.modeChanged()
}

/** Writes XCR0: x87 always, AVX only with SSE, nothing that the model does not have (SDM vol. 1 §13.3). */
export function writeXcr0(cpu: Cpu, value: bigint): void {
  if ((value & ~BigInt(systemOf(cpu).legal.xcr0)) !== 0n) gp()
  const wanted = Number(value)
  if ((wanted & XCR0_BITS.X87) === 0) gp()
  if ((wanted & (XCR0_BITS.AVX | XCR0_BITS.SSE)) === XCR0_BITS.AVX) gp()
  writeU64(cpu, XCR0, value)
  cpu.modeChanged()
}

