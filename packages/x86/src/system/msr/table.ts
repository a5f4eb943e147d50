/** The MSRs of a model as one table, and RDMSR and WRMSR over it. */
import type { Meaning } from '../../cpu.ts'
import { edxEax, gpr32, RCX, requireCpl0, setEdxEax } from '../access.ts'
import { systemOf } from '../cpu-system.ts'
import type { CpuModel } from '../cpuid/model.ts'
import { amdMsrs } from './amd.ts'
import { intelMsrs } from './intel.ts'
import { MACHINE_CHECK_MSRS } from './machine-check.ts'
import { MEMORY_TYPE_MSRS } from './memory-types.ts'
import type { Msr } from './msr.ts'
import { gp } from './msr.ts'
import { SYSTEM_CALL_MSRS } from './system-calls.ts'
import { TIME_APIC_MSRS } from './time-apic.ts'

/** Adds or replaces registers of a table. */
export function addMsrs(table: Map<number, Msr>, registers: readonly Msr[]): void {
  for (const register of registers) table.set(register.index, register)
}

/** The registers of a model by index. Extensions add their own with `addMsrs`. */
export function createMsrTable(model: CpuModel): Map<number, Msr> {
  const table = new Map<number, Msr>()
  addMsrs(table, SYSTEM_CALL_MSRS)
  addMsrs(table, TIME_APIC_MSRS)
  addMsrs(table, MEMORY_TYPE_MSRS)
  addMsrs(table, MACHINE_CHECK_MSRS)
  addMsrs(table, model.vendor === 'GenuineIntel' ? intelMsrs(model) : amdMsrs(model))
  return table
}

/** RDMSR: ECX → EDX:EAX. #GP(0) for a register that the model does not have. */
export const rdmsr: Meaning = (cpu) => {
  requireCpl0(cpu)
  const register = systemOf(cpu).msrs.get(gpr32(cpu, RCX)) ?? gp()
  setEdxEax(cpu, register.read(cpu))
}

/** WRMSR: EDX:EAX → the register in ECX. */
export const wrmsr: Meaning = (cpu) => {
  requireCpl0(cpu)
  const register = systemOf(cpu).msrs.get(gpr32(cpu, RCX)) ?? gp()
  register.write(cpu, edxEax(cpu))
}
