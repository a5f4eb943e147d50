import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  APIC, APIC_EVENT, BROADCAST, createLocalApic, DELIVERY, GP_FAULT, type Ipi, isAddressed, type LocalApic,
  MSR_APIC_BASE, MSR_TSC_DEADLINE, routeMessage,
} from '../../src/apic/index.ts'
import { APIC_GP, type ApicPort } from '../../src/system/index.ts'

let now: number
let offset: bigint
let sent: Ipi[]
let ended: number[]
let changes: number
let apic: LocalApic

const create = (id: number, bootstrap = false): LocalApic => createLocalApic({
  id, bootstrap, now: () => now, tscOffset: () => offset, send: (ipi) => sent.push(ipi),
  eoiBroadcast: (v) => ended.push(v), onChange: () => { changes += 1 },
})
const fixed = (vector: number, level = false) =>
  ({ mode: DELIVERY.FIXED, vector, level, destination: 0, logical: false })
const enable = (a = apic): void => { a.write(APIC.SVR, 0x1ff) }
const X2 = 0xc00n | 0xfee0_0000n
const enterX2 = (a = apic): void => { a.writeMsr(MSR_APIC_BASE, X2) }

beforeEach(() => {
  now = 0
  offset = 0n
  sent = []
  ended = []
  changes = 0
  apic = create(0, true)
})

describe('local APIC priorities', () => {
  beforeEach(() => { enable() })

  it('delivers the highest vector and moves it from IRR to ISR', () => {
    apic.deliver(fixed(0x31))
    apic.deliver(fixed(0x81))
    expect(apic.pendingVector()).toBe(0x81)
    expect(apic.acknowledge()).toBe(0x81)
    expect(apic.read(APIC.ISR + 0x40)).toBe(2)
    expect(apic.read(APIC.IRR + 0x10)).toBe(0x0002_0000)
  })

  it('holds back vectors whose class is not above the one in service, until its EOI', () => {
    apic.deliver(fixed(0x81)); apic.acknowledge()
    apic.deliver(fixed(0x8f))
    expect(apic.pendingVector()).toBe(-1)
    apic.deliver(fixed(0x90))
    expect(apic.pendingVector()).toBe(0x90)
    apic.acknowledge()
    apic.write(APIC.EOI, 0)
    apic.write(APIC.EOI, 0)
    expect(apic.pendingVector()).toBe(0x8f)
  })

  it('honours the task priority: CR8 is bits 7:4 of TPR', () => {
    apic.deliver(fixed(0x55))
    apic.setCr8(5)
    expect(apic.read(APIC.TPR)).toBe(0x50)
    expect(apic.pendingVector()).toBe(-1)
    apic.write(APIC.TPR, 0x4f)
    expect(apic.pendingVector()).toBe(0x55)
    expect(apic.cr8()).toBe(4)
  })

  it('PPR is the higher class of TPR and ISR', () => {
    apic.write(APIC.TPR, 0x23)
    expect(apic.read(APIC.PPR)).toBe(0x23)
    apic.deliver(fixed(0x47)); apic.acknowledge()
    expect(apic.read(APIC.PPR)).toBe(0x40)
    apic.write(APIC.TPR, 0x45)
    expect(apic.read(APIC.PPR)).toBe(0x45)
  })

  it('answers the spurious vector when nothing is deliverable any more', () => {
    apic.deliver(fixed(0x55))
    apic.setCr8(15)
    expect(apic.acknowledge()).toBe(0xff)
    expect(apic.read(APIC.ISR + 0x20)).toBe(0)
  })

  it('broadcasts the EOI of level-triggered interrupts only', () => {
    apic.deliver(fixed(0x40, true)); apic.acknowledge(); apic.write(APIC.EOI, 0)
    apic.deliver(fixed(0x41)); apic.acknowledge(); apic.write(APIC.EOI, 0)
    expect(ended).toEqual([0x40])
  })

  it('refuses vectors below 16 with an error, shown after a write of ESR', () => {
    apic.write(APIC.LVT_ERROR, 0xfe)
    apic.deliver(fixed(3))
    expect(apic.pendingVector()).toBe(0xfe)
    expect(apic.read(APIC.ESR)).toBe(0)
    apic.write(APIC.ESR, 0)
    expect(apic.read(APIC.ESR)).toBe(0x40)
    apic.write(APIC.ESR, 0)
    expect(apic.read(APIC.ESR)).toBe(0)
  })

  it('behaves like a naive priority queue', () => {
    const step = fc.oneof(fc.integer({ min: 16, max: 255 }), fc.constant(-1), fc.constant(-2))
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const a = create(0)
      enable(a)
      const irr = new Set<number>()
      const isr: number[] = []
      const model = (): number => {
        const top = Math.max(-1, ...irr)
        return top >> 4 > Math.max(0, ...isr) >> 4 ? top : -1
      }
      for (const s of steps) {
        if (s >= 0) { a.deliver(fixed(s)); irr.add(s) } else if (s === -1 && model() >= 0) {
          const v = model()
          expect(a.acknowledge()).toBe(v)
          irr.delete(v)
          isr.push(v)
        } else if (s === -2) {
          a.write(APIC.EOI, 0)
          isr.splice(isr.indexOf(Math.max(...isr)), 1)
        }
        expect(a.pendingVector()).toBe(model())
      }
    }))
  })
})

