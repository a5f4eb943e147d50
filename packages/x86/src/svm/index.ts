/** SVM: guests on the same processor (APM vol. 2, chapter 15). */
export { createSvmExtension } from './extension.ts'
export type { SvmExtension, SvmExtensionOptions } from './extension.ts'
export { createSvm, SVM_MSR, TSC_RATIO_ONE, VMEXIT_INVALID } from './svm.ts'
export type { SvmCore, SvmOptions } from './svm.ts'
export type { Svm, SvmBudget, SvmRun, SvmVmexit } from './types.ts'
export type { AccessOutcome, GuestKind, SvmHooks } from './kind.ts'
export type { Exit, GuestControl, VirtualInterrupts } from './control.ts'
export type { StatePage } from './vmcb.ts'
