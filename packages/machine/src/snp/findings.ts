/** Findings of an SNP guest: facts go to the rules, and what they find broken gets its evidence from the machine. */
import { createFindings, createGuestSymbols } from '@cofferdam/findings'
import type { Finding, Findings, FindingsState, Occurrence, SymbolTable, Violation } from '@cofferdam/findings'
import type { SnpGuest } from '@cofferdam/host'
import { createAccessRepeats, createSevJudge, entryOf } from '@cofferdam/sev'
import type { AccessRepeatsState, PageHistoryState, RmpTable, SevFact } from '@cofferdam/sev'
import { PageFaultError } from '@cofferdam/spec'
import { judgeSvsm } from '@cofferdam/svsm'
import type { SvsmFact } from '@cofferdam/svsm'
import { guestFault, state, VECTOR } from '@cofferdam/x86'
import type { Processor } from '@cofferdam/x86'
import { VMGEXIT_BYTES } from './guest-places.ts'
import type { GuestPlace, GuestPlaces } from './guest-places.ts'

export interface SnpFindingsOptions {
  readonly rmp: RmpTable
  /** The guest, once it is there. */
  readonly guest: () => Pick<SnpGuest, 'memory'>
  readonly places: GuestPlaces
  readonly now: () => number
  /** Symbols of the guest's kernel from a file, as it was linked. */
  readonly symbols?: SymbolTable
  readonly onFinding?: (finding: Finding) => void
  /** A processor of the guest will never get past an access to a guest page: why, in words. */
  readonly onEndless: (cpu: number, page: number, why: string) => void
}

/** What a snapshot keeps of findings, and of facts that decide about later ones. */
export interface SnpFindingsState {
  readonly collector: FindingsState
  readonly history: PageHistoryState
  readonly repeats: AccessRepeatsState
  /** Times that the kernel's symbols were looked for in vain. */
  readonly tries: number
}

export interface SnpFindings extends Findings {
  snapshotAll(): SnpFindingsState
  restoreAll(saved: SnpFindingsState): void
  /** A fact from the silicon; the processor is resident. Null: the host acts. */
  fromSilicon(processor: Processor | null, fact: SevFact): void
  /** A fact from the host, about a processor of the guest that has left: its state is in its VMSA. */
  fromHost(vcpu: number, fact: SevFact): void
  /** A fact from the SVSM, about the caller whose VMSA is at a guest physical address. */
  fromSvsm(vcpu: number, vmsa: number, fact: SvsmFact): void
  /** A processor is about to take the exception in `guestFault`. */
  raised(processor: Processor): void
  /** A processor of the guest left for the host; the name is the exit's. */
  exited(vcpu: number, name: string): void
  /** What the RMP says of the system page behind a guest page, for a person. */
  describePage(guestPage: number): string
}

const hex = (value: number): string => `0x${value.toString(16)}`

const PAGE = 4096
const RSP = (state.GPR >>> 3) + 4
/** Pages of 2 MiB. */
const LARGE = 512
/** Exits that a guest has not asked for: nothing in them is its doing. */
const INVOLUNTARY = /^(interrupt|npf:|pause)/

/** Where Linux maps its text, data and modules (Documentation/arch/x86/x86_64/mm.rst), and where addresses are low. */
const KERNEL_MAPPING = { start: 0xffff_ffff_8000_0000n, end: 0xffff_ffff_ff00_0000n } as const
const LOW_HALF = 2n ** 47n

/** The address that supervisor code at a low address has found nothing at, inside of the kernel's own mapping. */
function earlyReference(processor: Processor): bigint | null {
  if (guestFault.vector !== VECTOR.PF || (guestFault.errorCode & PageFaultError.mask.P) !== 0) return null
  const gva = BigInt.asUintN(64, guestFault.address)
  if (gva < KERNEL_MAPPING.start || gva >= KERNEL_MAPPING.end) return null
  const isEarly = BigInt.asUintN(64, processor.cpu.rip()) < LOW_HALF && processor.privilege() === 0
  return isEarly && processor.width() === 8 ? gva : null
}

