/** MSRs of long mode, system calls and segment bases. */
import type { Cpu } from '../../cpu.ts'
import { FLUSH } from '../../cpu.ts'
import {
  CR0, EFER, FS, GS, MSR_CSTAR, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP,
  MSR_SYSENTER_ESP, MSR_TSC_AUX, XSS,
} from '../../state.ts'
import { readU32, readU64, segBase, setSegBase, writeU64 } from '../access.ts'
import { CR0_BITS, EFER_BITS } from '../bits.ts'
import { systemOf } from '../cpu-system.ts'
import { requireCanonical } from '../descriptor.ts'
import type { Msr } from './msr.ts'
import { canonicalInState, gp, inState, LOW32, requireBits, wordInState } from './msr.ts'

/** EFER: LME may change only while paging is off; LMA is the processor's (APM vol. 2 §3.1.7, SDM vol. 3 §9.8.5). */
export const efer: Msr = {
  index: 0xc000_0080,
  name: 'EFER',
  read: (cpu) => readU64(cpu, EFER),
  write: (cpu, value) => {
    const old = readU32(cpu, EFER)
    requireBits(value, BigInt(systemOf(cpu).legal.efer >>> 0))
    const wanted = Number(value)
    const paging = (readU32(cpu, CR0) & CR0_BITS.PG) !== 0
    if (paging && ((old ^ wanted) & EFER_BITS.LME) !== 0) gp()
    writeU64(cpu, EFER, BigInt(((wanted & ~EFER_BITS.LMA) | (old & EFER_BITS.LMA)) >>> 0))
    if (((old ^ wanted) & EFER_BITS.NXE) !== 0) cpu.flushTlb(FLUSH.ALL)
    cpu.modeChanged()
  },
}

const segmentBase = (index: number, name: string, seg: number): Msr => ({
  index,
  name,
  read: (cpu) => segBase(cpu, seg),
  write: (cpu, value) => {
    requireCanonical(cpu, value)
    setSegBase(cpu, seg, value)
  },
})

/** SYSENTER_CS holds 32 bits; the upper half is dropped, as processors do. */
const sysenterCs: Msr = {
  ...inState(0x174, 'IA32_SYSENTER_CS', MSR_SYSENTER_CS),
  write: (cpu, value) => { writeU64(cpu, MSR_SYSENTER_CS, value & LOW32) },
}

/** IA32_XSS: supervisor states that XSAVES may save; none unless an extension allows them. */
const xss: Msr = inState(0xda0, 'IA32_XSS', XSS, (cpu: Cpu, value: bigint) => {
  requireBits(value, BigInt(systemOf(cpu).legal.xss >>> 0))
})

/** The registers of this group. */
export const SYSTEM_CALL_MSRS: readonly Msr[] = [
  efer,
  inState(0xc000_0081, 'STAR', MSR_STAR),
  canonicalInState(0xc000_0082, 'LSTAR', MSR_LSTAR),
  canonicalInState(0xc000_0083, 'CSTAR', MSR_CSTAR),
  inState(0xc000_0084, 'SFMASK', MSR_SFMASK),
  segmentBase(0xc000_0100, 'FS_BASE', FS),
  segmentBase(0xc000_0101, 'GS_BASE', GS),
  canonicalInState(0xc000_0102, 'KERNEL_GS_BASE', MSR_KERNEL_GS_BASE),
  wordInState(0xc000_0103, 'TSC_AUX', MSR_TSC_AUX),
  sysenterCs,
  canonicalInState(0x175, 'IA32_SYSENTER_ESP', MSR_SYSENTER_ESP),
  canonicalInState(0x176, 'IA32_SYSENTER_EIP', MSR_SYSENTER_EIP),
  xss,
]
