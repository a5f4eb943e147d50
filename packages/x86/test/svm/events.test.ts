/** Interrupts, virtual interrupts, injection and what was being delivered (APM vol. 2, §15.7.2, §15.20, §15.21). */
import { Intercept3, SvmExit, VirtualInterrupt } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { APIC_EVENT } from '../../src/index.ts'
import { createBox, GUEST, HOST, SELECTOR } from './box.ts'

const I3 = Intercept3.mask
const IF = 0x200
const event = (type: number, vector: number, error = -1): bigint =>
  0x8000_0000n | BigInt(type << 8) | BigInt(vector) | (error < 0 ? 0n : 0x800n | (BigInt(error) << 32n))

/** A box with handlers that note their vector's frame and leave by HLT. */
const withHandlers = (options: Parameters<typeof createBox>[0] = {}): ReturnType<typeof createBox> => {
  const box = createBox(options)
  box.intercept('intercept3', I3.HLT | I3.SHUTDOWN)
  for (const vector of [2, 3, 6, 8, 13, 14, 0x30, 0x41]) {
    box.gate(vector, GUEST.handler + vector * 16)
    box.program('5b 59 f4 ; pop rbx; pop rcx; hlt', GUEST.handler + vector * 16)
  }
  return box
}
const handlerOf = (box: ReturnType<typeof createBox>): number => (Number(box.state('rip')) - GUEST.handler) >> 4

describe('event injection', () => {
  it('enters the handler before the first instruction', () => {
    const box = withHandlers()
    box.program('f4')
    box.setControl('eventInj', event(0, 0x30))
    expect(box.exit()).toMatchObject({ code: SvmExit.HLT, retired: 3 })
    expect(handlerOf(box)).toBe(0x30)
    expect(box.bare.get('rbx')).toBe(BigInt(GUEST.code))
    expect(box.control('eventInj')).toBe(0n)
  })

  it('injects whatever IF and intercepts say', () => {
    const box = withHandlers()
    box.intercept('interceptException', 1 << 13)
    box.setControl('eventInj', event(3, 13, 0x1234))
    box.exit()
    expect(handlerOf(box)).toBe(13)
    expect([box.bare.get('rbx'), box.bare.get('rcx')]).toEqual([0x1234n, BigInt(GUEST.code)])
  })

  it('ignores the vector of an NMI, which blocks no other', () => {
    const box = withHandlers()
    box.setControl('eventInj', event(2, 0x55))
    box.exit()
    expect(handlerOf(box)).toBe(2)
    expect(box.bare.processor.cpu.system?.nmiBlocked).toBe(false)
  })

  it('returns from a software interrupt to nRIP, and looks at the gate’s DPL', () => {
    const box = withHandlers()
    box.setControl('eventInj', event(4, 0x41))
    box.setControl('nextRip', GUEST.code + 2)
    box.exit()
    expect(handlerOf(box)).toBe(0x41)
    expect(box.bare.get('rbx')).toBe(BigInt(GUEST.code + 2))
  })

  it('of #BP is a trap, as INT3', () => {
    const box = withHandlers()
    box.setControl('eventInj', event(3, 3))
    box.setControl('nextRip', GUEST.code + 1)
    box.exit()
    expect(handlerOf(box)).toBe(3)
    expect(box.bare.get('rbx')).toBe(BigInt(GUEST.code + 1))
  })

  it('that meets a nested page fault leaves with the event in EXITINTINFO', () => {
    const box = withHandlers()
    box.nested.map({ from: GUEST.idt, to: HOST.guest + GUEST.idt, length: 4096, user: false, largest: 12 })
    box.setControl('eventInj', event(3, 13, 0x18))
    expect(box.exit()).toMatchObject({ code: SvmExit.NPF, info2: BigInt(GUEST.idt + 13 * 16) })
    expect(box.control('exitIntInfo')).toBe(event(3, 13, 0x18))
    expect(box.state('rip')).toBe(BigInt(GUEST.code))
  })
})

