/** Findings of an SNP guest: facts go to the rules, and what they find broken gets its evidence from the machine. */
import { createFindings } from '@cofferdam/findings'
import type { Finding, Findings, Occurrence } from '@cofferdam/findings'
import type { SnpGuest } from '@cofferdam/host'
import type { PhysicalMemory } from '@cofferdam/memory'
import { createSevJudge, entryOf } from '@cofferdam/sev'
import type { RmpTable, SevFact, SevProcessor } from '@cofferdam/sev'
import { Vmsa } from '@cofferdam/spec'
import { saveState } from '@cofferdam/x86'
import type { Processor } from '@cofferdam/x86'

export interface SnpFindingsOptions {
  readonly memory: PhysicalMemory
  readonly rmp: RmpTable
  readonly sevOf: (processor: Processor) => SevProcessor
  /** The guest, once it is there. */
  readonly guest: () => Pick<SnpGuest, 'vcpus' | 'memory' | 'asid'>
  readonly now: () => number
  readonly onFinding?: (finding: Finding) => void
}

export interface SnpFindings extends Findings {
  /** A fact from the silicon; the processor is resident. Null: the host acts. */
  fromSilicon(processor: Processor | null, fact: SevFact): void
  /** A fact from the host, about a processor of the guest that has left: its state is in its VMSA. */
  fromHost(vcpu: number, fact: SevFact): void
}

const PAGE = 4096
/** Bytes of VMGEXIT, which the saved RIP is past. */
const VMGEXIT_BYTES = 4n
const EFER_LMA = 0x400n
/** VMSA segment attributes: L and D. */
const CODE_LONG = 0x200
const CODE_32 = 0x400

/** What a finding says of a processor. */
interface GuestPlace {
  readonly cpu: number
  readonly vmpl: number
  readonly cpl: number
  readonly mode: string
  readonly rip: bigint
}

export function createSnpFindings(options: SnpFindingsOptions): SnpFindings {
  const { memory, rmp, sevOf, guest, now, onFinding } = options
  const judge = createSevJudge()
  const findings = createFindings({ ...(onFinding && { onFinding }) })

  const resident = (processor: Processor): GuestPlace => ({
    cpu: processor.index, vmpl: sevOf(processor).guest?.vmpl ?? -1, cpl: processor.privilege(),
    mode: `${processor.width() * 8}-bit`, rip: saveState(processor).rip,
  })

  const inVmsa = (index: number, past: bigint): GuestPlace => {
    const page = Number((guest().vcpus[index].vmcb.get('vmsaPa') & 0xf_ffff_ffff_f000n) / BigInt(PAGE))
    const bytes = new Uint8Array(PAGE)
    memory.read(page * PAGE, bytes, guest().asid)
    const view = new DataView(bytes.buffer)
    const attributes = view.getUint16(Vmsa.offset.cs + 2, true)
    const long = (Vmsa.get(view, 'efer') & EFER_LMA) !== 0n && (attributes & CODE_LONG) !== 0
    return {
      cpu: index, vmpl: Vmsa.get(view, 'vmpl'), cpl: Vmsa.get(view, 'cpl'),
      mode: long ? '64-bit' : (attributes & CODE_32) !== 0 ? '32-bit' : '16-bit',
      rip: BigInt.asUintN(64, Vmsa.get(view, 'rip') - past),
    }
  }

  const occurrence = ({ cpu, vmpl, cpl, mode, rip }: GuestPlace): Occurrence => ({
    at: now(), vmpl, rip,
    scene: () => ({
      cpu, vmpl, cpl, mode, rip: { address: rip, symbol: null }, linked: null, backtrace: [],
      noSymbols: 'they are not looked up in this version',
    }),
    entryAt(spa) {
      const entry = rmp.read(Number(spa / BigInt(PAGE)))
      return entry === null ? null : entryOf(entry)
    },
  })

  /** System physical address of a guest physical one, where memory is behind it. */
  const systemAddress = (gpa: bigint): bigint | undefined => {
    const page = gpa < 2n ** 52n ? guest().memory.systemPage(Number(gpa / BigInt(PAGE))) : -1
    return page < 0 ? undefined : BigInt(page) * BigInt(PAGE) + gpa % BigInt(PAGE)
  }

  const add = (fact: SevFact, place: () => GuestPlace): void => {
    const broken = judge.judge(fact)
    if (broken.length === 0) return
    const here = occurrence(place())
    for (const violation of broken) {
      const { gpa, spa = gpa === undefined ? undefined : systemAddress(gpa) } = violation
      findings.add({ ...violation, ...(spa !== undefined && { spa }) }, here)
    }
  }

  return {
    ...findings,
    get dropped() { return findings.dropped },
    fromSilicon(processor, fact) {
      if (processor === null) judge.judge(fact)
      else add(fact, () => resident(processor))
    },
    fromHost(vcpu, fact) { add(fact, () => inVmsa(vcpu, fact.kind === 'stuck' ? 0n : VMGEXIT_BYTES)) },
  }
}