describe('local APIC states', () => {
  it('starts enabled in xAPIC mode, software-disabled and masked', () => {
    expect(apic.readMsr(MSR_APIC_BASE)).toBe(0xfee0_0900n)
    expect(create(1).readMsr(MSR_APIC_BASE)).toBe(0xfee0_0800n)
    expect(apic.read(APIC.SVR)).toBe(0xff)
    expect(apic.read(APIC.VERSION)).toBe(0x0005_0014)
    for (let r = 0x320; r <= 0x370; r += 0x10) expect(apic.read(r)).toBe(0x1_0000)
    expect(apic.read(APIC.DFR)).toBe(0xffff_ffff)
  })

  it('takes no fixed interrupts while software-disabled, and keeps its LVT masked', () => {
    expect(apic.deliver(fixed(0x50))).toBe(false)
    apic.write(APIC.LVT_TIMER, 0xec)
    expect(apic.read(APIC.LVT_TIMER)).toBe(0x1_00ec)
    expect(apic.deliver({ ...fixed(0), mode: DELIVERY.NMI })).toBe(true)
  })

  it('allows the transitions of the manual and refuses the others with #GP', () => {
    const bits = { off: 0x000n, x: 0x800n, x2: 0xc00n, bad: 0x400n }
    const legal = ['off>off', 'off>x', 'x>off', 'x>x', 'x>x2', 'x2>off', 'x2>x2']
    for (const from of ['off', 'x', 'x2'] as const) {
      for (const to of ['off', 'x', 'x2', 'bad'] as const) {
        const a = create(0)
        if (from !== 'x') a.writeMsr(MSR_APIC_BASE, 0xfee0_0000n | bits[from])
        const result = a.writeMsr(MSR_APIC_BASE, 0xfee0_0000n | bits[to])
        expect([from, to, result]).toEqual([from, to, legal.includes(`${from}>${to}`) ? undefined : GP_FAULT])
      }
    }
  })

  it('refuses reserved bits of IA32_APIC_BASE', () => {
    for (const bad of [0x801n | 0xfee0_0000n, 0xa00n | 0xfee0_0000n, 1n << 46n | 0x800n]) {
      expect(apic.writeMsr(MSR_APIC_BASE, bad)).toBe(GP_FAULT)
    }
  })

  it('hides its page outside xAPIC mode and its MSRs outside x2APIC mode', () => {
    expect(apic.readMsr(0x802)).toBe(GP_FAULT)
    enterX2()
    expect(apic.read(APIC.VERSION)).toBe(0)
    expect(apic.readMsr(0x803)).toBe(0x0005_0014n)
  })

  it('loses its state when disabled', () => {
    enable()
    apic.deliver(fixed(0x50))
    apic.writeMsr(MSR_APIC_BASE, 0xfee0_0000n)
    expect(apic.pendingVector()).toBe(-1)
    apic.writeMsr(MSR_APIC_BASE, 0xfee0_0800n)
    expect(apic.read(APIC.SVR)).toBe(0xff)
  })

  it('reports accesses to reserved registers', () => {
    apic.read(0x40)
    apic.write(APIC.ESR, 0)
    expect(apic.read(APIC.ESR)).toBe(0x80)
  })
})

