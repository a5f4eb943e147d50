/** SVM: guests on the same processor (APM vol. 2, chapter 15). */
export type { Svm, SvmBudget, SvmRun, SvmVmexit } from './types.ts'
