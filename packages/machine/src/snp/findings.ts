/** Findings of an SNP guest: facts go to the rules, and what they find broken gets its evidence from the machine. */
import { createFindings, createGuestSymbols, createLinearMemory } from '@cofferdam/findings'
import type {
  Finding, Findings, FindingsState, Occurrence, ReadLinear, SymbolTable, Violation,
} from '@cofferdam/findings'
import type { SnpGuest } from '@cofferdam/host'
import type { PhysicalMemory } from '@cofferdam/memory'
import { createAccessRepeats, createSevJudge, entryOf } from '@cofferdam/sev'
import type { AccessRepeatsState, PageHistoryState, RmpTable, SevFact, SevProcessor } from '@cofferdam/sev'
import { PageFaultError, Vmsa } from '@cofferdam/spec'
import { judgeSvsm } from '@cofferdam/svsm'
import type { SvsmFact } from '@cofferdam/svsm'
import { guestFault, saveState, state, VECTOR } from '@cofferdam/x86'
import type { Processor } from '@cofferdam/x86'

export interface SnpFindingsOptions {
  readonly memory: PhysicalMemory
  readonly rmp: RmpTable
  readonly sevOf: (processor: Processor) => SevProcessor
  /** The guest, once it is there. */
  readonly guest: () => Pick<SnpGuest, 'vcpus' | 'memory' | 'asid'>
  readonly now: () => number
  /** Position of the C-bit in the guest's page tables. */
  readonly cBit: number
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
const VMSA_ADDRESS = 0xf_ffff_ffff_f000n
/** Bytes of VMGEXIT, which the saved RIP is past. */
const VMGEXIT_BYTES = 4n
const EFER_LMA = 0x400n
/** VMSA segment attributes: L and D. */
const CODE_LONG = 0x200
const CODE_32 = 0x400

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

/** The gate of #PF in an IDT of long mode. */
const PAGE_FAULT_GATE = 14n * 16n
const CR4_LA57 = 0x1000n

/** A processor of the guest: what tells occurrences apart, and the rest for those that are new. */
interface GuestPlace {
  readonly cpu: number
  readonly vmpl: number
  readonly rip: bigint
  rest(): PlaceDetails
}

/** What a finding says of a processor besides, and what its memory is read with. */
interface PlaceDetails {
  readonly cpl: number
  readonly mode: string
  readonly rsp: bigint
  readonly cr3: bigint
  readonly cr4: bigint
  readonly idt: bigint
}

export function createSnpFindings(options: SnpFindingsOptions): SnpFindings {
  const { memory, rmp, sevOf, guest, now, onFinding } = options
  const judge = createSevJudge()
  const repeats = createAccessRepeats()
  const findings = createFindings({ ...(onFinding && { onFinding }) })

  const symbols = createGuestSymbols({ ...(options.symbols && { file: options.symbols }) })

  const resident = (processor: Processor): GuestPlace => ({
    cpu: processor.index, vmpl: sevOf(processor).guest?.vmpl ?? -1, rip: BigInt.asUintN(64, processor.cpu.rip()),
    rest() {
      const { registers: { rsp }, cr3, cr4, idtr } = saveState(processor)
      return { cpl: processor.privilege(), mode: `${processor.width() * 8}-bit`, rsp, cr3, cr4, idt: idtr.base }
    },
  })

  /** A processor that has left, by its VMSA at a system physical address. `past`: bytes that RIP is too far. */
  const inVmsa = (cpu: number, address: number, past: bigint): GuestPlace => {
    const { asid } = guest()
    const bytes = new Uint8Array(Vmsa.size)
    const view = new DataView(bytes.buffer)
    const [at, level] = [Vmsa.offset.rip, Vmsa.offset.vmpl]
    memory.read(address + at, bytes.subarray(at, at + 8), asid)
    memory.read(address + level, bytes.subarray(level, level + 1), asid)
    return {
      cpu, vmpl: Vmsa.get(view, 'vmpl'), rip: BigInt.asUintN(64, Vmsa.get(view, 'rip') - past),
      rest() {
        memory.read(address, bytes, asid)
        const attributes = view.getUint16(Vmsa.offset.cs + 2, true)
        const long = (Vmsa.get(view, 'efer') & EFER_LMA) !== 0n && (attributes & CODE_LONG) !== 0
        return {
          cpl: Vmsa.get(view, 'cpl'), mode: long ? '64-bit' : (attributes & CODE_32) !== 0 ? '32-bit' : '16-bit',
          rsp: Vmsa.get(view, 'rsp'), cr3: Vmsa.get(view, 'cr3'), cr4: Vmsa.get(view, 'cr4'),
          idt: view.getBigUint64(Vmsa.offset.idtr + 8, true),
        }
      },
    }
  }

  /** Reads what the guest has at a guest physical address, as the guest itself sees it. */
  const readPhysical = (address: number, out: Uint8Array): boolean => {
    const { memory: guestMemory, asid } = guest()
    const page = Math.floor(address / PAGE)
    const system = guestMemory.systemPage(page)
    if (system < 0) return false
    memory.read(system * PAGE + address % PAGE, out, guestMemory.isShared(page) ? 0 : asid)
    return true
  }

  /** Where the gate of #PF leads: into the kernel, once there is one. */
  const handlerOf = (read: ReadLinear, idt: bigint): bigint[] => {
    const gate = new Uint8Array(16)
    if (!read(idt + PAGE_FAULT_GATE, gate)) return []
    const view = new DataView(gate.buffer)
    return [BigInt(view.getUint16(0, true)) | BigInt(view.getUint16(6, true)) << 16n
      | BigInt(view.getUint32(8, true)) << 32n]
  }

  const codeOf = (rip: bigint, { mode, rsp, cr3, cr4, idt }: PlaceDetails) => {
    if (mode !== '64-bit') return { rip, rsp, entries: [], read: () => false }
    const levels = (cr4 & CR4_LA57) === 0n ? 4 : 5
    const read = createLinearMemory({ readPhysical, cr3, levels, notAddress: 1n << BigInt(options.cBit) })
    return { rip, rsp, entries: handlerOf(read, idt), read }
  }

  const occurrence = ({ cpu, vmpl, rip, rest }: GuestPlace): Occurrence => ({
    at: now(), vmpl, rip,
    scene() {
      const details = rest()
      const { cpl, mode } = details
      return { cpu, vmpl, cpl, mode, ...symbols.describe(codeOf(rip, details)) }
    },
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

  /** System physical address of the VMSA that a processor last ran from. */
  const vmsaOf = (vcpu: number): number =>
    Number(guest().vcpus[vcpu].vmcb.get('vmsaPa') & VMSA_ADDRESS & ~(1n << BigInt(options.cBit)))

  const tell = (violation: Violation, here: Occurrence): void => {
    const { gpa, spa = gpa === undefined ? undefined : systemAddress(gpa) } = violation
    findings.add({ ...violation, ...(spa !== undefined && { spa }) }, here)
  }

  const add = (fact: SevFact, place: () => GuestPlace): void => {
    const broken = judge.judge(fact)
    if (broken.length === 0) return
    const here = occurrence(place())
    for (const violation of broken) tell(violation, here)
  }

  /** Watches for accesses that never come to an end, which no exit would tell of. */
  const lookForRepeats = (processor: Processor, fact: SevFact): void => {
    if (fact.kind === 'pvalidate' && fact.result === 'done') repeats.validated(fact.guestPage, fact.large ? LARGE : 1)
    if (fact.kind !== 'denied') return
    const { index: cpu, cpu: { views } } = processor
    const rip = BigInt.asUintN(64, processor.cpu.rip())
    const stuck = repeats.denied(fact, { cpu, rip, rsp: views.u64[RSP] })
    if (stuck === null) return
    add(stuck, () => resident(processor))
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
      add(fact, () => resident(processor))
      lookForRepeats(processor, fact)
    },
    raised(processor) {
      const gva = earlyReference(processor)
      if (gva === null) return
      const fetch = (guestFault.errorCode & PageFaultError.mask.I) !== 0
      add({ kind: 'early-reference', gva, fetch }, () => resident(processor))
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
      const address = systemAddress(BigInt(vmsa))
      if (address !== undefined) tell(judgeSvsm(fact), occurrence(inVmsa(vcpu, Number(address), VMGEXIT_BYTES)))
    },
    fromHost(vcpu, fact) {
      add(fact, () => inVmsa(vcpu, vmsaOf(vcpu), fact.kind === 'stuck' ? 0n : VMGEXIT_BYTES))
    },
  }
}
