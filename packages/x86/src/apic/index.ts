export * from './local-apic.ts'
export {
  APIC_EVENT, type ApicMode, type LocalApic, type LocalApicOptions,
} from './types.ts'
export * from './messages.ts'
export { ApicSnapshotError, type LocalApicState } from './state.ts'
export { APIC, APIC_BASE, DELIVERY, GP_FAULT, MSR_APIC_BASE, MSR_TSC_DEADLINE, X2APIC_MSR } from './registers.ts'
