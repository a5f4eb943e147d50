/** INVLPG, INVPCID, and the instructions that act on caches. */
import type { CacheOperation, Cpu, Meaning } from '../cpu.ts'
import { CACHE, FLUSH, raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { MEM, MODE64 } from '../insn.ts'
import { CR3 } from '../state.ts'
import {
  cr4Has, gpr32, gpr64, in64, isCanonical, isProtected, readU32, requireCpl0, segAttributes, segLimit,
} from './access.ts'
import { CR4_BITS } from './bits.ts'
import { isCode, isReadable } from './descriptor.ts'
import { effectiveAddress, effectiveOffset } from './effective.ts'

/**
 * INVLPG: forgets the page of a linear address. The operand is never accessed: no limit check, and an address that is
 * not canonical does nothing (SDM vol. 2, INVLPG).
 */
export const invlpg: Meaning = (cpu, insn) => {
  if (insn.kind0 !== MEM) raise(VECTOR.UD)
  requireCpl0(cpu)
  const address = effectiveAddress(cpu, insn)
  if (isCanonical(cpu, address)) cpu.invalidatePage(address)
}

/** INVPCID (SDM vol. 2): types 0–3; a descriptor of PCID (12 bits) and address. */
export const invpcid: Meaning = (cpu, insn) => {
  requireCpl0(cpu)
  const kind = in64(insn) ? gpr64(cpu, insn.reg0) : BigInt(gpr32(cpu, insn.reg0))
  const at = cpu.operandAddress(insn, 16, false)
  const low = cpu.load64(at)
  const address = cpu.load64(at + 8n)
  if (kind > 3n || low >> 12n !== 0n) raise(VECTOR.GP, 0)
  const pcid = Number(low)
  if (kind <= 1n && pcid !== 0 && !cr4Has(cpu, CR4_BITS.PCIDE)) raise(VECTOR.GP, 0)
  if (kind === 0n && !isCanonical(cpu, address)) raise(VECTOR.GP, 0)
  invalidate(cpu, Number(kind), pcid, address)
}

function invalidate(cpu: Cpu, kind: number, pcid: number, address: bigint): void {
  const present = cr4Has(cpu, CR4_BITS.PCIDE) ? readU32(cpu, CR3) & 0xfff : 0
  if (cpu.invalidatePcid !== undefined) cpu.invalidatePcid(kind, pcid, address)
  else if (kind === 0 && pcid === present) cpu.invalidatePage(address)
  // Without a hook that knows PCIDs, everything goes: more than needed is allowed (SDM vol. 3 §4.10.4.1).
  else cpu.flushTlb(FLUSH.ALL)
}

const wholeCache = (operation: CacheOperation): Meaning => (cpu) => {
  requireCpl0(cpu)
  cpu.cacheOperation?.(operation)
}

export const wbinvd = wholeCache(CACHE.WBINVD)
export const invd = wholeCache(CACHE.INVD)
export const wbnoinvd = wholeCache(CACHE.WBNOINVD)

/** Linear address of a line: as for a load, but execute-only code will do too (SDM vol. 2, CLFLUSH). */
function lineAddress(cpu: Cpu, insn: Insn): bigint {
  const attributes = segAttributes(cpu, insn.seg)
  if (insn.mode === MODE64 || !isProtected(cpu) || !isCode(attributes) || isReadable(attributes)) {
    return cpu.operandAddress(insn, 1, false)
  }
  if (effectiveOffset(cpu, insn) > BigInt(segLimit(cpu, insn.seg))) raise(VECTOR.GP, 0)
  return effectiveAddress(cpu, insn)
}

/** CLFLUSH, CLFLUSHOPT, CLWB: at any privilege; they fault as a byte load does. */
const cacheLine = (operation: CacheOperation): Meaning => (cpu, insn) => {
  const address = lineAddress(cpu, insn)
  cpu.load(address, 1)
  cpu.cacheOperation?.(operation, address)
}

export const clflush = cacheLine(CACHE.CLFLUSH)
export const clflushopt = cacheLine(CACHE.CLFLUSHOPT)
export const clwb = cacheLine(CACHE.CLWB)

