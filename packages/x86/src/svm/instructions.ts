/** The instructions of SVM as a host executes them (APM vol. 2, §15.4 to §15.6, §15.17; APM vol. 3). */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { EFER } from '../state.ts'
import { addressRegister, gpr32, isProtected, RAX, RCX, readU32, requireCpl0 } from '../system/access.ts'
import { EFER_BITS } from '../system/bits.ts'
import { systemOf } from '../system/cpu-system.ts'
import type { SvmCore } from './svm.ts'

/** #UD without EFER.SVME and in real mode, then #GP(0) outside CPL 0. */
export function checkSvm(cpu: Cpu): void {
  if ((readU32(cpu, EFER) & EFER_BITS.SVME) === 0 || !isProtected(cpu)) raise(VECTOR.UD)
  requireCpl0(cpu)
}

/**
 * The physical address of a page that software hands to SVM, without the key that the host may name in it (§7.10.2);
 * −1 for what is none.
 */
export function pageAddress(cpu: Cpu, value: bigint): number {
  const { physicalBits, cr3Key } = systemOf(cpu).legal
  const address = value & ~cr3Key
  return (address & 0xfffn) !== 0n || address >> BigInt(physicalBits) !== 0n ? -1 : Number(address)
}

/** The same, and #GP(0) for a VMCB that is not aligned to 4 KiB or past the last address; answers the address. */
export function checkSvmAddress(cpu: Cpu, insn: Insn): number {
  checkSvm(cpu)
  const address = pageAddress(cpu, addressRegister(cpu, insn, RAX))
  if (address < 0) raise(VECTOR.GP, 0)
  return address
}

const undefinedInstruction: Meaning = () => raise(VECTOR.UD)

/** Meanings over the SVM of the processor that executes them. */
export function svmMeanings(svmOf: (cpu: Cpu) => SvmCore): Readonly<Record<string, Meaning>> {
  /** A VMCB must be in RAM: elsewhere there is nothing to load, which no check of the manual's covers. */
  const vmcb = (cpu: Cpu, insn: Insn): number => {
    const address = checkSvmAddress(cpu, insn)
    if (!svmOf(cpu).accepts(address)) raise(VECTOR.GP, 0)
    return address
  }
  return {
    vmrun: (cpu, insn) => { svmOf(cpu).enter(vmcb(cpu, insn)) },
    vmload: (cpu, insn) => { svmOf(cpu).vmload(vmcb(cpu, insn)) },
    vmsave: (cpu, insn) => { svmOf(cpu).vmsave(vmcb(cpu, insn)) },
    stgi: (cpu) => {
      checkSvm(cpu)
      svmOf(cpu).setGif(true)
    },
    clgi: (cpu) => {
      checkSvm(cpu)
      svmOf(cpu).setGif(false)
    },
    // Only guests have somebody to call, and only SEV-ES guests have VMGEXIT (§15.18, §15.35.6).
    vmmcall: undefinedInstruction, vmgexit: undefinedInstruction,
    // No secure loader: what SKINIT would measure has no place to go.
    skinit: (cpu) => {
      checkSvm(cpu)
      raise(VECTOR.UD)
    },
    // Translations of one address in one ASID; of other ASIDs than the present, more is forgotten than need be.
    invlpga: (cpu, insn) => {
      checkSvm(cpu)
      svmOf(cpu).invalidate(addressRegister(cpu, insn, RAX), gpr32(cpu, RCX))
    },
  }
}
