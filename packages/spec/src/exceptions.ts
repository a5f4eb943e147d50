/** Exceptions and interrupts of the architecture (SDM vol. 3, table 6-1; APM vol. 2, table 8-1). */

/** When an exception is reported, and whether the instruction can be started again. */
export type ExceptionKind = 'fault' | 'trap' | 'abort' | 'interrupt' | 'fault or trap'

/** An exception of the architecture. */
export interface ExceptionVector {
  readonly vector: number
  /** Without the "#". */
  readonly mnemonic: string
  readonly name: string
  readonly kind: ExceptionKind
  /** Whether an error code is pushed. */
  readonly errorCode: boolean
}

const row = (vector: number, mnemonic: string, name: string, kind: ExceptionKind, errorCode = false): ExceptionVector =>
  ({ vector, mnemonic, name, kind, errorCode })

/** By vector; vectors that are not named are reserved. */
export const EXCEPTIONS: readonly ExceptionVector[] = [
  row(0, 'DE', 'divide error', 'fault'),
  row(1, 'DB', 'debug', 'fault or trap'),
  row(2, 'NMI', 'non-maskable interrupt', 'interrupt'),
  row(3, 'BP', 'breakpoint', 'trap'),
  row(4, 'OF', 'overflow', 'trap'),
  row(5, 'BR', 'bound range exceeded', 'fault'),
  row(6, 'UD', 'invalid opcode', 'fault'),
  row(7, 'NM', 'device not available', 'fault'),
  row(8, 'DF', 'double fault', 'abort', true),
  row(10, 'TS', 'invalid TSS', 'fault', true),
  row(11, 'NP', 'segment not present', 'fault', true),
  row(12, 'SS', 'stack', 'fault', true),
  row(13, 'GP', 'general protection', 'fault', true),
  row(14, 'PF', 'page fault', 'fault', true),
  row(16, 'MF', 'x87 floating-point error', 'fault'),
  row(17, 'AC', 'alignment check', 'fault', true),
  row(18, 'MC', 'machine check', 'abort'),
  row(19, 'XM', 'SIMD floating-point exception', 'fault'),
  row(20, 'VE', 'virtualization exception', 'fault'),
  row(21, 'CP', 'control protection', 'fault', true),
  row(28, 'HV', 'hypervisor injection', 'interrupt'),
  row(29, 'VC', 'VMM communication', 'fault', true),
  row(30, 'SX', 'security', 'fault', true),
]

/** Faults that meet while a first one is delivered: contributory and page-fault classes (SDM vol. 3, table 6-5). */
export const CONTRIBUTORY: ReadonlySet<number> = new Set([0, 10, 11, 12, 13, 21])
