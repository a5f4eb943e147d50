/** What a guest's processor is interrupted by: its local APIC's events through EVENTINJ, when the guest takes them. */
import { EventInject, EventType, Intercept3, InterruptState, VirtualInterrupt } from '@cofferdam/spec'
import { APIC_EVENT, type LocalApic } from '@cofferdam/x86'
import type { Vmcb } from './vmcb.ts'

export interface Injection {
  /** Puts what waits into EVENTINJ, or asks to be told when the guest takes it. The guest is not resident. */
  inject(): void
  /** A resident guest has to come out: something waits that it was not told of. */
  wanted(): boolean
  /** Something waits that the guest takes as soon as it runs. */
  wakes(): boolean
  /** The guest takes interrupts now, or is not to be asked any more. */
  closeWindow(): void
  /** NMIs are held until the guest says that it has handled one. */
  nmiDone(): void
  /** Another level runs, or starts anew: nothing is on its way. */
  clear(): void
  snapshot(): InjectionState
  restore(saved: InjectionState): void
}

export interface InjectionState {
  nmiMasked: boolean
  /** The guest was asked to come back as soon as it takes interrupts; the VMCB says so. */
  window: boolean
}

const EVENT_VALID = EventInject.mask.V
const NMI = EVENT_VALID | 2n | BigInt(EventType.NMI) << BigInt(EventInject.shift.type)
const INTERRUPTS = APIC_EVENT.FIXED | APIC_EVENT.EXTINT
const [BP, OF, VC] = [3, 4, 29]

/**
 * Whether an event whose delivery an exit interrupted is to be injected. What an instruction raised comes again when
 * the instruction does: VMRUN of an SEV-ES guest refuses software interrupts, #BP and #OF (APM vol. 2, §15.35.4), and
 * no #VC is injected (Linux arch/x86/kvm/svm/svm.c, svm_complete_interrupts).
 */
function comesAgain(event: bigint): boolean {
  if ((event & EVENT_VALID) === 0n) return false
  const type = Number(EventInject.get(event, 'type'))
  const vector = Number(EventInject.get(event, 'vector'))
  if (type === EventType.EXCEPTION) return vector !== BP && vector !== OF && vector !== VC
  return type !== EventType.SOFTWARE
}

/** @param picAcknowledge the next vector of the PIC */
export function createInjection(vmcb: Vmcb, apic: LocalApic, picAcknowledge: () => number): Injection {
  let nmiMasked = false
  /** The guest was asked to come back as soon as it takes interrupts. */
  let window = false

  const hasNmi = (events: number): boolean => (events & APIC_EVENT.NMI) !== 0 && !nmiMasked
  const isOpen = (): boolean => (vmcb.get('interruptState') & InterruptState.mask.GUEST_INTERRUPT_MASK) !== 0n
  const hasShadow = (): boolean => (vmcb.get('interruptState') & InterruptState.mask.INTERRUPT_SHADOW) !== 0n

  const setWindow = (on: boolean): void => {
    if (window === on) return
    window = on
    const word = vmcb.get('virtualInterrupt')
    const asked = VirtualInterrupt.mask.V_IRQ | VirtualInterrupt.mask.V_IGN_TPR
    vmcb.set('virtualInterrupt', on ? word | asked : word & ~asked)
    const vintr = Intercept3.mask.VINTR
    const intercepts = vmcb.get('intercept3')
    vmcb.set('intercept3', (on ? intercepts | vintr : intercepts & ~vintr) >>> 0)
  }

  /** The vector of a pending interrupt, taken from the PIC or the APIC; −1 when it is gone. */
  const acknowledge = (events: number): number => {
    if ((events & APIC_EVENT.EXTINT) !== 0) {
      apic.takeExtInt()
      return picAcknowledge()
    }
    return (events & APIC_EVENT.FIXED) === 0 ? -1 : apic.acknowledge()
  }

  return {
    inject() {
      // An event whose delivery an exit interrupted comes first (APM vol. 2, §15.7.2).
      const interrupted = vmcb.get('exitIntInfo')
      vmcb.set('exitIntInfo', 0n)
      if (comesAgain(interrupted)) {
        vmcb.set('eventInj', interrupted)
        return
      }
      const events = apic.pendingEvents()
      if (hasNmi(events) && !hasShadow()) {
        apic.takeNmi()
        nmiMasked = true
        vmcb.set('eventInj', NMI)
        return
      }
      if ((events & INTERRUPTS) === 0) {
        setWindow(false)
        return
      }
      if (!isOpen() || hasShadow()) {
        setWindow(true)
        return
      }
      const vector = acknowledge(events)
      if (vector >= 0) vmcb.set('eventInj', EVENT_VALID | BigInt(vector))
      // What comes next waits for the next open window.
      setWindow((apic.pendingEvents() & INTERRUPTS) !== 0)
    },
    wanted() {
      const events = apic.pendingEvents()
      return hasNmi(events) || ((events & INTERRUPTS) !== 0 && !window)
    },
    wakes() {
      const events = apic.pendingEvents()
      return hasNmi(events) || ((events & INTERRUPTS) !== 0 && isOpen())
    },
    closeWindow() { setWindow(false) },
    nmiDone() { nmiMasked = false },
    clear() {
      setWindow(false)
      vmcb.set('eventInj', 0n)
      vmcb.set('exitIntInfo', 0n)
    },
    snapshot: () => ({ nmiMasked, window }),
    restore(saved) { ({ nmiMasked, window } = saved) },
  }
}
