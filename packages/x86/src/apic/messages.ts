/** Interrupt messages between APICs, and who takes them. Source: Intel SDM vol. 3A, §11.6.2 and §11.12.10. */
import { DELIVERY } from './registers.ts'

/** An interrupt on its way to one or more local APICs: from the I/O APIC, an MSI, or the ICR. */
export interface ApicMessage {
  /** One of {@link DELIVERY}. */
  readonly mode: number
  readonly vector: number
  /** Level triggered: the EOI is broadcast to the I/O APICs. */
  readonly level: boolean
  /** APIC id, or message destination address when `logical`. 0xffff_ffff is a broadcast, as is 0xff in xAPIC mode. */
  readonly destination: number
  readonly logical: boolean
}

/** A message from an ICR. */
export interface Ipi extends ApicMessage {
  /** When not `none`, `destination` does not count. `self` is handled by the sender's own APIC and never leaves it. */
  readonly shorthand: 'none' | 'all' | 'others'
}

/** Every processor, by id or logically. */
export const BROADCAST = 0xffff_ffff

/** What addressing depends on in the receiver. */
export interface Addressing {
  readonly id: number
  readonly x2apic: boolean
  readonly ldr: number
  readonly dfr: number
}

/** Whether a receiver is addressed (§11.6.2.1 physical, §11.6.2.2 logical flat and cluster, §11.12.10.2 x2APIC). */
export function isAddressed(to: Addressing, destination: number, logical: boolean): boolean {
  if (destination === BROADCAST) return true
  if (!logical) return destination === to.id || (!to.x2apic && destination === 0xff)
  if (to.x2apic) return destination >>> 16 === to.ldr >>> 16 && (destination & to.ldr & 0xffff) !== 0
  if (destination > 0xff) return false
  const ldr = to.ldr >>> 24
  if (to.dfr >>> 28 === 0xf) return (destination & ldr) !== 0
  const cluster = destination >> 4
  return (cluster === 0xf || cluster === ldr >> 4) && (destination & ldr & 0xf) !== 0
}

/** What routing needs of a local APIC. */
export interface ApicReceiver {
  matches(destination: number, logical: boolean): boolean
  /** Takes part in lowest-priority arbitration: the APIC is enabled. */
  accepts(): boolean
  /** Processor priority, for lowest-priority arbitration. */
  priority(): number
  deliver(message: ApicMessage): boolean
}

/**
 * Hands a message to those it addresses; `from` is the index of the sender (−1: not a processor).
 * Lowest priority goes to one receiver: the least busy, and of equals the one of the lowest index (models differ; a
 * rule that never changes keeps runs repeatable).
 * @returns whether anyone took it.
 */
export function routeMessage(apics: readonly ApicReceiver[], message: ApicMessage | Ipi, from = -1): boolean {
  const shorthand = 'shorthand' in message ? message.shorthand : 'none'
  const targets = apics.filter((apic, i) => shorthand === 'all' || (shorthand === 'others' ? i !== from
    : apic.matches(message.destination, message.logical)))
  if (message.mode !== DELIVERY.LOWEST) return targets.map((apic) => apic.deliver(message)).includes(true)
  let best: ApicReceiver | undefined
  for (const apic of targets) {
    if (apic.accepts() && (best === undefined || apic.priority() < best.priority())) best = apic
  }
  return best?.deliver(message) ?? false
}
