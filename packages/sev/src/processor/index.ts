/**
 * SEV, SEV-ES and SEV-SNP as an extension of the processor: SVM with kinds of guests, keys by C-bit and ASID, the RMP
 * as a guard, the instructions that change it.
 */
import type { PhysicalMemory } from '@cofferdam/memory'
import { RmpState, RmpStatus } from '@cofferdam/spec'
import { createSvmExtension, guestFault, VECTOR } from '@cofferdam/x86'
import type { Cpu, Extension, Processor, SvmCore, SvmHooks } from '@cofferdam/x86'
import type { SevFact } from '../findings/facts.ts'
import type { RmpVerdict } from '../rmp/check.ts'
import { createRmpGuard } from '../rmp/check.ts'
import type { TlbEffect } from '../rmp/instructions/common.ts'
import { psmash } from '../rmp/instructions/psmash.ts'
import { rmpupdate } from '../rmp/instructions/rmpupdate.ts'
import type { RmpTable } from '../rmp/table.ts'
import type { SevOperation, SevProcessor, SevShared } from './context.ts'
import { sysCfgHas } from './context.ts'
import { createEvictions } from './evictions.ts'
import type { Evictions } from './evictions.ts'
import { sevLeaves } from './cpuid.ts'
import { deniedPage, deniedWalk, tellDenied } from './faults.ts'
import { guestOf } from './guests.ts'
import { flushPages, sevMeanings, takenBefore, writeBack } from './instructions.ts'
import { createSevPolicy } from './keys.ts'
import { sevMsrs } from './msrs.ts'
import { restoreSev, saveSev } from './snapshot.ts'

/** The machine that gets SEV, and its secrets. */
export interface SevSiliconOptions {
  readonly memory: PhysicalMemory
  /** The table that the processors' MSRs will point at; it is not enabled yet. */
  readonly rmp: RmpTable
  /** C-bit, 32 to 51; default 51. */
  readonly cBit?: number
  /** Highest ASID with a key, up to 1023; default 1006. */
  readonly maxAsid?: number
  /** Lowest ASID of guests with SEV but without SEV-ES; default 512. */
  readonly minSevAsid?: number
  /**
   * Pages that were validated have to be evicted from the caches by software (CPUID Fn8000_001F EBX bit 31,
   * COHERENCY_SFW_NO, is clear on such processors); default false.
   */
  readonly needsEviction?: boolean
  /** Virtual time that an instruction takes beside its own. */
  readonly charge?: (processor: Processor, operation: SevOperation) => void
  /** A processor has written back and invalidated its caches; for `Psp.wbinvd`. */
  readonly onWriteBack?: (processor: Processor) => void
  /**
   * Takes facts about SNP guests, for `createSevJudge`. The processor is resident and its RIP the instruction's; null
   * where it is the host that acts.
   */
  readonly onFact?: (processor: Processor | null, fact: SevFact) => void
}

/** The state that RMPUPDATE gives a page. */
export interface RmpUpdate {
  readonly assigned: boolean
  readonly guestPage: number
  readonly large: boolean
  readonly asid: number
  readonly immutable: boolean
}

/** SEV, SEV-ES and SEV-SNP as extensions of the processors of one machine. */
export interface SevSilicon {
  /** For `extendedMeanings`, `extendedMsrs`, `extendSystem` and `attachExtensions`: SVM, then SEV. */
  readonly extensions: readonly Extension[]
  /** SVM of a processor. */
  readonly svmOf: (cpu: Cpu) => SvmCore
  readonly sevOf: (cpu: Cpu) => SevProcessor
  /** RMPUPDATE of a system page by a host in TypeScript; a code of `RmpStatus`. */
  rmpupdate(page: number, state: RmpUpdate): number
  /** PSMASH of the 2 MiB page that begins at a system page; a code of `RmpStatus`, or PSMASH_FAIL_BADADDR. */
  psmash(page: number): number
  /** WBINVD on a processor. */
  wbinvd(processor: Processor): void
  /** Makes all processors forget pages whose RMP entries somebody else (the PSP) changed. */
  flush(effects: readonly TlbEffect[]): void
  /** Pages that wait to be evicted from the caches, where software has to do that; null where it need not. */
  readonly evictions: Pick<Evictions, 'snapshot' | 'restore'> | null
}

