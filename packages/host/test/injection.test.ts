import { EventInject, EventType } from '@cofferdam/spec'
import { createLocalApic } from '@cofferdam/x86'
import { describe, expect, it } from 'vitest'
import { createInjection } from '../src/guest/injection.ts'
import { looseVmcb } from './guest.ts'

const event = (type: number, vector: number, errorCode?: bigint): bigint => EventInject.pack({
  V: 1n, type: BigInt(type), vector: BigInt(vector), EV: errorCode === undefined ? 0n : 1n, errorCode: errorCode ?? 0n,
})

/** EVENTINJ of the next entry. */
function injected(exitIntInfo: bigint): bigint {
  const vmcb = looseVmcb()
  vmcb.set('exitIntInfo', exitIntInfo)
  const apic = createLocalApic({
    id: 0, bootstrap: true, now: () => 0, send: () => undefined, eoiBroadcast: () => undefined,
    onChange: () => undefined,
  })
  createInjection(vmcb, apic, () => 0).inject()
  expect(vmcb.get('exitIntInfo')).toBe(0n)
  return vmcb.get('eventInj')
}

describe('an event whose delivery an exit interrupted (APM vol. 2, §15.7.2)', () => {
  it('is injected again when it came from outside, or is a fault', () => {
    for (const again of [
      event(EventType.INTR, 0x30), event(EventType.NMI, 2), event(EventType.EXCEPTION, 14, 6n),
      event(EventType.EXCEPTION, 6),
    ]) expect(injected(again)).toBe(again)
  })
  it('is not when its instruction raises it again: VMRUN refuses INT n, #BP and #OF of SEV-ES guests', () => {
    expect(injected(event(EventType.SOFTWARE, 0x80))).toBe(0n)
    expect(injected(event(EventType.EXCEPTION, 3))).toBe(0n)
    expect(injected(event(EventType.EXCEPTION, 4))).toBe(0n)
  })
  it('is never #VC, which only the processor raises (Linux arch/x86/kvm/svm/svm.c, svm_complete_interrupts)', () => {
    expect(injected(event(EventType.EXCEPTION, 29, 0x72n))).toBe(0n)
  })
})
