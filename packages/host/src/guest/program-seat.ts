/**
 * A privilege level of a guest that a program in TypeScript runs (an SVSM at VMPL0) instead of machine code: it enters
 * by VMRUN, its accesses go through its own page tables, the nested ones and the RMP, and what makes it leave is served
 * as every exit.
 */
import type { GuestProgram } from '@cofferdam/sev'
import type { Svsm, SvsmFault, SvsmProcessor } from '@cofferdam/svsm'
import type { Svm, SvmPerformed, SvmVmexit } from '@cofferdam/x86'
import type { Vmcb } from './vmcb.ts'

export interface ProgramSeatOptions {
  /** The processor's number, which is its APIC id. */
  readonly index: number
  readonly svm: Svm
  readonly vmcb: Vmcb
  readonly program: Svsm
  readonly instructions: GuestProgram
  /** An instruction is about to be carried out. */
  readonly retire: () => void
  /** Serves an exit. */
  readonly serve: (exit: SvmVmexit) => void
  /** The guest has ended: nothing of it runs on. */
  readonly ended: () => boolean
}

export interface ProgramSeat {
  /** Runs the program until it gives the processor away, and serves that exit. */
  run(): void
}

/** Thrown through a program whose guest has ended, and caught by its seat. */
const ENDED: unique symbol = Symbol('the guest has ended')

export function createProgramSeat(options: ProgramSeatOptions): ProgramSeat {
  const { svm, vmcb, program, instructions, serve, ended } = options

  const perform = <T>(act: () => T): SvmPerformed<T> => {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- see ENDED: a jump, caught in `run`
    if (ended()) throw ENDED
    options.retire()
    return svm.perform(vmcb.address, act)
  }

  /** Has an instruction carried out, as often as exits stand in its way. */
  const complete = <T>(act: () => T): T | SvsmFault => {
    for (;;) {
      const outcome = perform(act)
      if (outcome.kind === 'done') return outcome.value
      if (outcome.kind === 'fault') return { fault: outcome.vector }
      serve(outcome.exit)
    }
  }

  /** An instruction that leaves, once nothing stands in the way of the entry. */
  const leave = (act: () => never): void => {
    const outcome = perform(act)
    if (outcome.kind === 'exit') serve(outcome.exit)
  }

  const access = (act: () => void): true | SvsmFault => complete<true>(() => {
    act()
    return true
  })

  const processor: SvsmProcessor = {
    apicId: options.index,
    load: (address, out) => access(() => { instructions.load(address, out) }),
    store: (address, bytes) => access(() => { instructions.store(address, bytes) }),
    exchange: (address, value) => complete(() => instructions.exchange(address, value)),
    clear: (address) => access(() => { instructions.clear(address) }),
    pvalidate: (address, large, validate) => complete(() => instructions.pvalidate(address, large, validate)),
    rmpadjust: (address, large, attributes) => complete(() => instructions.rmpadjust(address, large, attributes)),
    ghcbMsr: () => vmcb.get('ghcbGpa'),
    vmgexit(msr) {
      leave(() => instructions.vmgexit(msr))
      return vmcb.get('ghcbGpa')
    },
  }

  return {
    run() {
      try {
        const last = program.run(processor)
        leave(() => (last === 'halt' ? instructions.halt() : instructions.vmgexit(last)))
      } catch (jump) {
        if (jump !== ENDED) throw jump
      }
    },
  }
}