describe('EXITINTINFO', () => {
  it('has the first exception when the second is intercepted, before they combine', () => {
    const box = withHandlers()
    box.gate(6, 0x9_0000_0000)
    box.poke(GUEST.idt + 6 * 16, 0)
    box.intercept('interceptException', (1 << 13) | (1 << 8))
    box.program('0f 0b')
    expect(box.exit()).toMatchObject({ code: SvmExit.EXCP0 + 13, info1: BigInt(6 * 8 + 3) })
    expect(box.control('exitIntInfo')).toBe(event(3, 6))
  })

  it('has the first of two that combine into an intercepted #DF', () => {
    const box = withHandlers()
    box.poke(GUEST.idt + 13 * 16, 0)
    box.poke(GUEST.idt + 11 * 16, 0)
    box.intercept('interceptException', 1 << 8)
    // #GP whose gate is no gate: #GP again.
    box.program('b9 ff ff ff 7f 0f 32')
    expect(box.exit()).toMatchObject({ code: SvmExit.EXCP0 + 8 })
    expect(box.control('exitIntInfo')).toBe(event(3, 13, 0))
  })

  it('has the vector of an INT n that met a nested page fault', () => {
    const box = withHandlers()
    box.nested.map({ from: GUEST.idt, to: HOST.guest + GUEST.idt, length: 4096, user: false, largest: 12 })
    box.program('cd 41')
    expect(box.exit().code).toBe(SvmExit.NPF)
    expect(box.control('exitIntInfo')).toBe(event(4, 0x41))
  })

  it('is clear for an exit outside of any delivery', () => {
    const box = withHandlers()
    box.program('cd 41')
    box.exit()
    expect(box.control('exitIntInfo')).toBe(0n)
  })
})

describe('a physical interrupt', () => {
  it('leaves before the next instruction, and stays pending', () => {
    const box = withHandlers()
    box.intercept('intercept3', I3.INTR)
    box.setControl('virtualInterrupt', VirtualInterrupt.mask.V_INTR_MASKING)
    box.program('90 90 f4')
    box.bare.interrupt(0x30)
    expect(box.exit()).toMatchObject({ code: SvmExit.INTR, retired: 0 })
    expect(box.bare.pending).toEqual([0x30])
    expect(box.state('rip')).toBe(BigInt(GUEST.code))
  })

  it('waits for the guest’s IF without V_INTR_MASKING', () => {
    const box = withHandlers()
    box.intercept('intercept3', I3.INTR)
    box.program('90 fb 90 90 f4 ; nop; sti; nop; nop')
    box.bare.interrupt(0x30)
    expect(box.exit()).toMatchObject({ code: SvmExit.INTR, retired: 3 })
    expect(box.state('rip')).toBe(BigInt(GUEST.code + 3))
  })

  it('goes through the guest’s IDT when it is not intercepted', () => {
    const box = withHandlers()
    box.program('fb 90 90 f4')
    box.bare.interrupt(0x30)
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(handlerOf(box)).toBe(0x30)
    expect(box.bare.pending).toEqual([])
  })

  it('wakes a guest from HLT to leave', () => {
    const box = createBox()
    box.intercept('intercept3', I3.INTR)
    box.setControl('virtualInterrupt', VirtualInterrupt.mask.V_INTR_MASKING)
    box.program('f4')
    expect(box.run()).toMatchObject({ exit: 'budget', halted: true })
    expect(box.bare.processor.wakes()).toBe(false)
    box.bare.interrupt(0x30)
    expect(box.bare.processor.wakes()).toBe(true)
    expect(box.exit().code).toBe(SvmExit.INTR)
    expect(box.state('rip')).toBe(BigInt(GUEST.code + 1))
  })

  it('is not taken by a host in TypeScript between two runs', () => {
    const box = withHandlers()
    box.program('f4')
    box.exit()
    box.bare.interrupt(0x30)
    expect(box.bare.processor.wakes()).toBe(false)
  })

  it('as an NMI or INIT leaves and stays pending, when intercepted', () => {
    for (const [bits, pending, code] of [
      [I3.NMI, APIC_EVENT.NMI, SvmExit.NMI], [I3.INIT, APIC_EVENT.INIT, SvmExit.INIT],
    ] as const) {
      const box = createBox({ pendingEvents: () => pending })
      box.intercept('intercept3', bits)
      box.program('again: eb [again:rel8]')
      box.bare.processor.setAttention()
      expect(box.exit()).toMatchObject({ code, retired: 0 })
    }
  })
})

