/** The definition block: what no fixed table says. */
import {
  and, arg, busRange, device, dwordField, eisaId, equal, giveBack, ifThen, integer, ioPorts, ioRange, irq,
  memory32Fixed, memoryRange32, memoryRange64, method, named, nameString, or, otherwise, pack, resources, scope, text,
  uuid, type Aml,
} from './aml.ts'
import type { FullPlatform } from './platform.ts'

const hid = (id: string): Aml => named('_HID', eisaId(id))
const uid = (n: number): Aml => named('_UID', integer(n))
const crs = (...descriptors: Aml[]): Aml => named('_CRS', resources(...descriptors))

/** \_S5: SLP_TYPa, SLP_TYPb and two reserved (§7.4.2.6). */
const sleep = (p: FullPlatform): Aml =>
  named('_S5', pack(integer(p.s5Type), integer(p.s5Type), integer(0), integer(0)))

/** _PRT: every pin of bus 0 to its GSI (§6.2.13). */
function routing(p: FullPlatform): Aml {
  const rows: Aml[] = []
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      // High word: device; low word 0xffff: any function.
      rows.push(pack(integer(slot * 0x1_0000 + 0xffff), integer(pin), integer(0), integer(p.pciGsi(slot, pin))))
    }
  }
  return named('_PRT', pack(...rows))
}

/** What the operating system may control by itself: PME, AER, the PCIe capability (PCI Firmware 3.3, §4.5.1). */
const OSC_GRANTED = 0x1c

/** _OSC of a PCI Express root: grants native control but for hot-plug. */
function osc(): Aml {
  const cdw1 = nameString('CDW1')
  const cdw3 = nameString('CDW3')
  return method('_OSC', 4,
    dwordField(arg(3), 0, 'CDW1'),
    ifThen(equal(arg(0), uuid('33DB4D5B-1FF7-401C-9657-7441C03DD766')),
      dwordField(arg(3), 8, 'CDW3'),
      and(cdw3, integer(OSC_GRANTED), cdw3),
    ),
    // Bit 2: the UUID is not known.
    otherwise(or(cdw1, integer(4), cdw1)),
    giveBack(arg(3)))
}

function isaDevices(p: FullPlatform): Aml {
  const ports = p.serial.map((s, i) => device(`COM${i + 1}`, hid('PNP0501'), uid(i + 1),
    named('_DDN', text(`COM${i + 1}`)),
    crs(ioPorts(s.port, 8), irq(s.irq))))
  const rtc = p.rtc ? device('RTC', hid('PNP0B00'), crs(ioPorts(0x70, 2), irq(8))) : []
  const keyboard = p.keyboardController
    ? device('KBD', hid('PNP0303'), crs(ioPorts(0x60, 1), ioPorts(0x64, 1), irq(1)))
    : []
  return device('ISA', named('_ADR', integer(0x1f_0000)), ...ports, rtc, keyboard)
}

function pciRoot(p: FullPlatform): Aml {
  const high = p.pci64 === undefined ? [] : memoryRange64(p.pci64.first, p.pci64.last)
  return device('PCI0', hid('PNP0A08'), named('_CID', eisaId('PNP0A03')), uid(0), named('_BBN', integer(0)),
    named('_SEG', integer(0)),
    crs(
      busRange(0, (p.ecam?.buses ?? 256) - 1), ioPorts(0xcf8, 8), ioRange(0, 0xcf7), ioRange(0xd00, 0xffff),
      memoryRange32(0xa_0000, 0xb_ffff), memoryRange32(p.pci32.first, p.pci32.last), high,
    ),
    osc(), routing(p), isaDevices(p))
}

/** Resources that no driver claims: the configuration space must be one of them (PCI Firmware 3.3, §4.1.2). */
function motherboard(p: FullPlatform): Aml {
  const ecam = p.ecam === null ? [] : memory32Fixed(p.ecam.base, p.ecam.buses * 2 ** 20)
  return device('MBRS', hid('PNP0C02'), uid(1), crs(ecam, ioPorts(p.pmBase, 0x80)))
}

const hpet = (address: number | null): Aml =>
  address === null ? [] : device('HPET', hid('PNP0103'), uid(0), crs(memory32Fixed(address, 0x400, false)))

/** Name of processor `n`: C000 to CFFF. */
const processorName = (n: number): string => `C${n.toString(16).toUpperCase().padStart(3, '0')}`

/** Processor devices (§8.4.1); their _UID is that of the MADT. */
const processors = (p: FullPlatform): Aml[] =>
  p.apicIds.map((_id, n) => device(processorName(n), named('_HID', text('ACPI0007')), uid(n)))

/** AML of the whole block, without the table's header. */
export function dsdtAml(p: FullPlatform): Uint8Array {
  const all = [
    ...sleep(p),
    ...scope('_SB', ...processors(p), pciRoot(p), motherboard(p), hpet(p.hpet)),
  ]
  return Uint8Array.from(all)
}
