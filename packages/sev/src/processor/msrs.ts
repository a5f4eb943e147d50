/** The MSRs of memory encryption, SEV-ES and SEV-SNP (APM vol. 2, §7.10, §15.34.9, §15.34.10, §15.35.7, §15.36). */
import { Msr as Index, SysCfg } from '@cofferdam/spec'
import { FIXED_MTRRS, guestFault, held, isCanonical, raise, readOnly, VECTOR, writeOnly } from '@cofferdam/x86'
import type { Cpu, CpuSystem, Msr } from '@cofferdam/x86'
import type { SevOf, SevProcessor } from './context.ts'
import { hasFeature, runAs, sysCfgHas } from './context.ts'

const gp = (): never => raise(VECTOR.GP, 0)

const VIRTUAL_TOM = 0xc001_0135
/** SYSCFG as the model has it after reset, and what it takes. */
const SYSCFG_RESET = SysCfg.mask.MtrrFixDramEn | SysCfg.mask.MtrrVarDramEn | SysCfg.mask.MtrrTom2En
  | SysCfg.mask.Tom2ForceMemTypeWB
const HWCR_RESET = (1n << 24n) | (1n << 4n) | 1n

/** HWCR of a processor. */
export const hwcrOf = ({ held: registers }: CpuSystem): bigint => registers.get(Index.AMD_HWCR) ?? HWCR_RESET

/** Registers that are locked once SNP is on, beside the fixed MTRRs: IORRs, TOP_MEM (§15.36.2). */
const LOCKED: readonly (readonly [number, string])[] = [
  [0xc001_0016, 'IORR_BASE0'], [0xc001_0017, 'IORR_MASK0'], [0xc001_0018, 'IORR_BASE1'], [0xc001_0019, 'IORR_MASK1'],
  [Index.AMD_TOP_MEM, 'TOP_MEM'], [Index.AMD_TOP_MEM2, 'TOP_MEM2'],
]

/** A register that SNP locks. */
const locked = (sevOf: SevOf, register: Msr): Msr => ({
  ...register,
  write(cpu, value) {
    if (sysCfgHas(sevOf(cpu).system, 'SecureNestedPagingEn')) gp()
    register.write(cpu, value)
  },
})

/** Turns SNP on: the RMP is where the MSRs say from now on (§15.36.2, §15.36.22.2). */
function enableSnp(sev: SevProcessor): void {
  const { rmp } = sev.shared
  const value = (index: number): bigint => sev.system.held.get(index) ?? 0n
  if (rmp.enabled) return
  rmp.load({ base: value(Index.AMD_RMP_BASE), end: value(Index.AMD_RMP_END), cfg: value(Index.AMD_RMP_CFG) })
  rmp.enabled = true
  // What was translated before was checked by nobody.
  for (const { processor } of sev.shared.processors) processor.mmu.flush(true)
}

const sysCfg = (sevOf: SevOf): Msr => ({
  index: Index.AMD_SYSCFG,
  name: 'SYSCFG',
  read: (cpu) => sevOf(cpu).system.held.get(Index.AMD_SYSCFG) ?? SYSCFG_RESET,
  write(cpu, value) {
    const sev = sevOf(cpu)
    const { held: registers } = sev.system
    if ((value & ~SysCfg.used) !== 0n) gp()
    // Once SNP is on, writes do nothing.
    if (sysCfgHas(sev.system, 'SecureNestedPagingEn')) return
    const wantsSnp = (value & SysCfg.mask.SecureNestedPagingEn) !== 0n
    if (wantsSnp && (value & SysCfg.mask.MemEncryptionModeEn) === 0n) gp()
    const base = registers.get(Index.AMD_RMP_BASE) ?? 0n
    if (wantsSnp && ((registers.get(Index.AMD_RMP_CFG) ?? 0n) & 1n) !== 0n && (base & 0xf_ffffn) !== 0n) gp()
    registers.set(Index.AMD_SYSCFG, value)
    if (sev.guest === null) runAs(sev, null)
    if (wantsSnp) enableSnp(sev)
    cpu.flushTlb(1)
  },
})

/** The GHCB MSR exists in guests with SEV-ES only (§15.35.7). */
const ghcb = (sevOf: SevOf): Msr => ({
  index: Index.AMD_SEV_ES_GHCB,
  name: 'GHCB',
  read: (cpu) => esGuest(sevOf, cpu).ghcb,
  write: (cpu, value) => { esGuest(sevOf, cpu).ghcb = value },
})

