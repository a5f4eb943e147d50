/** Tells a time account where #VC handlers begin and end, from what a processor tells of itself. */
import { guestFault, OP, state, VECTOR } from '@cofferdam/x86'
import type { Processor } from '@cofferdam/x86'
import type { Listeners } from '../processors.ts'
import type { TimeAccount } from './time-account.ts'

const RSP = (state.GPR >>> 3) + 4
/** Slots of the frame that IRET pops in 64-bit mode: RIP, CS, RFLAGS, RSP, SS. */
const FRAME = { cs: 8n, rsp: 24n } as const

/** Listens to one processor. */
export function handlerListener(processor: () => Processor, account: TimeAccount): Listeners {
  return {
    onException() {
      if (guestFault.vector === VECTOR.VC) account.handlerBegins(processor().cpu.views.u64[RSP])
    },
    onHost({ op, size }) {
      if (op !== OP.iret || size !== 8 || !account.inHandler()) return
      const { cpu } = processor()
      const frame = cpu.views.u64[RSP]
      try {
        account.handlerReturns(cpu.load64(frame + FRAME.rsp), (cpu.load64(frame + FRAME.cs) & 3n) !== 0n)
      } catch (fault) {
        // IRET is about to fault in the same way.
        if (fault !== guestFault) throw fault
      }
    },
  }
}