/** Who executes instructions for a host in TypeScript. */
const HOST = { asid: 0, vmpl: 0, cpl: 0, snp: false } as const

/** Creates the silicon of a machine with SEV-SNP: one for all its processors. */
export function createSevSilicon(options: SevSiliconOptions): SevSilicon {
  const { memory, rmp } = options
  const fact = options.onFact ?? null
  const evictions = options.needsEviction === true ? createEvictions({ rmp, fact }) : null
  const shared: SevShared = {
    memory, rmp, evictions, cBit: options.cBit ?? 51, maxAsid: options.maxAsid ?? 1006,
    minSevAsid: options.minSevAsid ?? 512, processors: [], charge: options.charge ?? (() => undefined),
    wroteBack: options.onWriteBack ?? (() => undefined), fact,
  }
  const all = new WeakMap<Cpu, SevProcessor>()
  const sevOf = (cpu: Cpu): SevProcessor => {
    const sev = all.get(cpu)
    if (sev === undefined) throw new Error('this processor was created without SEV')
    return sev
  }
  memory.guards.push(createRmpGuard(rmp))

  /** SVM asks for its hooks when it is attached, which is when SEV learns of the processor. */
  const hooks = (processor: Processor): SvmHooks => {
    const { cpu, mmu } = processor
    if (cpu.system === undefined) throw new Error('this processor was created without a CpuSystem')
    const sev: SevProcessor = {
      shared, processor, system: cpu.system, svm: () => svm.svmOf(cpu), guest: null, known: null, denied: null,
    }
    all.set(cpu, sev)
    shared.processors.push(sev)
    const policy = createSevPolicy(sev)
    mmu.policy = policy
    mmu.observer = evictions?.observer(sev) ?? null
    return {
      hostKeyField: () =>
        (sysCfgHas(sev.system, 'MemEncryptionModeEn') ? { position: shared.cBit, width: 1 } : undefined),
      guest: (vmcb, control) => guestOf(sev, vmcb, control),
      acceptsPage: (address) => !rmp.enabled || !rmp.assigned(address / 4096),
      walk: (result, low, high, access) => deniedWalk(sev, policy, result, low, high, access),
      guard: (verdict, request, result, low, high) =>
        deniedPage(sev, verdict as RmpVerdict, request, result, low, high),
      save: (kind) => saveSev(sev, kind),
      restore: (saved, vmcb, control) => restoreSev(sev, saved, vmcb, control),
      raised: () => { if (sev.denied !== null && guestFault.vector === VECTOR.VC) tellDenied(sev, 'VC') },
    }
  }
  const svm = createSvmExtension({ hooks })
  const sevExtension: Extension = {
    name: 'SEV', meanings: sevMeanings(sevOf), msrs: () => sevMsrs(sevOf), leaves: (model) => sevLeaves(shared, model),
  }

  const applied = (outcome: ReturnType<typeof psmash>): number => {
    if (outcome.kind !== 'done') throw new Error('SEV: the host used the RMP before SNP was on')
    flushPages(shared, outcome.flush)
    return outcome.status
  }

  return {
    extensions: [svm, sevExtension], svmOf: svm.svmOf, sevOf, evictions,
    rmpupdate(page, { assigned, guestPage, large, asid, immutable }) {
      const taken = takenBefore(shared, page)
      const status = applied(rmpupdate(rmp, {
        agent: HOST, address: BigInt(page) * 4096n, maxAsid: shared.maxAsid,
        state: RmpState.create({
          gpa: BigInt(guestPage) * 4096n, assigned: assigned ? 1 : 0, pageSize: large ? 1 : 0, asid,
          immutable: immutable ? 1 : 0,
        }),
      }))
      if (taken !== null && status === RmpStatus.SUCCESS) shared.fact?.(null, taken)
      return status
    },
    wbinvd: ({ cpu }) => { writeBack(sevOf(cpu)) },
    psmash: (page) => applied(psmash(rmp, { agent: HOST, address: BigInt(page) * 4096n })),
    flush: (effects) => { flushPages(shared, effects) },
  }
}

export { HOST_KEY } from './context.ts'
export { guestProgram } from './guest-program.ts'
export type { GuestProgram, PvalidateResult } from './guest-program.ts'
export type { SevGuest, SevOperation, SevProcessor, SevShared } from './context.ts'
export type { WaitingPage } from './evictions.ts'
export { SERVED_FEATURES } from './encrypted.ts'