function esGuest(sevOf: SevOf, cpu: Cpu): NonNullable<SevProcessor['guest']> {
  const { guest } = sevOf(cpu)
  return guest?.es === true ? guest : gp()
}

/** SEV_STATUS: what the last VMRUN enabled; features stand two bits higher than in the VMSA (table 15-32). */
const sevStatus = (sevOf: SevOf): Msr => readOnly(Index.AMD_SEV_STATUS, 'SEV_STATUS', (cpu) => {
  const { guest } = sevOf(cpu)
  if (guest === null) return 0n
  return (guest.sev ? 1n : 0n) | (guest.es ? 2n : 0n) | ((guest.features & 0x3f_ffffn) << 2n)
})

/** GUEST_TSC_FREQ in MHz, with Secure TSC only (§15.36.18). */
const guestTscFrequency = (sevOf: SevOf): Msr => readOnly(Index.AMD_GUEST_TSC_FREQ, 'GUEST_TSC_FREQ', (cpu) => {
  const { guest, system } = sevOf(cpu)
  if (guest === null || !hasFeature(guest, 'SecureTSC')) return gp()
  return (BigInt(Math.round(system.model.tscHz / 1e6)) * guest.tscScale) >> 32n
})

/** VIRTUAL_TOM: where the guest's shared memory begins (§15.36.8). */
const virtualTom = (sevOf: SevOf): Msr => ({
  index: VIRTUAL_TOM,
  name: 'VIRTUAL_TOM',
  read: (cpu) => BigInt(vtomGuest(sevOf, cpu).vtomPage) << 12n,
  write(cpu, value) {
    vtomGuest(sevOf, cpu).vtomPage = Number((value & 0xf_ffff_ffe0_0000n) >> 12n)
    cpu.flushTlb(1)
  },
})

function vtomGuest(sevOf: SevOf, cpu: Cpu): NonNullable<SevProcessor['guest']> {
  const { guest } = sevOf(cpu)
  return guest !== null && guest.vtomPage >= 0 ? guest : gp()
}

/**
 * VMPAGE_FLUSH: writes back a guest's lines of the page at a linear address of the host's, bits 63:12; bits 11:0 are
 * the guest's ASID. The address is translated as a read's is (Linux arch/x86/kvm/svm/sev.c, sev_flush_encrypted_page).
 * Lines of caches are not kept apart from memory here, so that is all there is to do.
 */
const pageFlush = (sevOf: SevOf): Msr => writeOnly(Index.AMD_VM_PAGE_FLUSH, 'VMPAGE_FLUSH', (cpu, value) => {
  const { guest, shared, processor: { mmu } } = sevOf(cpu)
  const asid = Number(value & 0xfffn)
  const address = value & ~0xfffn
  if (guest !== null || asid === 0 || asid > shared.maxAsid || !isCanonical(cpu, address)) gp()
  if (!mmu.probe(Number(address & 0xffff_ffffn) | 0, Number(address >> 32n) | 0, 0)) {
    raise(guestFault.vector, guestFault.errorCode)
  }
})

/** Bits 51:13 of RMP_BASE and RMP_END; the latter's low bits read as ones. */
const ADDRESS = 0xf_ffff_ffff_e000n

/** All registers of SEV. */
export const sevMsrs = (sevOf: SevOf): readonly Msr[] => [
  sysCfg(sevOf), ghcb(sevOf), sevStatus(sevOf), guestTscFrequency(sevOf), virtualTom(sevOf),
  // BIOS has locked SMM: without that there is no SEV (§15.34.3).
  held(Index.AMD_HWCR, 'HWCR', { initial: HWCR_RESET }),
  locked(sevOf, held(Index.AMD_RMP_BASE, 'RMP_BASE', { legal: ADDRESS })),
  locked(sevOf, held(Index.AMD_RMP_END, 'RMP_END', { legal: ADDRESS | 0x1fffn })),
  locked(sevOf, held(Index.AMD_RMP_CFG, 'RMP_CFG', { legal: 0x3f01n })),
  ...LOCKED.map(([index, name]) => locked(sevOf, held(index, name))),
  ...FIXED_MTRRS.map((register) => locked(sevOf, register)),
  pageFlush(sevOf),
]