describe('x2APIC registers', () => {
  beforeEach(() => {
    apic = create(0x123)
    enterX2()
  })

  it('give the 32-bit id and a logical id of cluster and bit', () => {
    expect(apic.readMsr(0x802)).toBe(0x123n)
    expect(apic.readMsr(0x80d)).toBe(0x0012_0008n)
  })

  it('refuse reads of write-only and absent registers, and writes of read-only ones', () => {
    for (const msr of [0x80b, 0x80e, 0x831, 0x83f, 0x800, 0x8ff]) expect(apic.readMsr(msr)).toBe(GP_FAULT)
    for (const msr of [0x802, 0x803, 0x80a, 0x80d, 0x80e, 0x810, 0x820, 0x839]) {
      expect(apic.writeMsr(msr, 0n)).toBe(GP_FAULT)
    }
  })

  it('refuse reserved bits', () => {
    for (const [msr, value] of [[0x80b, 1n], [0x828, 1n], [0x808, 0x100n], [0x80f, 0x1_0000n], [0x832, 1n << 20n],
      [0x83e, 4n], [0x83f, 0x100n], [0x830, 1n << 20n], [0x808, 1n << 32n]] as const) {
      expect([msr, apic.writeMsr(msr, value)]).toEqual([msr, GP_FAULT])
    }
  })

  it('send with a 32-bit destination', () => {
    apic.writeMsr(0x830, 0x0000_0456_0000_40f1n)
    expect(sent).toEqual(
      [{ mode: 0, vector: 0xf1, level: false, destination: 0x456, logical: false, shorthand: 'none' }])
    expect(apic.readMsr(0x830)).toBe(0x0000_0456_0000_40f1n)
  })

  it('SELF IPI requests here', () => {
    apic.writeMsr(0x80f, 0x1ffn)
    apic.writeMsr(0x83f, 0x77n)
    expect(apic.pendingVector()).toBe(0x77)
    expect(sent).toEqual([])
  })
})

describe('local APIC timer', () => {
  beforeEach(() => { enable() })

  it('one-shot: fires once after count × divider ticks', () => {
    apic.write(APIC.DIVIDE, 0x3) // 16
    apic.write(APIC.LVT_TIMER, 0xec)
    apic.write(APIC.INITIAL_COUNT, 1000)
    expect(apic.nextDeadline()).toBe(16_000)
    now = 8000
    expect(apic.read(APIC.CURRENT_COUNT)).toBe(500)
    now = 16_000
    apic.advance(now)
    expect(apic.pendingVector()).toBe(0xec)
    expect(apic.read(APIC.CURRENT_COUNT)).toBe(0)
    expect(apic.nextDeadline()).toBe(Infinity)
  })

  it('knows the eight dividers', () => {
    const dividers = [0, 1, 2, 3, 8, 9, 10, 11].map((code) => {
      apic.write(APIC.DIVIDE, code)
      apic.write(APIC.INITIAL_COUNT, 1)
      return apic.nextDeadline()
    })
    expect(dividers).toEqual([2, 4, 8, 16, 32, 64, 128, 1])
  })

  it('periodic: goes on, and misses no phase when it is looked at late', () => {
    apic.write(APIC.DIVIDE, 0xb)
    apic.write(APIC.LVT_TIMER, 0x2_00ec)
    apic.write(APIC.INITIAL_COUNT, 100)
    apic.advance(100)
    expect(apic.nextDeadline()).toBe(200)
    apic.advance(1050)
    expect(apic.nextDeadline()).toBe(1100)
  })

  it('TSC deadline: fires when the guest TSC reaches it, then reads 0', () => {
    offset = 1000n
    apic.write(APIC.LVT_TIMER, 0x4_00ec)
    apic.writeMsr(MSR_TSC_DEADLINE, 6000n)
    expect(apic.nextDeadline()).toBe(5000)
    expect(apic.readMsr(MSR_TSC_DEADLINE)).toBe(6000n)
    apic.advance(4999)
    expect(apic.pendingVector()).toBe(-1)
    apic.advance(5000)
    expect(apic.pendingVector()).toBe(0xec)
    expect(apic.readMsr(MSR_TSC_DEADLINE)).toBe(0n)
  })

  it('TSC deadline: one in the past is due at once, 0 disarms, writes in other modes are ignored', () => {
    apic.writeMsr(MSR_TSC_DEADLINE, 5n)
    expect(apic.readMsr(MSR_TSC_DEADLINE)).toBe(0n)
    apic.write(APIC.LVT_TIMER, 0x4_00ec)
    now = 100
    apic.writeMsr(MSR_TSC_DEADLINE, 5n)
    expect(apic.nextDeadline()).toBe(100)
    apic.writeMsr(MSR_TSC_DEADLINE, 0n)
    expect(apic.nextDeadline()).toBe(Infinity)
    apic.writeMsr(MSR_TSC_DEADLINE, (1n << 64n) - 1n)
    expect(apic.nextDeadline()).toBe(Infinity)
  })

  it('TSC deadline follows a write of the TSC', () => {
    apic.write(APIC.LVT_TIMER, 0x4_00ec)
    apic.writeMsr(MSR_TSC_DEADLINE, 6000n)
    offset = 5000n
    apic.tscChanged()
    expect(apic.nextDeadline()).toBe(1000)
  })

  it('a change into or out of TSC-deadline mode disarms', () => {
    apic.write(APIC.INITIAL_COUNT, 100)
    apic.write(APIC.LVT_TIMER, 0x4_00ec)
    expect(apic.nextDeadline()).toBe(Infinity)
    expect(apic.read(APIC.INITIAL_COUNT)).toBe(0)
  })
})

