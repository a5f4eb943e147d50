/**
 * The part of a guest's processor that its host keeps: MSRs that are not switched by hardware, the local APIC, and what
 * CPUID says. The models and register tables are those of the silicon; a record of state stands in for the processor.
 */
import { SnapshotError } from '@cofferdam/devices'
import {
  addMsrs, answerCpuid, createCpuSystem, createMsrTable, flatTopology, guestFault, setFirmwareMtrrs, state,
  type ApicPort, type Cpu, type CpuModel, type CpuSystem, type Msr,
} from '@cofferdam/x86'

/** Four registers of a CPUID answer: EAX, EBX, ECX, EDX. */
export type CpuidAnswer = Uint32Array

/** A guest's processor where the host answers for it: CPUID and MSRs. */
export interface GuestCpu {
  readonly system: CpuSystem
  /**
   * CPUID as the guest's model has it.
   * @param xcr0 what the guest has in XCR0, which decides sizes in leaf 0Dh
   */
  cpuid(leaf: number, subleaf: number, xcr0: bigint): CpuidAnswer
  /** RDMSR; undefined for #GP. */
  readMsr(index: number): bigint | undefined
  /** WRMSR; false for #GP. */
  writeMsr(index: number, value: bigint): boolean
  /** The guest's time-stamp counter. */
  timestamp(): bigint
  snapshot(): GuestCpuState
  /** @throws SnapshotError */
  restore(saved: GuestCpuState): void
}

/** What a snapshot keeps of it. */
export interface GuestCpuState {
  /** Registers that MSRs are kept in, as `state.ts` of the engine lays them out. */
  readonly registers: Uint8Array
  /** MSRs that hold what was written, by index. */
  readonly msrs: readonly (readonly [index: number, value: bigint])[]
}

/** Which processor of which model it is. */
export interface GuestCpuOptions {
  readonly model: CpuModel
  readonly index: number
  readonly count: number
  readonly apic: ApicPort
  /** Ticks of the time-stamp counter now. */
  readonly now: () => number
  /** Where the PCI hole begins, for the MTRRs as firmware leaves them; undefined: they are as after reset. */
  readonly holeStart: number | undefined
  /** MSRs beside the model's. */
  readonly msrs?: readonly Msr[]
}

/** A processor as after reset. */
export function createGuestCpu(options: GuestCpuOptions): GuestCpu {
  const { model, index, count, apic, now } = options
  const msrs = createMsrTable(model)
  addMsrs(msrs, options.msrs ?? [])
  const system = createCpuSystem({ model, topology: flatTopology(count), index, apic, msrs })
  if (options.holeStart !== undefined) setFirmwareMtrrs(system, options.holeStart)
  const buffer = new ArrayBuffer(state.HOT_END)
  const views = {
    u8: new Uint8Array(buffer), u16: new Uint16Array(buffer), i32: new Int32Array(buffer), u32: new Uint32Array(buffer),
    i64: new BigInt64Array(buffer), u64: new BigUint64Array(buffer), f64: new Float64Array(buffer),
  }
  views.u64[state.MSR_PAT >>> 3] = 0x0007_0406_0007_0406n
  // Registers and leaves look at state, at the system side and at the time; a host never executes on this record.
  const cpu = {
    views, index, system, timestamp: () => BigInt(Math.floor(now())),
    // A guest may ask for EFER, which is in its VMSA: what is kept here has no translations and no mode.
    flushTlb: () => undefined, modeChanged: () => undefined,
  } as unknown as Cpu
  const out = new Uint32Array(4)

  /** Runs a register's own code; a fault that it raises is the guest's. */
  const faults = <T>(act: () => T): T | undefined => {
    try {
      return act()
    } catch (fault) {
      if (fault !== guestFault) throw fault
      return undefined
    }
  }

  return {
    system,
    cpuid(leaf, subleaf, xcr0) {
      views.u32[state.XCR0 >>> 2] = Number(xcr0 & 0xffff_ffffn)
      answerCpuid(cpu, system, leaf, subleaf, out)
      return out
    },
    readMsr(msr) {
      const register = msrs.get(msr >>> 0)
      return register === undefined ? undefined : faults(() => register.read(cpu))
    },
    writeMsr(msr, value) {
      const register = msrs.get(msr >>> 0)
      return register !== undefined && faults(() => {
        register.write(cpu, value)
        return true
      }) === true
    },
    timestamp: () => BigInt.asUintN(64, cpu.timestamp() + views.u64[state.TSC_OFFSET >>> 3]),
    snapshot: () => ({ registers: views.u8.slice(), msrs: [...system.held].sort(([a], [b]) => a - b) }),
    restore(saved) {
      const need = (ok: boolean, field: string, expected: string): void => {
        if (!ok) throw new SnapshotError('guest', `vcpus.cpu.${field}`, expected)
      }
      need(saved.registers.length === views.u8.length, 'registers', `${views.u8.length} bytes`)
      need(saved.msrs.every(([index, value]) => msrs.has(index) && BigInt.asUintN(64, value) === value), 'msrs',
        'MSRs of this processor')
      views.u8.set(saved.registers)
      system.held.clear()
      for (const [index, value] of saved.msrs) system.held.set(index, value)
    },
  }
}
