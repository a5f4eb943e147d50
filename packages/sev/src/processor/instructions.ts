/** PVALIDATE, RMPADJUST, RMPQUERY, RMPUPDATE, PSMASH and RMPREAD: registers in, the RMP's functions, registers out. */
import { ACCESS_USER } from '@cofferdam/paging'
import { RmpState, RmpStatus } from '@cofferdam/spec'
import type { Cpu, Insn, Meaning } from '@cofferdam/x86'
import { CACHE, guestFault, MODE64, raise, state, VECTOR } from '@cofferdam/x86'
import type { TakenFact } from '../findings/facts.ts'
import type {
  InstructionAgent, RmpDone, RmpOutcome, RmpRefusal, RmpTranslation, TlbEffect,
} from '../rmp/instructions/common.ts'
import { psmash } from '../rmp/instructions/psmash.ts'
import { pvalidate } from '../rmp/instructions/pvalidate.ts'
import { rmpadjust } from '../rmp/instructions/rmpadjust.ts'
import { rmpquery } from '../rmp/instructions/rmpquery.ts'
import { rmpread } from '../rmp/instructions/rmpread.ts'
import { rmpupdate } from '../rmp/instructions/rmpupdate.ts'
import { LARGE_PAGES } from '../rmp/table.ts'
import type { SevOf, SevOperation, SevProcessor, SevShared } from './context.ts'
import { deniedByRmp } from './faults.ts'
import { hwcrOf } from './msrs.ts'

const RAX = 0
const RCX = 1
const RDX = 2
/** Status flags that follow EAX: OF, SF, ZF, AF, PF; and CF, which is PVALIDATE's. */
const FLAGS = { CF: 1, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, OF: 0x800 } as const
const FOLLOW = FLAGS.OF | FLAGS.SF | FLAGS.ZF | FLAGS.AF | FLAGS.PF

const gpr = (cpu: Cpu, n: number): bigint => cpu.views.u64[(state.GPR >>> 3) + n]
const gpr32 = (cpu: Cpu, n: number): number => cpu.views.u32[(state.GPR >>> 2) + n * 2]
const setGpr = (cpu: Cpu, n: number, value: bigint): void => { cpu.views.u64[(state.GPR >>> 3) + n] = value }
/** A register as an address of the instruction's address size. */
const address = (cpu: Cpu, insn: Insn, n: number): bigint => BigInt.asUintN(insn.addrSize * 8, gpr(cpu, n))

const agentOf = (sev: SevProcessor, cpu: Cpu): InstructionAgent => ({
  asid: sev.guest?.asid ?? 0, vmpl: sev.guest?.vmpl ?? 0, cpl: cpu.views.u32[state.CPL >>> 2],
  snp: sev.guest?.snp ?? false,
})

/** Translates a guest's linear address as a one-byte read does; null and `guestFault` when that faults. */
function translate(sev: SevProcessor, linear: bigint): RmpTranslation | null {
  const { mmu, cpu } = sev.processor
  const access = cpu.views.u32[state.CPL >>> 2] === 3 ? ACCESS_USER : 0
  if (!mmu.probe(Number(linear & 0xffff_ffffn) | 0, Number(linear >> 32n) | 0, access)) return null
  const { page, gpa, nestedShift } = mmu.result
  return { page: page / 4096, guestPage: Math.floor(gpa / 4096), nestedShift }
}

/** Makes all processors forget what changed. */
export function flushPages(shared: SevShared, flush: readonly TlbEffect[]): void {
  for (const { page, pages } of flush) {
    for (const { processor: { mmu } } of shared.processors) {
      if (pages === 1) mmu.dropPage(page)
      else mmu.flush(true)
    }
  }
}

/** The exception or exit that an instruction ends in. */
function refuse(sev: SevProcessor, refusal: RmpRefusal, linear: bigint): never {
  if (refusal.kind === 'exception') return raise(refusal.vector, refusal.vector === VECTOR.GP ? 0 : -1)
  if (refusal.kind === 'translation') return raise(guestFault.vector, guestFault.errorCode)
  const { verdict, at } = refusal
  return sev.svm().deny(deniedByRmp(sev, verdict, {
    gpa: at.guestPage * 4096 + Number(linear & 0xfffn), linear, access: 0, table: false, encrypted: true,
  }))
}

