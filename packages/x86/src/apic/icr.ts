/** Inter-processor interrupts. Source: Intel SDM vol. 3A, §11.6.1 and tables 11-3 and 11-4. */
import type { ApicCore } from './types.ts'
import { BROADCAST, type Ipi } from './messages.ts'
import { DELIVERY, ESR, ICR } from './registers.ts'

const SHORTHANDS = ['none', 'self', 'all', 'others'] as const

const illegalVector = (mode: number, vector: number): boolean =>
  (mode === DELIVERY.FIXED || mode === DELIVERY.LOWEST) && vector < 16

/** The destination field: in xAPIC mode bits 63:56 of the ICR, FFh being the physical broadcast. */
function destination(core: ApicCore, logical: boolean): number {
  const { icrHigh } = core.state
  if (core.mode() === 'x2apic') return icrHigh
  const id = icrHigh >>> 24
  return id === 0xff && !logical ? BROADCAST : id
}

/** Sends what the ICR holds. */
export function executeIcr(core: ApicCore): void {
  const { icr } = core.state
  const vector = icr & 0xff
  const mode = icr >> 8 & 7
  const logical = (icr & ICR.LOGICAL) !== 0
  const shorthand = SHORTHANDS[icr >> 18 & 3]
  const trigger = (icr & ICR.LEVEL) !== 0

  if (illegalVector(mode, vector)) {
    core.raiseError(ESR.SEND_ILLEGAL)
    return
  }
  // SMIs are refused, mode 3 and ExtINT are reserved in the ICR.
  if (mode === DELIVERY.SMI || mode === 3 || mode === DELIVERY.EXTINT) return
  // "INIT level de-assert" only synchronises arbitration ids on processors that have them.
  if (mode === DELIVERY.INIT && trigger && (icr & ICR.ASSERT) === 0) return
  if (shorthand === 'self') {
    // Table 11-3: with the self shorthand only fixed interrupts are valid.
    if (mode === DELIVERY.FIXED) core.request(vector, false)
    return
  }
  // Table 11-3: the trigger mode of an IPI is edge, whatever the bit says.
  const ipi: Ipi = { mode, vector, level: false, destination: destination(core, logical), logical, shorthand }
  core.options.send(ipi)
}
