/**
 * Compiled modules by what decides their bytes: machines of one size share them, so that the second one (a fork of a
 * snapshot, a machine after a reset) starts without generating and compiling its interpreter. Nothing here has state.
 */
import type { Form } from './form.ts'
import { formName } from './form.ts'
import { parseForm } from './form-parse.ts'
import { writeColdForm, writeInterpreter, writeUncompiled } from './interpreter.ts'
import type { InterpreterLayout } from './interpreter.ts'

/** Where the modules of one kind of engine come from. */
export interface EngineModules {
  /** @param hotForms names of the forms with handlers, those that the modules are for */
  interpreter(hotForms: readonly string[]): WebAssembly.Module
  cold(form: Form): WebAssembly.Module
  /** What stands in for cold functions that nobody has wanted. */
  uncompiled(): WebAssembly.Module
}

/** Kinds of engines that are kept: sizes of memory, numbers of processors, lists of hot forms. */
const KEPT = 4
const kinds = new Map<string, EngineModules>()

const createModules = (layout: InterpreterLayout): EngineModules => {
  let interpreter: WebAssembly.Module | undefined
  let uncompiled: WebAssembly.Module | undefined
  const cold = new Map<string, WebAssembly.Module>()
  return {
    interpreter: (hotForms) =>
      (interpreter ??= new WebAssembly.Module(writeInterpreter(hotForms.map(parseForm), layout))),
    uncompiled: () => (uncompiled ??= new WebAssembly.Module(writeUncompiled(layout))),
    cold(form) {
      const name = formName(form)
      const known = cold.get(name) ?? new WebAssembly.Module(writeColdForm(form, layout))
      cold.set(name, known)
      return known
    },
  }
}

/** The modules for engines with this layout and these hot forms. */
export function modulesFor(layout: InterpreterLayout, hotForms: readonly string[]): EngineModules {
  const key = JSON.stringify([layout, hotForms])
  const known = kinds.get(key) ?? createModules(layout)
  // The one that was used last goes last.
  kinds.delete(key)
  kinds.set(key, known)
  if (kinds.size > KEPT) kinds.delete(kinds.keys().next().value as string)
  return known
}