const parity = (byte: number): boolean => {
  let bits = byte & 0xff
  bits ^= bits >>> 4
  bits ^= bits >>> 2
  return ((bits ^ (bits >>> 1)) & 1) === 0
}

/** EAX holds the code, and OF, SF, ZF, AF and PF follow it (APM vol. 3). */
function finish(sev: SevProcessor, cpu: Cpu, outcome: RmpDone, operation: SevOperation): void {
  const { status } = outcome
  setGpr(cpu, RAX, BigInt(status >>> 0))
  cpu.setFlags((status === 0 ? FLAGS.ZF : 0) | (parity(status) ? FLAGS.PF : 0) | (status < 0 ? FLAGS.SF : 0), FOLLOW)
  flushPages(sev.shared, outcome.flush)
  sev.shared.charge(sev.processor, operation)
}

/** Tells what PVALIDATE did, where that is not what EAX tells the guest. */
function tellPvalidate(
  sev: SevProcessor, cpu: Cpu, gva: bigint, outcome: RmpOutcome, at: RmpTranslation | null,
): void {
  const vmpl = sev.guest?.vmpl ?? 0
  const asked = {
    kind: 'pvalidate', gva, vmpl, validate: (gpr32(cpu, RDX) & 1) !== 0, large: (gpr32(cpu, RCX) & 1) !== 0,
  } as const
  if (outcome.kind === 'done') {
    if (outcome.status !== RmpStatus.SUCCESS || at === null) return
    const { guestPage, page } = at
    sev.shared.fact?.(sev.processor, { ...asked, result: outcome.carry ? 'unchanged' : 'done', guestPage, page })
  } else if (outcome.kind === 'exception' && outcome.vector === VECTOR.GP
    && vmpl !== 0 && agentOf(sev, cpu).cpl === 0) {
    sev.shared.fact?.(sev.processor, { ...asked, result: 'refused', guestPage: -1, page: -1 })
  }
}

/** Pages that were validated wait to be evicted from the caches; those that are no longer need it no more. */
function noteEviction(sev: SevProcessor, cpu: Cpu, outcome: RmpDone, at: RmpTranslation | null): void {
  const { evictions } = sev.shared
  if (evictions === null || at === null || outcome.status !== RmpStatus.SUCCESS || outcome.carry) return
  const pages = (gpr32(cpu, RCX) & 1) === 0 ? 1 : LARGE_PAGES
  if ((gpr32(cpu, RDX) & 1) === 0) evictions.rescinded(at.page, pages)
  else evictions.validated(sev, at.page, pages)
}

/** The fact that RMPUPDATE of a page is, when it succeeds: that a guest had the page validated. */
export function takenBefore({ fact, rmp }: SevShared, page: number): TakenFact | null {
  if (fact === null || !rmp.find(page)) return null
  const { assigned, validated, asid, large, guestPage } = rmp.found
  if (!assigned || !validated || asid === 0) return null
  const { subpages: _subpages, ...entry } = rmp.found
  return { kind: 'taken', guestPage, page, large, entry }
}

/** HWCR.INVDWBINVD: INVD is WBINVD, as BIOSes leave it (PPR for family 19h, MSRC001_0015). */
const HWCR_INVD_WBINVD = 1n << 4n

/**
 * WBINVD. Contents of caches are not kept apart from memory's; what counts is that the PSP sees it done, since it wants
 * that before an ASID is used again (AMD 56860, SNP_DF_FLUSH).
 */
export function writeBack({ shared, processor }: SevProcessor): void {
  processor.cpu.cacheOperation?.(CACHE.WBINVD)
  shared.wroteBack(processor)
  shared.charge(processor, 'wbinvd')
}

const privileged = (cpu: Cpu): void => { if (cpu.views.u32[state.CPL >>> 2] !== 0) raise(VECTOR.GP, 0) }