describe('ICR', () => {
  beforeEach(() => { enable() })
  const icr = (low: number, destination = 0): void => {
    apic.write(APIC.ICR_HIGH, destination << 24)
    apic.write(APIC.ICR, low)
  }

  it('sends INIT and SIPI as Linux starts a processor', () => {
    icr(0xc500, 1) // INIT, level, assert
    icr(0x8500, 1) // INIT de-assert: nothing
    icr(0x0699, 1)
    expect(sent.map((i) => [i.mode, i.vector, i.destination])).toEqual([[5, 0, 1], [6, 0x99, 1]])
  })

  it('handles the shorthands', () => {
    icr(0x4_0040)
    icr(0x8_0041)
    icr(0xc_0442)
    expect(apic.pendingVector()).toBe(0x40)
    expect(sent.map((i) => i.shorthand)).toEqual(['all', 'others'])
  })

  it('refuses illegal vectors with a send error and SMIs silently', () => {
    icr(0x0005)
    icr(0x0200)
    expect(sent).toEqual([])
    apic.write(APIC.ESR, 0)
    expect(apic.read(APIC.ESR)).toBe(0x20)
  })

  it('never shows a send as pending', () => {
    icr(0x00f1, 1)
    expect(apic.read(APIC.ICR) & 0x1000).toBe(0)
  })
})

describe('destinations', () => {
  const to = (id: number, ldr: number, dfr = 0xffff_ffff, x2apic = false) => ({ id, ldr, dfr, x2apic })

  it('physical: the id, or a broadcast', () => {
    expect(isAddressed(to(3, 0), 3, false)).toBe(true)
    expect(isAddressed(to(3, 0), 4, false)).toBe(false)
    expect(isAddressed(to(3, 0), 0xff, false)).toBe(true)
    expect(isAddressed(to(3, 0, 0, true), 0xff, false)).toBe(false)
    expect(isAddressed(to(3, 0, 0, true), BROADCAST, false)).toBe(true)
  })

  it('logical flat: any common bit', () => {
    expect(isAddressed(to(0, 0x0400_0000), 0x06, true)).toBe(true)
    expect(isAddressed(to(0, 0x0400_0000), 0x0b, true)).toBe(false)
  })

  it('logical cluster: the cluster, or all of them, and a common bit', () => {
    const dfr = 0x0fff_ffff
    expect(isAddressed(to(0, 0x2100_0000, dfr), 0x23, true)).toBe(true)
    expect(isAddressed(to(0, 0x2100_0000, dfr), 0x13, true)).toBe(false)
    expect(isAddressed(to(0, 0x2100_0000, dfr), 0xf1, true)).toBe(true)
    expect(isAddressed(to(0, 0x2100_0000, dfr), 0x2e, true)).toBe(false)
  })

  it('x2APIC logical: the cluster in bits 31:16', () => {
    expect(isAddressed(to(0x12, 0x0001_0004, 0, true), 0x0001_0006, true)).toBe(true)
    expect(isAddressed(to(0x12, 0x0001_0004, 0, true), 0x0000_0006, true)).toBe(false)
  })
})