export function createSnpFindings(options: SnpFindingsOptions): SnpFindings {
  const { rmp, guest, now, onFinding, places } = options
  const judge = createSevJudge()
  const repeats = createAccessRepeats()
  const findings = createFindings({ ...(onFinding && { onFinding }) })

  const symbols = createGuestSymbols({ ...(options.symbols && { file: options.symbols }) })

  const occurrence = (place: GuestPlace): Occurrence => ({
    at: now(), vmpl: place.vmpl, rip: place.rip,
    scene() {
      const { cpl, mode } = place.registers()
      return { cpu: place.cpu, vmpl: place.vmpl, cpl, mode, ...symbols.describe(places.codeAt(place)) }
    },
    entryAt(spa) {
      const entry = rmp.read(Number(spa / BigInt(PAGE)))
      return entry === null ? null : entryOf(entry)
    },
  })

  const tell = (violation: Violation, here: Occurrence): void => {
    const { gpa, spa = gpa === undefined ? undefined : places.systemAddress(gpa) } = violation
    findings.add({ ...violation, ...(spa !== undefined && { spa }) }, here)
  }

  const add = (fact: SevFact, place: () => GuestPlace): void => {
    const broken = judge.judge(fact)
    if (broken.length === 0) return
    const at = place()
    const here = occurrence(at)
    const inSvsm = places.isProgram(at.cpu) ? 'In the SVSM, which the guest had called here: ' : ''
    for (const violation of broken) tell({ ...violation, what: inSvsm + violation.what }, here)
  }

  /** Watches for accesses that never come to an end, which no exit would tell of. */
  const lookForRepeats = (processor: Processor, fact: SevFact): void => {
    if (fact.kind === 'pvalidate' && fact.result === 'done') repeats.validated(fact.guestPage, fact.large ? LARGE : 1)
    if (fact.kind !== 'denied') return
    const { index: cpu, cpu: { views } } = processor
    const rip = BigInt.asUintN(64, processor.cpu.rip())
    const stuck = repeats.denied(fact, { cpu, rip, rsp: views.u64[RSP] })
    if (stuck === null) return
    add(stuck, () => places.resident(processor))
    options.onEndless(cpu, Number(fact.gpa / BigInt(PAGE)), stuck.text)
  }

  return {
    ...findings,
    get dropped() { return findings.dropped },
    snapshotAll: () => ({
      collector: findings.snapshot(), history: judge.history.snapshot(), repeats: repeats.snapshot(),
      tries: symbols.tries,
    }),
    restoreAll(saved) {
      findings.restore(saved.collector)
      judge.history.restore(saved.history)
      repeats.restore(saved.repeats)
      symbols.tries = saved.tries
    },
    fromSilicon(processor, fact) {
      if (processor === null) {
        judge.judge(fact)
        return
      }
      add(fact, () => places.resident(processor))
      lookForRepeats(processor, fact)
    },
    raised(processor) {
      const gva = earlyReference(processor)
      if (gva === null) return
      const fetch = (guestFault.errorCode & PageFaultError.mask.I) !== 0
      add({ kind: 'early-reference', gva, fetch }, () => places.resident(processor))
    },
    exited(vcpu, name) { if (!INVOLUNTARY.test(name)) repeats.asked(vcpu) },
    describePage(guestPage) {
      const page = guest().memory.systemPage(guestPage)
      const entry = page < 0 ? null : rmp.read(page)
      return entry === null
        ? 'no page of the host is behind it'
        : `RMP entry of ${hex(page * PAGE)}: ${entryOf(entry).text}`
    },
    fromSvsm(vcpu, vmsa, fact) {
      const place = places.caller(vcpu, vmsa)
      if (place !== undefined) tell(judgeSvsm(fact), occurrence(place))
    },
    fromHost(vcpu, fact) {
      add(fact, () => places.left(vcpu, fact.kind === 'stuck' ? 0n : VMGEXIT_BYTES))
    },
  }
}