/** Meanings by mnemonic. */
export function sevMeanings(sevOf: SevOf): Readonly<Record<string, Meaning>> {
  return {
    pvalidate(cpu, insn) {
      const sev = sevOf(cpu)
      const linear = address(cpu, insn, RAX)
      let at: RmpTranslation | null = null
      const outcome = pvalidate(sev.shared.rmp, {
        // Bit 0 alone counts: compilers leave anything above it (APM vol. 3, PVALIDATE).
        agent: agentOf(sev, cpu), address: linear, pageSize: gpr32(cpu, RCX),
        validate: gpr32(cpu, RDX) & 1,
        translate: () => (at = translate(sev, linear)),
      })
      if (sev.shared.fact !== null) tellPvalidate(sev, cpu, linear, outcome, at)
      if (outcome.kind !== 'done') return refuse(sev, outcome, linear)
      noteEviction(sev, cpu, outcome, at)
      finish(sev, cpu, outcome, 'pvalidate')
      cpu.setFlags(outcome.carry ? FLAGS.CF : 0, FLAGS.CF)
    },
    rmpadjust(cpu, insn) {
      const sev = sevOf(cpu)
      const linear = address(cpu, insn, RAX)
      const outcome = rmpadjust(sev.shared.rmp, {
        agent: agentOf(sev, cpu), address: linear, pageSize: gpr32(cpu, RCX), attributes: gpr(cpu, RDX),
        translate: () => translate(sev, linear),
      })
      if (outcome.kind !== 'done') return refuse(sev, outcome, linear)
      finish(sev, cpu, outcome, 'rmpadjust')
    },
    rmpquery(cpu, insn) {
      const sev = sevOf(cpu)
      const linear = address(cpu, insn, RAX)
      const outcome = rmpquery(sev.shared.rmp, {
        agent: agentOf(sev, cpu), target: gpr(cpu, RCX), translate: () => translate(sev, linear),
      })
      if (outcome.kind !== 'done') return refuse(sev, outcome, linear)
      setGpr(cpu, RDX, outcome.attributes)
      setGpr(cpu, RCX, BigInt(outcome.pageSize))
      finish(sev, cpu, outcome, 'rmpquery')
    },
    rmpupdate(cpu, insn) {
      const sev = sevOf(cpu)
      const bytes = new Uint8Array(RmpState.size)
      // Who may not execute it gets no page fault from its operand.
      const may = sev.guest === null && sev.shared.rmp.enabled && agentOf(sev, cpu).cpl === 0
      if (may) cpu.loadBytes(address(cpu, insn, RCX), bytes)
      const page = Number(address(cpu, insn, RAX) / 4096n)
      const taken = may ? takenBefore(sev.shared, page) : null
      const outcome = rmpupdate(sev.shared.rmp, {
        agent: agentOf(sev, cpu), address: address(cpu, insn, RAX), state: bytes, maxAsid: sev.shared.maxAsid,
      })
      if (outcome.kind !== 'done') return refuse(sev, outcome, 0n)
      if (taken !== null && outcome.status === RmpStatus.SUCCESS) sev.shared.fact?.(null, taken)
      finish(sev, cpu, outcome, 'rmpupdate')
    },
    wbinvd(cpu) {
      privileged(cpu)
      writeBack(sevOf(cpu))
    },
    invd(cpu) {
      privileged(cpu)
      const sev = sevOf(cpu)
      if ((hwcrOf(sev.system) & HWCR_INVD_WBINVD) !== 0n) writeBack(sev)
      else cpu.cacheOperation?.(CACHE.INVD)
    },
    psmash(cpu, insn) {
      if (insn.mode !== MODE64) raise(VECTOR.UD)
      const sev = sevOf(cpu)
      const outcome = psmash(sev.shared.rmp, { agent: agentOf(sev, cpu), address: address(cpu, insn, RAX) })
      if (outcome.kind !== 'done') return refuse(sev, outcome, 0n)
      finish(sev, cpu, outcome, 'psmash')
    },
    rmpread(cpu, insn) {
      const sev = sevOf(cpu)
      const buffer = address(cpu, insn, RCX)
      const outcome = rmpread(sev.shared.rmp, { agent: agentOf(sev, cpu), address: address(cpu, insn, RAX) })
      if (outcome.kind !== 'done') return refuse(sev, outcome, 0n)
      cpu.storeBytes(buffer, outcome.state)
      finish(sev, cpu, outcome, 'rmpread')
    },
  }
}