describe('a virtual interrupt', () => {
  const pend = (vector: number, priority: number, more = 0n): bigint =>
    VirtualInterrupt.mask.V_IRQ | VirtualInterrupt.mask.V_INTR_MASKING | (BigInt(priority) << 16n)
    | (BigInt(vector) << 32n) | more

  it('is taken when IF is set, and V_IRQ is clear then', () => {
    const box = withHandlers()
    box.setControl('virtualInterrupt', pend(0x30, 3))
    box.program('90 fb 90 90 f4')
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(handlerOf(box)).toBe(0x30)
    expect(box.bare.get('rbx')).toBe(BigInt(GUEST.code + 3))
    expect(box.control('virtualInterrupt') & VirtualInterrupt.mask.V_IRQ).toBe(0n)
  })

  it('waits while V_TPR is not below its priority, which CR8 sets', () => {
    const box = withHandlers()
    box.setState('rflags', IF | 2)
    box.setControl('virtualInterrupt', pend(0x30, 3) | 3n)
    box.program(`
      90 44 0f 20 c0          ; nop; mov rax,cr8
      31 c9                   ; xor ecx,ecx
      44 0f 22 c1             ; mov cr8,rcx
      90 f4
    `)
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(handlerOf(box)).toBe(0x30)
    expect(box.bare.get('rbx')).toBe(BigInt(GUEST.code + 11))
    expect(box.state('rax')).toBe(3n)
    expect(box.control('virtualInterrupt') & 0xffn).toBe(0n)
  })

  it('ignores V_TPR when V_IGN_TPR says so', () => {
    const box = withHandlers()
    box.setState('rflags', IF | 2)
    box.setControl('virtualInterrupt', pend(0x30, 1, VirtualInterrupt.mask.V_IGN_TPR) | 15n)
    box.program('90 f4')
    box.exit()
    expect(handlerOf(box)).toBe(0x30)
    expect(box.bare.get('rbx')).toBe(BigInt(GUEST.code))
  })

  it('leaves by VINTR just before it would be taken, and stays pending', () => {
    const box = withHandlers()
    box.intercept('intercept3', I3.VINTR)
    box.setControl('virtualInterrupt', pend(0x30, 3))
    box.program('90 fb 90 90 f4')
    expect(box.exit()).toMatchObject({ code: SvmExit.VINTR, retired: 3 })
    expect(box.control('virtualInterrupt') & VirtualInterrupt.mask.V_IRQ).toBe(VirtualInterrupt.mask.V_IRQ)
  })

  it('waits for the end of an interrupt shadow', () => {
    const box = withHandlers()
    box.setState('rflags', IF | 2)
    box.setControl('interruptState', 1)
    box.setControl('virtualInterrupt', pend(0x30, 3))
    box.program('90 90 f4')
    box.exit()
    expect(box.bare.get('rbx')).toBe(BigInt(GUEST.code + 1))
  })

  it('saves an interrupt shadow that an exit strikes', () => {
    const box = withHandlers()
    box.program('8e d0 f4 ; mov ss,eax; hlt')
    box.setState('rax', SELECTOR.data)
    box.exit()
    expect(box.control('interruptState') & 1n).toBe(1n)
  })

  it('does not touch the APIC’s TPR with V_INTR_MASKING, and does without', () => {
    for (const masking of [true, false]) {
      const box = withHandlers()
      box.setControl('virtualInterrupt', masking ? VirtualInterrupt.mask.V_INTR_MASKING : 0n)
      box.program('b8 05 00 00 00 44 0f 22 c0 f4')
      box.exit()
      expect(box.control('virtualInterrupt') & 0xffn).toBe(5n)
      expect(box.bare.processor.cpu.system?.apic.cr8()).toBe(masking ? 0 : 5)
    }
  })
})