describe('routing', () => {
  it('reaches all, others, or the addressed', () => {
    const all = [0, 1, 2].map((id) => create(id))
    all.forEach((a) => { enable(a) })
    const ipi: Ipi = { ...fixed(0x60), shorthand: 'others' }
    expect(routeMessage(all, ipi, 1)).toBe(true)
    expect(all.map((a) => a.pendingVector())).toEqual([0x60, -1, 0x60])
    routeMessage(all, { ...fixed(0x70), destination: 1 })
    expect(all.map((a) => a.pendingVector())).toEqual([0x60, 0x70, 0x60])
    expect(routeMessage(all, { ...fixed(0x70), destination: 9 })).toBe(false)
  })

  it('gives lowest priority to the least busy of those addressed', () => {
    const all = [0, 1, 2].map((id) => create(id))
    all.forEach((a) => { enable(a) })
    all[0].setCr8(3)
    routeMessage(all, { ...fixed(0x60), mode: DELIVERY.LOWEST, destination: BROADCAST })
    expect(all.map((a) => a.pendingVector())).toEqual([-1, 0x60, -1])
  })
})

describe('pins and events', () => {
  it('passes the PIC through LINT0 in virtual wire mode, and NMI through LINT1', () => {
    apic.setLint(0, true)
    expect(apic.pendingEvents()).toBe(0)
    apic.enterVirtualWire()
    expect(apic.pendingEvents()).toBe(APIC_EVENT.EXTINT)
    apic.setLint(0, false)
    apic.setLint(1, true)
    expect(apic.pendingEvents()).toBe(APIC_EVENT.NMI)
    expect(apic.takeNmi()).toBe(true)
    expect(apic.pendingEvents()).toBe(0)
  })

  it('passes INTR straight through while hardware-disabled', () => {
    apic.writeMsr(MSR_APIC_BASE, 0xfee0_0000n)
    apic.setLint(0, true)
    expect(apic.pendingEvents()).toBe(APIC_EVENT.EXTINT)
  })

  it('INIT resets all but the base register; a SIPI after it waits too', () => {
    enable()
    apic.deliver(fixed(0x55))
    apic.deliver({ ...fixed(0), mode: DELIVERY.INIT })
    apic.deliver({ ...fixed(0x9a), mode: DELIVERY.STARTUP })
    expect(apic.pendingEvents() & 3).toBe(APIC_EVENT.INIT | APIC_EVENT.STARTUP)
    expect(apic.takeInit()).toBe(true)
    expect(apic.read(APIC.SVR)).toBe(0xff)
    expect(apic.takeStartup()).toBe(0x9a)
    expect(apic.pendingEvents()).toBe(0)
  })

  it('tells the processor of every change that it must look at', () => {
    enable()
    const before = changes
    apic.deliver(fixed(0x55))
    expect(changes).toBe(before + 1)
  })

  it('a level-triggered LINT requests again after its EOI while the pin is high', () => {
    enable()
    apic.write(APIC.LVT_LINT0, 0x8050)
    apic.setLint(0, true)
    apic.acknowledge()
    expect(apic.read(APIC.LVT_LINT0)).toBe(0xc050)
    apic.write(APIC.EOI, 0)
    expect(apic.pendingVector()).toBe(0x50)
  })
})

describe('as the port of the system instructions', () => {
  it('fits, and #GP is the same value', () => {
    const port: ApicPort = apic
    expect(port.readMsr(0x831)).toBe(APIC_GP)
  })
})

describe('survival and snapshots', () => {
  it('no sequence of register and MSR writes makes it fail, and a snapshot goes on identically', () => {
    const write = fc.record({
      x2: fc.boolean(), register: fc.nat(0x3f), value: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      wait: fc.nat(10_000),
    })
    fc.assert(fc.property(fc.array(write, { maxLength: 50 }), (writes) => {
      apic = create(1)
      for (const w of writes) {
        now += w.wait
        apic.advance(now)
        if (w.x2) apic.writeMsr(0x800 + w.register, w.value)
        else apic.write(w.register << 4, Number(w.value & 0xffff_ffffn))
        if (w.register === 0) apic.writeMsr(MSR_APIC_BASE, w.value & 0xc00n)
      }
      const copy = create(1)
      copy.restore(JSON.parse(JSON.stringify(apic.snapshot())) as ReturnType<LocalApic['snapshot']>)
      expect(copy.nextDeadline()).toBe(apic.nextDeadline())
      expect(copy.pendingEvents()).toBe(apic.pendingEvents())
      expect(copy.acknowledge()).toBe(apic.acknowledge())
    }))
  })

  it('refuses a damaged snapshot by the field', () => {
    const saved = { ...apic.snapshot(), tpr: 'x' as unknown as number }
    expect(() => { apic.restore(saved) }).toThrow('state.tpr: expected an integer')
  })
})
