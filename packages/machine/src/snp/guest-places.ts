/**
 * Where the processors of an SNP guest are, and what is there, for a person. This is the emulator's look and no host's:
 * registers come from the processor while the guest is resident, and from its VMSA after an exit; memory is read as the
 * guest sees it.
 */
import { createLinearMemory } from '@cofferdam/findings'
import type { GuestCode, GuestSymbols, ReadLinear } from '@cofferdam/findings'
import type { SnpGuest } from '@cofferdam/host'
import type { PhysicalMemory } from '@cofferdam/memory'
import type { SevProcessor } from '@cofferdam/sev'
import { Cr4, Efer, SevFeatures, Vmsa } from '@cofferdam/spec'
import type { Processor, Svm } from '@cofferdam/x86'
import type { ProcessorPlace } from '../options.ts'
import { registerLines, registersOf } from '../report.ts'
import type { RegisterView } from '../report.ts'

export interface GuestPlacesOptions {
  readonly memory: PhysicalMemory
  readonly sevOf: (processor: Processor) => SevProcessor
  /** The guest, once it is there, and its processors' SVM. */
  readonly guest: () => Pick<SnpGuest, 'vcpus' | 'memory' | 'asid'>
  readonly svms: () => readonly Svm[]
  /** Position of the C-bit in the guest's page tables. */
  readonly cBit: number
}

/** A processor of the guest: what tells places apart, and the rest for those that are new. */
export interface GuestPlace {
  readonly cpu: number
  readonly vmpl: number
  readonly rip: bigint
  registers(): RegisterView
}

/** Places of a guest's processors. */
export interface GuestPlaces {
  /**
   * Where a processor is that the guest is resident in. When a program of ours runs it (an SVSM), this is where the
   * guest has called it from.
   */
  resident(processor: Processor): GuestPlace
  /** Where a processor is that has left by an exit. `past`: bytes that RIP is behind the instruction. */
  left(vcpu: number, past: bigint): GuestPlace
  /** Where the guest has called an SVSM from, by the guest physical address of its VMSA; undefined: no memory there. */
  caller(vcpu: number, vmsa: number): GuestPlace | undefined
  /** Whether a program of ours runs there, for the guest. */
  isProgram(vcpu: number): boolean
  /** What symbols are looked for and found by. */
  codeAt(place: GuestPlace): GuestCode
  /** System physical address of a guest physical one, where memory is behind it. */
  systemAddress(gpa: bigint): bigint | undefined
  /** All processors, with the kernel's symbols. */
  list(symbols: GuestSymbols): readonly ProcessorPlace[]
  /** The registers of a processor in lines; what it has none for, in a word. */
  describe(vcpu: number): readonly string[]
}

const PAGE = 4096
const VMSA_ADDRESS = 0xf_ffff_ffff_f000n
/** Bytes of VMGEXIT, which the saved RIP is past. */
export const VMGEXIT_BYTES = 4n
/** VMSA segment attributes: L and D. */
const CODE_LONG = 0x200
const CODE_32 = 0x400
/** The gate of #PF in an IDT of long mode. */
const PAGE_FAULT_GATE = 14n * 16n

const GENERAL = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const

/** The registers in a VMSA; general ones lie there under a nonce when they are protected (APM vol. 2, table B-4). */
function vmsaRegisters(view: DataView, past: bigint): RegisterView {
  const long = (name: 'rflags' | 'cr0' | 'cr2' | 'cr3' | 'cr4' | 'efer'): bigint => Vmsa.get(view, name)
  const table = (at: number) => ({ limit: view.getUint32(at + 4, true), base: view.getBigUint64(at + 8, true) })
  const isProtected = (Vmsa.get(view, 'sevFeatures') & SevFeatures.mask.VmsaRegProt) !== 0n
  const nonce = isProtected ? Vmsa.get(view, 'regProtNonce') : 0n
  const attributes = view.getUint16(Vmsa.offset.cs + 2, true)
  const isLong = (long('efer') & BigInt(Efer.mask.LMA)) !== 0n && (attributes & CODE_LONG) !== 0
  return {
    registers: Object.fromEntries(
      GENERAL.map((name) => [name, Vmsa.get(view, name) ^ nonce]),
    ) as RegisterView['registers'],
    rip: BigInt.asUintN(64, Vmsa.get(view, 'rip') - past), rflags: long('rflags'),
    cr0: long('cr0'), cr2: long('cr2'), cr3: long('cr3'), cr4: long('cr4'), efer: long('efer'),
    gdtr: table(Vmsa.offset.gdtr), idtr: table(Vmsa.offset.idtr),
    cs: view.getUint16(Vmsa.offset.cs, true), ss: view.getUint16(Vmsa.offset.ss, true), cpl: Vmsa.get(view, 'cpl'),
    mode: isLong ? '64-bit' : (attributes & CODE_32) !== 0 ? '32-bit' : '16-bit',
  }
}

