/** A whole machine's devices on real buses, under whatever a guest may do. */
import { type AccessSize, createIoBus, type IoHandlers } from '@cofferdam/memory'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createAcpiPm, createDebugConsole, createDebugExit, createFwCfg, createHpet, createIch9Lpc, createIoApic,
  createMapper, createMsixCapability, createPciBus, createPciFunction, createPciHost, createPicPair, createPirqRouter,
  createPit8254, createPostPort, createQ35HostBridge, createResetControl, createRtcCmos, createUart16550,
  createVirtualClock, type IrqLine, pirqOfSlot, Q35_IRQ, Q35_MMIO, Q35_PIT_GSI, Q35_PORTS,
} from '../src/index.ts'

const nothing = (): void => undefined

/** Handlers whose reads must fit the width of the access. */
const checked = (handlers: IoHandlers): IoHandlers => ({
  read(offset, size) {
    const value = handlers.read(offset, size)
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * size)) {
      throw new Error(`read of ${size} at ${offset} gave ${value}`)
    }
    return value
  },
  write: (offset, size, value) => { handlers.write(offset, size, value) },
})

/** The wiring of a Q35, as a machine would do it. */
function build() {
  const clock = createVirtualClock()
  const ports = createIoBus(0x1_0000)
  const memory = createIoBus(2 ** 46)
  const ram = new Uint8Array(0x1_0000)
  const log: string[] = []
  const pic = createPicPair({ output: { set: (level) => log.push(`int ${level}`) } })
  const ioapic = createIoApic({ deliver: (m) => { log.push(`message ${m.vector}`); return true } })
  /** An ISA line goes to the PIC and to the I/O APIC. */
  const isa = (irq: number): IrqLine => {
    const [a, b] = [pic.line(irq), ioapic.line(irq === 0 ? Q35_PIT_GSI : irq)]
    return { set: (level) => { a.set(level); b.set(level) } }
  }
  const hpet = createHpet({
    clock: clock.ranked(1), line: ioapic.line, pitOutput: isa(Q35_IRQ.pit), rtcOutput: isa(Q35_IRQ.rtc),
  })
  const pit = createPit8254({ clock: clock.ranked(2), irq: hpet.pit })
  const rtc = createRtcCmos({ clock: clock.ranked(3), irq: hpet.rtc })
  const uart = createUart16550({
    clock: clock.ranked(4), irq: isa(Q35_IRQ.serial1), onTransmit: (b) => log.push(`tx ${b}`),
  })
  const pm = createAcpiPm({ clock: clock.ranked(5), sci: isa(Q35_IRQ.sci), onPowerOff: () => log.push('off') })
  const reset = createResetControl({ onReset: (source) => log.push(source) })
  const post = createPostPort()
  const fwCfg = createFwCfg({
    files: [{ name: 'etc/a', data: new Uint8Array(100) }, { name: 'etc/b', data: new Uint8Array(8), onWrite: nothing }],
    memory: {
      read(at, to) {
        const ok = at + to.length <= ram.length
        if (ok) to.set(ram.subarray(at, at + to.length))
        return ok
      },
      write(at, from) {
        const ok = at + from.length <= ram.length
        if (ok) ram.set(from, at)
        return ok
      },
    },
  })
  const mapper = createMapper({ ports, memory })
  const pirq = createPirqRouter({ ioapic: ioapic.line, pic: pic.line })
  const bus = createPciBus()
  const host = createPciHost({ bus, resetPort: reset.cf9 })
  const msix = createMsixCapability({
    vectors: 4, bar: 1, tableOffset: 0, pendingOffset: 64, send: () => log.push('msi'),
  })
  const bar: IoHandlers = {
    read: () => 0,
    write(offset) {
      card.setIntx((offset & 4) !== 0)
      msix.notify(offset & 7)
    },
  }
  const card = createPciFunction({
    name: 'card', vendor: 1, device: 2, classCode: 0x02_0000, interruptPin: 1, mapper, capabilities: [msix],
    intx: pirq.source(pirqOfSlot(3, 1)),
    bars: [
      { index: 0, kind: 'io', size: 32, handlers: bar },
      { index: 1, kind: 'memory64', size: 64, handlers: checked(msix.table) },
    ],
  })
  bus.add(0, 0, createQ35HostBridge({ mapper, ecam: checked(host.ecam), ecamBase: Q35_MMIO.ecam.start }))
  bus.add(3, 0, card)
  bus.add(31, 0, createIch9Lpc({ mapper, pm: checked(pm.handlers), pirq, pmBase: Q35_PORTS.pm.start }))
  const claims = {
    picMaster: pic.master, picSlave: pic.slave, elcr: pic.elcr, pit: pit.handlers, systemControlB: pit.port61,
    keyboardData: reset.data, keyboardCommand: reset.command, systemControlA: reset.port92, rtc: rtc.handlers,
    post: post.handlers, apm: pm.apm, serial1: uart.handlers, fwCfg: fwCfg.handlers, pciConfig: host.ports,
    debugConsole: createDebugConsole({ onByte: nothing }), debugExit: createDebugExit({ onExit: nothing }),
  }
  for (const [name, handlers] of Object.entries(claims)) {
    ports.attach({ name, ...Q35_PORTS[name as keyof typeof claims], handlers: checked(handlers) })
  }
  memory.attach({ name: 'I/O APIC', ...Q35_MMIO.ioApic, handlers: checked(ioapic.handlers) })
  memory.attach({ name: 'HPET', ...Q35_MMIO.hpet, handlers: checked(hpet.handlers) })
  const parts = { hpet, pit, rtc, uart, pm, reset, post, fwCfg, host, pirq, pic, ioapic }
  return { clock, ports, memory, log, uart, parts }
}

