/**
 * The plain Q35, wired. Behaviour is in the devices; here is only what is connected to what. Places and lines come from
 * `q35-map.ts` of the devices; the ACPI tables of `@cofferdam/boot` describe the same machine.
 */
import type { IoBus, IoHandlers } from '@cofferdam/memory'
import { createAcpiPm } from './acpi-pm.ts'
import { COST } from './costs.ts'
import { createDebugConsole, createDebugExit, createPostPort } from './debug-ports.ts'
import type { FwCfg } from './fw-cfg.ts'
import { createHpet } from './hpet.ts'
import { createIoApic } from './ioapic.ts'
import type { InterruptMessage, IoApic } from './ioapic.ts'
import type { IrqLine } from './clock.ts'
import { observed } from './observed.ts'
import type { Observation } from './observed.ts'
import {
  createIch9Lpc, createMapper, createPciBus, createPciHost, createPirqRouter, createQ35HostBridge, LPC, messageOfMsi,
  pirqOfSlot, placeBars,
} from './pci/index.ts'
import type { Mapper, PamSegment, PciBus } from './pci/index.ts'
import { createPicPair } from './pic8259.ts'
import type { PicPair } from './pic8259.ts'
import { createPit8254 } from './pit8254.ts'
import { Q35_IRQ, Q35_MMIO, Q35_PIT_GSI, Q35_PORTS, Q35_SLOTS } from './q35-map.ts'
import type { MapRange } from './q35-map.ts'
import { createResetControl } from './reset.ts'
import type { ResetSource } from './reset.ts'
import { createRtcCmos } from './rtc-cmos.ts'
import { createPspPci } from './psp/pci.ts'
import type { PspFirmware } from './psp/mailbox.ts'
import { createPcTestdev, createPciTestdev, PC_TESTDEV } from './test-devices.ts'
import type { TestDevice } from './test-devices.ts'
import { snapshotPart } from './snapshot.ts'
import type { SnapshotPart } from './snapshot.ts'
import { createUart16550 } from './uart16550.ts'
import type { Uart16550 } from './uart16550.ts'
import { attachVirtio } from './virtio/index.ts'
import type { VirtioOptions } from './virtio/index.ts'
import type { VirtualClock } from './virtual-clock.ts'

/** What the platform needs of the machine, and what it tells it. */
export interface PlatformOptions extends Observation {
  /** Where ports and registers are claimed: a machine's physical memory, or the buses that a guest's exits reach. */
  readonly memory: { readonly ports: IoBus, readonly mmio: IoBus }
  readonly clock: VirtualClock
  /** An interrupt message of the I/O APIC (and of devices with MSI); false when no processor accepted it. */
  readonly deliver: (message: InterruptMessage) => boolean
  /** The PIC's output, to LINT0 of the boot processor. */
  readonly picOutput: (level: boolean) => void
  readonly onSerial: (byte: number) => void
  readonly onDebugConsole: (byte: number) => void
  readonly onPowerOff: () => void
  readonly onReset: (by: ResetSource) => void
  /** isa-debug-exit: the status that QEMU would exit with. */
  readonly onDebugExit: (status: number) => void
  /** Virtio devices on PCI; none by default. */
  readonly virtio?: VirtioOptions
  /** The firmware of the machine's PSP, which is on PCI then. */
  readonly psp?: PspFirmware
  /** CMOS registers as they are at power-on. */
  readonly cmos?: readonly (readonly [index: number, value: number])[]
  /**
   * The chipset is as after reset, for firmware to set it up, and tells who shall answer below 1 MiB. Without it, it is
   * as firmware leaves it.
   */
  readonly firmware?: { readonly onPam: (segment: PamSegment) => void }
  /** Test devices; the debug exit is at F4h unless it is among them. */
  readonly testDevices?: readonly TestDevice[]
  /** Makes the fw_cfg device, given what firmware has placed so far. */
  readonly fwCfg?: (placed: () => PlacedPlatform) => FwCfg
}

/** The parts of the platform that the machine speaks to. */
export interface Platform {
  readonly pic: PicPair
  readonly ioapic: IoApic
  readonly serial: Uart16550
  readonly pci: PciBus
  /** What a snapshot is made of, in the order in which it is restored: the clock is there before. */
  readonly parts: readonly SnapshotPart[]
}

