/** The time-stamp counter and the MSRs that the local APIC answers. */
import type { Cpu } from '../../cpu.ts'
import { TSC_OFFSET } from '../../state.ts'
import { readU64, writeU64 } from '../access.ts'
import { APIC_GP, APIC_MSR } from '../apic-port.ts'
import { systemOf } from '../cpu-system.ts'
import type { Msr } from './msr.ts'
import { gp } from './msr.ts'

/** The time-stamp counter now. */
export const readTsc = (cpu: Cpu): bigint => BigInt.asUintN(64, cpu.timestamp() + readU64(cpu, TSC_OFFSET))

const MSR_TSC_ADJUST = 0x3b

const readAdjust = (cpu: Cpu): bigint => systemOf(cpu).held.get(MSR_TSC_ADJUST) ?? 0n

/** Moves the counter by `delta`, and IA32_TSC_ADJUST with it (SDM vol. 3 §18.17.3). */
function moveTsc(cpu: Cpu, delta: bigint): void {
  const system = systemOf(cpu)
  writeU64(cpu, TSC_OFFSET, BigInt.asUintN(64, readU64(cpu, TSC_OFFSET) + delta))
  system.held.set(MSR_TSC_ADJUST, BigInt.asUintN(64, readAdjust(cpu) + delta))
  system.apic.tscChanged()
}

const tsc: Msr = {
  index: 0x10,
  name: 'IA32_TIME_STAMP_COUNTER',
  read: readTsc,
  write: (cpu, value) => { moveTsc(cpu, value - readTsc(cpu)) },
}

const tscAdjust: Msr = {
  index: MSR_TSC_ADJUST,
  name: 'IA32_TSC_ADJUST',
  read: readAdjust,
  write: (cpu, value) => { moveTsc(cpu, value - readAdjust(cpu)) },
}

const apicMsr = (index: number, name: string): Msr => ({
  index,
  name,
  read: (cpu) => {
    const value = systemOf(cpu).apic.readMsr(index)
    return value === APIC_GP ? gp() : value
  },
  write: (cpu, value) => {
    if (systemOf(cpu).apic.writeMsr(index, value) === APIC_GP) gp()
  },
})

const x2apic = Array.from({ length: APIC_MSR.X2APIC_LAST - APIC_MSR.X2APIC_FIRST + 1 }, (_, i) =>
  apicMsr(APIC_MSR.X2APIC_FIRST + i, `IA32_X2APIC_${i.toString(16).toUpperCase()}`))

/** The registers of this group. */
export const TIME_APIC_MSRS: readonly Msr[] = [
  tsc, tscAdjust,
  apicMsr(APIC_MSR.BASE, 'IA32_APIC_BASE'), apicMsr(APIC_MSR.TSC_DEADLINE, 'IA32_TSC_DEADLINE'), ...x2apic,
]