const places: readonly number[] = [
  ...Object.values(Q35_PORTS).flatMap((r) => Array.from({ length: r.length }, (_, i) => r.start + i)), 0xc000, 0xc004,
]
const addresses: readonly number[] = [
  Q35_MMIO.ioApic.start, Q35_MMIO.hpet.start, Q35_MMIO.hpet.start + 0x100, Q35_MMIO.ecam.start,
  Q35_MMIO.ecam.start + 3 * 0x8000, Q35_MMIO.ecam.start + 31 * 0x8000, Q35_MMIO.pciWindow.start,
]
const op = fc.record({
  port: fc.boolean(), place: fc.constantFrom(...places), address: fc.constantFrom(...addresses), offset: fc.nat(0x7f),
  size: fc.constantFrom<AccessSize>(1, 2, 4), write: fc.boolean(), wait: fc.nat(200_000),
  value: fc.oneof(fc.nat(0xff), fc.nat(0xffff_ffff), fc.constantFrom(0xc001, Q35_MMIO.pciWindow.start)),
})
type Op = typeof op extends fc.Arbitrary<infer T> ? T : never

function run(machine: ReturnType<typeof build>, ops: readonly Op[]): void {
  for (const o of ops) {
    machine.clock.advanceTo(machine.clock.now() + o.wait)
    const bus = o.port ? machine.ports : machine.memory
    const at = o.port ? o.place : o.address + o.offset
    if (o.write) bus.write(at, o.size, o.value)
    else machine.log.push(`read ${bus.read(at, o.size)}`)
    machine.uart.receive([o.value & 0xff])
  }
}

const plain = (parts: ReturnType<typeof build>['parts']): Record<string, unknown> => {
  const saved = Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.snapshot()]))
  return JSON.parse(JSON.stringify(saved)) as Record<string, unknown>
}

describe('a machine full of devices', () => {
  it('takes any accesses: no failure, no value wider than its access, one timer for each device at most', () => {
    fc.assert(fc.property(fc.array(op, { maxLength: 150 }), (ops) => {
      const machine = build()
      run(machine, ops)
      expect(machine.clock.pending()).toBeLessThanOrEqual(5)
    }), { numRuns: 60 })
  })

  it('goes on from a snapshot exactly as without', () => {
    fc.assert(fc.property(fc.array(op, { maxLength: 100 }), fc.array(op, { maxLength: 50 }), (before, after) => {
      const machine = build()
      run(machine, before)
      const saved = plain(machine.parts)
      const copy = build()
      copy.clock.restore(machine.clock.snapshot())
      for (const [name, part] of Object.entries(copy.parts)) (part.restore as (s: unknown) => void)(saved[name])
      machine.log.length = 0
      copy.log.length = 0
      run(machine, after)
      run(copy, after)
      expect(copy.log).toEqual(machine.log)
      expect(plain(copy.parts)).toEqual(plain(machine.parts))
    }), { numRuns: 60 })
  })
})
