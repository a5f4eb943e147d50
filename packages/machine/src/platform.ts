/** The devices of the plain PC, wired. Behaviour is in the devices; here is only what is connected to what. */
import type { IoBus, IoHandlers, PhysicalMemory } from '@cofferdam/memory'
import {
  createAcpiPm, createHpet, createIoApic, createPicPair, createPit8254, createResetControl, createRtcCmos,
  createUart16550,
} from '@cofferdam/devices'
import type { Clock, InterruptMessage, IoApic, IrqLine, PicPair, Uart16550 } from '@cofferdam/devices'

/** What the platform tells the machine. */
export interface PlatformOptions {
  readonly memory: PhysicalMemory
  readonly clock: Clock
  /** Brings the clock up to the instruction that is accessing a device. */
  readonly sync: () => void
  /** An interrupt message of the I/O APIC. */
  readonly deliver: (message: InterruptMessage) => boolean
  /** The PIC's output changed. */
  readonly picOutput: (level: boolean) => void
  readonly onSerial: (byte: number) => void
  readonly onPowerOff: () => void
  readonly onReset: () => void
  readonly onDebugExit: (code: number) => void
}

export interface Platform {
  readonly pic: PicPair
  readonly ioapic: IoApic
  readonly serial: Uart16550
}

const ISA_PIT_PIN = 2

export function createPlatform(options: PlatformOptions): Platform {
  const { memory, clock, sync } = options

  const attach = (bus: IoBus, name: string, start: number, length: number, handlers: IoHandlers): void => {
    bus.attach({
      name, start, length,
      handlers: {
        read(offset, size) {
          sync()
          return handlers.read(offset, size)
        },
        write(offset, size, value) {
          sync()
          handlers.write(offset, size, value)
        },
      },
    })
  }
  const port = (name: string, start: number, length: number, handlers: IoHandlers): void => {
    attach(memory.ports, name, start, length, handlers)
  }
  const mmio = (name: string, start: number, length: number, handlers: IoHandlers): void => {
    attach(memory.mmio, name, start, length, handlers)
  }

  const ioapic = createIoApic({ deliver: options.deliver })
  const pic = createPicPair({ output: { set: options.picOutput } })
  /** An ISA interrupt: to the PIC and to the I/O APIC (IRQ 0 comes in at pin 2 there). */
  const isa = (irq: number): IrqLine => {
    const inputs = [pic.line(irq), ioapic.line(irq === 0 ? ISA_PIT_PIN : irq)]
    return { set(level) { for (const input of inputs) input.set(level) } }
  }

  const hpet = createHpet({
    clock,
    line: (input) => (input < 16 ? isa(input === ISA_PIT_PIN ? 0 : input) : ioapic.line(input)),
    pitOutput: isa(0),
    rtcOutput: isa(8),
  })
  const pit = createPit8254({ clock, irq: hpet.pit })
  const rtc = createRtcCmos({ clock, irq: hpet.rtc })
  const pm = createAcpiPm({ clock, sci: isa(9), onPowerOff: options.onPowerOff })
  const reset = createResetControl({ onReset: options.onReset })
  const serial = createUart16550({ clock, irq: isa(4), onTransmit: options.onSerial })

  port('PIC master', 0x20, 2, pic.master)
  port('PIC slave', 0xa0, 2, pic.slave)
  port('ELCR', 0x4d0, 2, pic.elcr)
  port('PIT', 0x40, 4, pit.handlers)
  port('port 61h', 0x61, 1, pit.port61)
  port('keyboard data', 0x60, 1, reset.data)
  port('keyboard command', 0x64, 1, reset.command)
  port('port 92h', 0x92, 1, reset.port92)
  port('reset control', 0xcf9, 1, reset.cf9)
  port('RTC', 0x70, 4, rtc.handlers)
  port('APM', 0xb2, 2, pm.apm)
  port('COM1', 0x3f8, 8, serial.handlers)
  port('ACPI PM', 0x600, 0x80, pm.handlers)
  port('debug exit', 0xf4, 4, {
    read: () => 0,
    write: (_offset, _size, value) => { options.onDebugExit(value) },
  })
  mmio('I/O APIC', 0xfec0_0000, 0x1000, ioapic.handlers)
  mmio('HPET', 0xfed0_0000, 0x400, hpet.handlers)
  return { pic, ioapic, serial }
}
