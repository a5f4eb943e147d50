/** Events that nothing in the guest has caused, and answers that make no sense. */
import { EventInject, EventType, Ghcb, SvmExit } from '@cofferdam/spec'
import { hex } from '../../errors.ts'
import { remembered } from '../types.ts'
import type { Attack, AttackHooks, AttackServices } from '../types.ts'

const VC = 29
const INT80 = 0x80
/** Exit codes that a guest would act upon with registers of its own. */
const CODES = ['VMMCALL', 'CPUID', 'MSR', 'IOIO'] as const

/** Injects one event when the moment has come and nothing else is to be injected. */
function injectOnce(
  { due, did }: AttackServices, event: () => { readonly event: bigint, readonly what: string },
): AttackHooks {
  let done = false
  return {
    snapshot: () => ({ done }),
    restore(saved) { done = remembered(saved, 'done', done) },
    entry({ vmcb }) {
      if (done || !due() || (vmcb.get('eventInj') & EventInject.mask.V) !== 0n) return
      done = true
      const chosen = event()
      vmcb.set('eventInj', chosen.event)
      did(chosen.what)
    },
  }
}

/** #VC with an error code of the host's choice, wherever the guest is (known as WeSee). */
export const injectVc: Attack = {
  about: 'injects #VC for an instruction that the guest has not executed',
  create: (services) => injectOnce(services, () => {
    const code = CODES[services.below(CODES.length)]
    const type = BigInt(EventType.EXCEPTION)
    return {
      event: EventInject.pack({ vector: BigInt(VC), type, EV: 1n, V: 1n, errorCode: BigInt(SvmExit[code]) }),
      what: `injected #VC with the exit code of ${code}`,
    }
  }),
}

/** Vector 80h as an external interrupt, the 32-bit system call of Linux (known as Heckler). */
export const injectInt80: Attack = {
  about: 'injects the interrupt that is the 32-bit system call of Linux',
  create: (services) => injectOnce(services, () => ({
    event: EventInject.pack({ vector: BigInt(INT80), type: BigInt(EventType.INTR), V: 1n }),
    what: 'injected vector 0x80 as an interrupt',
  })),
}

/** SW_EXITINFO2 with an exception that no exit has: a breakpoint. */
const BREAKPOINT = EventInject.pack({ vector: 3n, type: BigInt(EventType.EXCEPTION), V: 1n })

/** The answer to one request through the GHCB page demands an exception that hosts may not demand. */
export const badAnswer: Attack = {
  about: 'answers a request with an exception that hosts may not ask for',
  create({ memory, due, did }) {
    let done = false
    const words = new Uint8Array(16)
    const view = new DataView(words.buffer)
    return {
      snapshot: () => ({ done }),
      restore(saved) { done = remembered(saved, 'done', done) },
      entry({ vmcb, ghcb }) {
        if (done || !due()) return
        if (vmcb.get('exitCode') !== BigInt(SvmExit.VMGEXIT) || vmcb.get('ghcbGpa') !== BigInt(ghcb)) return
        view.setBigUint64(0, 1n, true)
        view.setBigUint64(8, BREAKPOINT, true)
        if (!memory.write(ghcb + Ghcb.offset.swExitInfo1, words)) return
        done = true
        did(`answered a request through the GHCB at ${hex(ghcb)} with a breakpoint exception`)
      },
    }
  },
}
