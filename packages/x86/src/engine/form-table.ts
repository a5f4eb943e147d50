/** All forms seen so far, their handlers in the dispatch function, and their cold functions in the table. */
import type { Insn } from '../insn.ts'
import { CodeCacheFull } from './code-cache.ts'
import type { Form } from './form.ts'
import { formKey, formName, makeForm } from './form.ts'
import { FIRST_FORM_HANDLER, HANDLER } from './uop.ts'

export interface FormTable {
  readonly forms: readonly Form[]
  /** Number of the form of an instruction, with a conditional branch fused behind it when one is given. */
  lookUp(insn: Insn, flagsNeeded: boolean, source: number, immediate: number, branch: Insn | null): number
  /** Its handler in the dispatch function: its own, or COLD. */
  handler(form: number): number
  /** Forgets all forms when the table is nearly full; the code that names them must be gone. */
  makeRoom(): void
}

/** Forms that a flush leaves room for. */
const ROOM = 1024

/**
 * @param limit how many forms there may be; one more is a full code cache
 * @param hot forms that have a handler, in the order of the dispatch function
 * @param onNew called for each new form: its cold function goes to the table at the form's number
 */
export function createFormTable(
  hot: readonly string[], limit: number, onNew: (number: number) => void,
): FormTable {
  const forms: Form[] = []
  const handlers: number[] = []
  const byKey = new Map<number, number>()
  const fused = new Map<number, Map<number, number>>()
  const hotNumbers = new Map(hot.map((name, i) => [name, FIRST_FORM_HANDLER + i]))

  const addForm = (form: Form): number => {
    if (forms.length >= limit) throw new CodeCacheFull()
    const number = forms.push(form) - 1
    handlers.push(hotNumbers.get(formName(form)) ?? HANDLER.COLD)
    onNew(number)
    return number
  }

  const single = (insn: Insn, flagsNeeded: boolean, source: number, immediate: number): number => {
    const key = formKey(insn, flagsNeeded, source, immediate)
    let number = byKey.get(key)
    if (number === undefined) {
      number = addForm(makeForm(insn, flagsNeeded, source, immediate))
      byKey.set(key, number)
    }
    return number
  }

  return {
    forms,
    lookUp(insn, flagsNeeded, source, immediate, branch) {
      if (branch === null) return single(insn, flagsNeeded, source, immediate)
      const key = formKey(insn, flagsNeeded, source, immediate)
      let behind = fused.get(key)
      if (behind === undefined) fused.set(key, behind = new Map<number, number>())
      let number = behind.get(branch.cc)
      if (number === undefined) {
        number = addForm({ ...makeForm(insn, flagsNeeded, source, immediate), then: makeForm(branch, false, -1, -1) })
        behind.set(branch.cc, number)
      }
      return number
    },
    handler: (form) => handlers[form],
    makeRoom() {
      if (forms.length < limit - ROOM) return
      forms.length = 0
      handlers.length = 0
      byKey.clear()
      fused.clear()
    },
  }
}