export function createGuestPlaces(options: GuestPlacesOptions): GuestPlaces {
  const { memory, sevOf, guest, svms } = options

  /** By the VMSA at a system physical address. */
  const inVmsa = (cpu: number, address: number, past: bigint): GuestPlace => {
    const { asid } = guest()
    const bytes = new Uint8Array(Vmsa.size)
    const view = new DataView(bytes.buffer)
    const [at, level] = [Vmsa.offset.rip, Vmsa.offset.vmpl]
    memory.read(address + at, bytes.subarray(at, at + 8), asid)
    memory.read(address + level, bytes.subarray(level, level + 1), asid)
    return {
      cpu, vmpl: Vmsa.get(view, 'vmpl'), rip: BigInt.asUintN(64, Vmsa.get(view, 'rip') - past),
      registers() {
        memory.read(address, bytes, asid)
        return vmsaRegisters(view, past)
      },
    }
  }

  /** System physical address of the VMSA that a processor last ran from. */
  const vmsaOf = (vcpu: number): number =>
    Number(guest().vcpus[vcpu].vmcb.get('vmsaPa') & VMSA_ADDRESS & ~(1n << BigInt(options.cBit)))

  const isProgram = (vcpu: number): boolean => guest().vcpus[vcpu].programFor() !== undefined
  const left = (vcpu: number, past: bigint): GuestPlace => {
    const caller = guest().vcpus[vcpu].programFor()
    return caller === undefined ? inVmsa(vcpu, vmsaOf(vcpu), past) : inVmsa(vcpu, caller * PAGE, VMGEXIT_BYTES)
  }
  const resident = (processor: Processor): GuestPlace => {
    const { index } = processor
    if (isProgram(index)) return left(index, 0n)
    return {
      cpu: index, vmpl: sevOf(processor).guest?.vmpl ?? -1, rip: BigInt.asUintN(64, processor.cpu.rip()),
      registers: () => registersOf(processor),
    }
  }

  /** Where a processor of the guest is now; undefined: the guest has not started it. */
  const now = (vcpu: number): GuestPlace | undefined => {
    const { [vcpu]: svm } = svms()
    if (svm.inGuest) return resident(svm.processor)
    return guest().vcpus[vcpu].started ? left(vcpu, 0n) : undefined
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

  const codeAt = ({ rip, registers }: GuestPlace): GuestCode => {
    const { mode, cr3, cr4, idtr, registers: { rsp } } = registers()
    if (mode !== '64-bit') return { rip, rsp, entries: [], read: () => false }
    const levels = (cr4 & BigInt(Cr4.mask.LA57)) === 0n ? 4 : 5
    const read = createLinearMemory({ readPhysical, cr3, levels, notAddress: 1n << BigInt(options.cBit) })
    return { rip, rsp, entries: handlerOf(read, idtr.base), read }
  }

  const systemAddress = (gpa: bigint): bigint | undefined => {
    const page = gpa < 2n ** 52n ? guest().memory.systemPage(Number(gpa / BigInt(PAGE))) : -1
    return page < 0 ? undefined : BigInt(page) * BigInt(PAGE) + gpa % BigInt(PAGE)
  }

  return {
    resident, left, isProgram, codeAt, systemAddress,
    caller(vcpu, vmsa) {
      const address = systemAddress(BigInt(vmsa))
      return address === undefined ? undefined : inVmsa(vcpu, Number(address), VMGEXIT_BYTES)
    },
    list: (symbols) => guest().vcpus.map((vcpu, cpu) => {
      const place = now(cpu)
      if (place === undefined) return { cpu, rip: 0n, mode: 'halted: the guest has not started it' }
      const { cpl, mode } = place.registers()
      const inSvsm = isProgram(cpu) ? ', in the SVSM' : ''
      const { rip: { symbol }, backtrace } = symbols.describe(codeAt(place))
      return {
        cpu, rip: place.rip,
        mode: `VMPL${place.vmpl}, ${mode}, CPL ${cpl}${inSvsm}${vcpu.halted ? ', halted' : ''}`,
        ...(symbol !== null && { symbol }),
        ...(cpl === 0 && { stack: backtrace.map((frame) => frame.symbol ?? `0x${frame.address.toString(16)}`) }),
      }
    }),
    describe(vcpu) {
      const place = now(vcpu)
      if (place === undefined) return [`cpu ${vcpu}: the guest has not started it`]
      return registerLines(vcpu, place.registers())
    },
  }
}