/** What firmware places: tables made now must say it. */
export interface PlacedPlatform {
  /** The memory-mapped configuration space, undefined while it is off. */
  readonly ecam: { readonly start: number, readonly length: number } | undefined
  /** The ACPI power-management ports. */
  readonly pmBase: number
}

/** Ranks of the devices' clocks: timers of one instant fire in this order. Virtio devices follow, by their slots. */
const RANK = { pit: 1, rtc: 2, hpet: 3, pm: 4, serial: 5, psp: 6, virtio: 64 } as const

const range = ({ start, length }: Omit<MapRange, 'about'>, about: string): MapRange => ({ start, length, about })

/** The first slot of the root bus that nobody has. */
function freeSlot(bus: PciBus): number {
  let slot = 1
  while (bus.get(slot, 0) !== undefined) slot++
  return slot
}

/** Creates the devices and claims their ranges. @throws RangeConflict when two want one place. */
export function createPlatform(options: PlatformOptions): Platform {
  const { memory, clock } = options
  const atPorts = (name: string, handlers: IoHandlers): IoHandlers => observed(name, handlers, COST.port, options)
  const inMemory = (name: string, handlers: IoHandlers): IoHandlers => observed(name, handlers, COST.memory, options)
  const port = ({ start, length, about }: MapRange, handlers: IoHandlers): void => {
    memory.ports.attach({ name: about, start, length, handlers: atPorts(about, handlers) })
  }
  const mmio = ({ start, length, about }: MapRange, handlers: IoHandlers): void => {
    memory.mmio.attach({ name: about, start, length, handlers: inMemory(about, handlers) })
  }

  // Interrupts. An ISA line goes to the PIC and to the I/O APIC, where IRQ 0 comes in at pin 2.
  const ioapic = createIoApic({ deliver: options.deliver })
  const pic = createPicPair({ output: { set: options.picOutput } })
  const both = (...lines: IrqLine[]): IrqLine => ({ set(level) { for (const line of lines) line.set(level) } })
  const isa = (irq: number): IrqLine => both(pic.line(irq), ioapic.line(irq === Q35_IRQ.pit ? Q35_PIT_GSI : irq))
  const gsi = (input: number): IrqLine =>
    input === Q35_PIT_GSI ? isa(Q35_IRQ.pit) : input < 16 ? isa(input) : ioapic.line(input)

  // Time. The HPET stands between PIT and RTC and their lines, for its legacy replacement mode.
  const hpet = createHpet({
    clock: clock.ranked(RANK.hpet), line: gsi, pitOutput: isa(Q35_IRQ.pit), rtcOutput: isa(Q35_IRQ.rtc),
  })
  const pit = createPit8254({ clock: clock.ranked(RANK.pit), irq: hpet.pit })
  const rtc = createRtcCmos({ clock: clock.ranked(RANK.rtc), irq: hpet.rtc, contents: options.cmos })
  const pm = createAcpiPm({ clock: clock.ranked(RANK.pm), sci: isa(Q35_IRQ.sci), onPowerOff: options.onPowerOff })

  // PCI: host bridge with ECAM, LPC bridge with the power-management ports and the PIRQ routes.
  const reset = createResetControl({ onReset: options.onReset, keyboardController: 'absent' })
  const pci = createPciBus()
  const host = createPciHost({ bus: pci, resetPort: reset.cf9 })
  const mapper = createMapper({ ports: memory.ports, memory: memory.mmio })
  const pirq = createPirqRouter({ ioapic: (input) => ioapic.line(input), pic: (input) => pic.line(input) })
  const ecam = inMemory(Q35_MMIO.ecam.about, host.ecam)
  const power = atPorts(Q35_PORTS.pm.about, pm.handlers)
  const { firmware } = options
  // Without firmware the chipset is as firmware leaves it.
  const hostBridge = createQ35HostBridge({
    mapper, ecam, ...(firmware === undefined ? { ecamBase: Q35_MMIO.ecam.start } : { onPam: firmware.onPam }),
  })
  const lpc = createIch9Lpc({
    mapper, pm: power, pirq, pmBase: firmware === undefined ? Q35_PORTS.pm.start : undefined,
  })
  pci.add(...Q35_SLOTS.hostBridge, hostBridge)
  pci.add(...Q35_SLOTS.lpc, lpc)

  const observedMapper: Mapper = { region: (name, handlers) => mapper.region(name, inMemory(name, handlers)) }
  const tests = options.testDevices ?? []
  const hasPciTestdev = tests.some(({ kind }) => kind === 'pci-testdev')
  if (options.virtio !== undefined) {
    attachVirtio({
      ...options.virtio, bus: pci, mapper: observedMapper,
      others: (options.psp === undefined ? 0 : 1) + (hasPciTestdev ? 1 : 0),
      clock: (n) => clock.ranked(RANK.virtio + n),
      intx: (slot, pin) => pirq.source(pirqOfSlot(slot, pin)),
      deliver: options.deliver,
    })
  }
  if (options.psp !== undefined) {
    pci.add(freeSlot(pci), 0, createPspPci({
      clock: clock.ranked(RANK.psp), firmware: options.psp, mapper: observedMapper,
      send(address, data) {
        const message = messageOfMsi(address, data)
        if (message !== undefined) options.deliver(message)
      },
    }))
  }

  const serial = createUart16550({
    clock: clock.ranked(RANK.serial), irq: isa(Q35_IRQ.serial1), onTransmit: options.onSerial,
  })
  const post = createPostPort()
  const debugConsole = createDebugConsole({ onByte: options.onDebugConsole })

  port(Q35_PORTS.picMaster, pic.master)
  port(Q35_PORTS.picSlave, pic.slave)
  port(Q35_PORTS.elcr, pic.elcr)
  port(Q35_PORTS.pit, pit.handlers)
  port(Q35_PORTS.systemControlB, pit.port61)
  port(Q35_PORTS.rtc, rtc.handlers)
  port(Q35_PORTS.apm, pm.apm)
  port(Q35_PORTS.pciConfig, host.ports)
  port(Q35_PORTS.keyboardData, reset.data)
  port(Q35_PORTS.keyboardCommand, reset.command)
  port(Q35_PORTS.systemControlA, reset.port92)
  port(Q35_PORTS.post, post.handlers)
  port(Q35_PORTS.serial1, serial.handlers)
  port(Q35_PORTS.debugConsole, debugConsole)
  port(Q35_PORTS.debugConsoleBochs, debugConsole)
  const exit = tests.find((device) => device.kind === 'isa-debug-exit')
  port(exit === undefined ? Q35_PORTS.debugExit : range({ start: exit.port, length: exit.length }, 'debug exit'),
    createDebugExit({ onExit: options.onDebugExit }))
  const testdev = tests.some(({ kind }) => kind === 'pc-testdev') ? createPcTestdev({ line: gsi }) : undefined
  if (testdev !== undefined) {
    port(range(PC_TESTDEV.ports, 'pc-testdev word'), testdev.ports)
    port(range(PC_TESTDEV.bytePorts, 'pc-testdev byte'), testdev.ports)
    port(range(PC_TESTDEV.flush, 'pc-testdev flush'), testdev.flush)
    port(range(PC_TESTDEV.irqLines, 'pc-testdev lines'), testdev.irqLines)
    mmio(range(PC_TESTDEV.memory, 'pc-testdev memory'), testdev.memory)
  }
  if (hasPciTestdev) pci.add(freeSlot(pci), 0, createPciTestdev({ mapper }))
  if (firmware === undefined) placeBars(pci, { memory: Q35_MMIO.pciWindow, ports: Q35_PORTS.pciWindow })
  const fwCfg = options.fwCfg?.(() => ({ ecam: hostBridge.ecam(), pmBase: lpc.get(LPC.PMBASE, 4) & 0xff80 }))
  if (fwCfg !== undefined) port(Q35_PORTS.fwCfg, fwCfg.handlers)
  mmio(Q35_MMIO.ioApic, ioapic.handlers)
  mmio(Q35_MMIO.hpet, hpet.handlers)

  // A restore drives no line: what interrupts come to is restored after those who raise them.
  const parts = [
    snapshotPart('pit', pit), snapshotPart('rtc', rtc), snapshotPart('hpet', hpet), snapshotPart('acpi-pm', pm),
    snapshotPart('reset', reset), snapshotPart('post', post), snapshotPart('serial', serial),
    ...fwCfg === undefined ? [] : [snapshotPart('fw_cfg', fwCfg)],
    ...testdev === undefined ? [] : [snapshotPart('pc-testdev', testdev)],
    // PCI functions have the state of what is behind them: virtio devices, too.
    snapshotPart('pci', host), snapshotPart('bars', mapper),
    snapshotPart('pirq', pirq), snapshotPart('pic', pic), snapshotPart('ioapic', ioapic),
  ]
  return { pic, ioapic, serial, pci, parts }
}
