/**
 * Where a Q35-shaped PC has its devices: the standard ports, physical addresses and interrupt lines, as QEMU's `q35`
 * has them, because firmware and tables written for that find them there. Wiring is the machine's.
 */

/** A range of ports or physical addresses. */
export interface MapRange {
  readonly start: number
  readonly length: number
  readonly about: string
}

const range = (start: number, length: number, about: string): MapRange => ({ start, length, about })

/** I/O ports. */
export const Q35_PORTS = {
  picMaster: range(0x20, 2, '8259A master'),
  pit: range(0x40, 4, '8254'),
  keyboardData: range(0x60, 1, '8042 data'),
  systemControlB: range(0x61, 1, 'PIT channel 2 gate and output'),
  keyboardCommand: range(0x64, 1, '8042 command and status'),
  rtc: range(0x70, 4, 'MC146818 and CMOS, two banks'),
  post: range(0x80, 1, 'POST codes; Linux: io_delay'),
  systemControlA: range(0x92, 1, 'A20 and fast reset'),
  picSlave: range(0xa0, 2, '8259A slave'),
  apm: range(0xb2, 2, 'APM control: ACPI on and off'),
  debugConsoleBochs: range(0xe9, 1, 'debug console (Bochs)'),
  debugExit: range(0xf4, 4, 'isa-debug-exit'),
  serial2: range(0x2f8, 8, 'UART 2'),
  serial1: range(0x3f8, 8, 'UART 1'),
  debugConsole: range(0x402, 1, 'debug console (OVMF)'),
  elcr: range(0x4d0, 2, 'edge/level control of the PICs'),
  fwCfg: range(0x510, 12, 'fw_cfg'),
  pm: range(0x600, 0x80, 'ACPI power management, at PMBASE'),
  pciWindow: range(0xc000, 0x4000, 'ports of BARs'),
  pciConfig: range(0xcf8, 8, 'PCI configuration; CF9h reset'),
} as const satisfies Record<string, MapRange>

/** Physical addresses. */
export const Q35_MMIO = {
  ecam: range(0xb000_0000, 0x1000_0000, 'PCI configuration of 256 buses, at PCIEXBAR'),
  pciWindow: range(0xc000_0000, 0x3ec0_0000, 'BARs below 4 GiB'),
  ioApic: range(0xfec0_0000, 0x1000, 'I/O APIC'),
  hpet: range(0xfed0_0000, 0x400, 'HPET'),
  rootComplex: range(0xfed1_c000, 0x4000, 'root complex registers, at RCBA'),
  localApic: range(0xfee0_0000, 0x1000, 'local APIC (each processor sees its own); writes from devices are MSIs'),
} as const satisfies Record<string, MapRange>

/** End of RAM below 4 GiB: all of it up to the ECAM window, else 2 GiB; the rest of RAM begins at 4 GiB. */
export const lowMemoryEnd = (memorySize: number): number =>
  memorySize >= Q35_MMIO.ecam.start ? 0x8000_0000 : memorySize

/** ISA interrupts, numbers of the PIC's inputs and of the I/O APIC's pins, except for {@link Q35_PIT_GSI}. */
export const Q35_IRQ = {
  pit: 0, keyboard: 1, serial2: 3, serial1: 4, rtc: 8, sci: 9, mouse: 12,
} as const

/** IRQ 0 comes to pin 2 of the I/O APIC (MADT: interrupt source override); the PIC's output comes to pin 0. */
export const Q35_PIT_GSI = 2

/** The SCI is level triggered, active high (MADT: interrupt source override with flags 000Dh). */
export const Q35_SCI_FLAGS = 0x000d

/** PCI slots on bus 0. */
export const Q35_SLOTS = { hostBridge: [0, 0], lpc: [31, 0] } as const

/**
 * Ports that Linux pokes although nothing answers: left unclaimed, they read all ones, which each driver takes for
 * "absent".
 */
export const Q35_ABSENT: readonly MapRange[] = [
  range(0x00, 0x10, '8237 DMA 1: i8237A_init_ops reads page register 87h as FFh and goes away'),
  range(0x81, 0x0f, 'DMA page registers'),
  range(0xc0, 0x20, '8237 DMA 2'),
  range(0xf0, 2, 'FPU error latch: CR0.NE is set instead'),
  range(0x22, 2, 'IMCR: absent, as the MP table would say'),
  range(0x2e8, 8, 'UART 4'),
  range(0x3e8, 8, 'UART 3'),
  range(0x3b0, 0x30, 'VGA'),
]
