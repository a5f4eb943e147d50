/** Builds the ACPI tables of a machine (ACPI 6.5, chapter 5) as one block of memory. */
import {
  AddressSpace, BootArch, Facs, Fadt, FadtFlags, GenericAddress, HpetTable, IntiFlags, MadtHead, MadtIoApic,
  MadtLocalApic, MadtLocalNmi, MadtOverride, MadtType, MadtWakeup, MadtX2Apic, MadtX2Nmi, McfgEntry, Rsdp, SdtHeader,
  SratMemory, SratProcessor, SratX2Apic,
} from '@cofferdam/spec'
import { BootError, bytesText } from '../error.ts'
import { PC } from '../memory-map.ts'
import { dsdtAml } from './dsdt.ts'
import { completePlatform, type AcpiPlatform, type FullPlatform } from './platform.ts'

/** Finished tables. */
export interface AcpiTables {
  /** The whole block, to be put at the address it was built for. */
  readonly bytes: Uint8Array
  /** Address of the RSDP. */
  readonly rsdp: number
  /** Each table's signature, address and bytes, in the order in which they lie in memory. */
  readonly tables: readonly { readonly signature: string, readonly address: number, readonly bytes: Uint8Array }[]
}

const signatureOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes.subarray(0, 4))
const ascii = (s: string): Uint8Array => new TextEncoder().encode(s)
const concat = (parts: readonly Uint8Array[]): Uint8Array => {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    all.set(p, at)
    at += p.length
  }
  return all
}

/** Sets the byte at `at` so that all bytes add up to 0 (§5.2.6, Checksum). */
function setChecksum(bytes: Uint8Array, at: number, length = bytes.length): void {
  bytes[at] = 0
  let sum = 0
  for (let i = 0; i < length; i++) sum += bytes[i]
  bytes[at] = -sum & 0xff
}

const OEM = { id: ascii('COFFER'), table: ascii('COFFERPC'), creator: ascii('COFR') }

/** A table: header, body, checksum. */
function table(signature: string, revision: number, ...body: Uint8Array[]): Uint8Array {
  const bytes = concat([new Uint8Array(SdtHeader.size), ...body])
  SdtHeader.write(new DataView(bytes.buffer), {
    signature: ascii(signature), length: bytes.length, revision, oemId: OEM.id, oemTableId: OEM.table, oemRevision: 1,
    creatorId: OEM.creator, creatorRevision: 1,
  })
  setChecksum(bytes, SdtHeader.offset.checksum)
  return bytes
}

const io = (port: number, bits: number): Uint8Array =>
  GenericAddress.create({
    space: AddressSpace.IO, bitWidth: bits, accessSize: Math.log2(bits / 8) + 1, address: BigInt(port),
  })

/** ICH9 places in the power-management block. */
const PM = { event: 0x00, control: 0x04, timer: 0x08, gpe0: 0x20, gpe0Length: 16 } as const

function fadt(p: FullPlatform, facs: number, dsdt: number): Uint8Array {
  const pm = p.pmBase
  const fields = Fadt.create({
    // The 32-bit and the 64-bit address of a table are not both set (§5.2.9, X_FIRMWARE_CTRL).
    firmwareCtrl: facs, dsdt, xDsdt: BigInt(dsdt),
    // Enterprise server. No SMI command: the hardware is always in ACPI mode.
    preferredPmProfile: 4, sciInt: p.sci,
    pm1aEvtBlk: pm + PM.event, pm1aCntBlk: pm + PM.control, pmTmrBlk: pm + PM.timer, gpe0Blk: pm + PM.gpe0,
    pm1EvtLen: 4, pm1CntLen: 2, pmTmrLen: 4, gpe0BlkLen: PM.gpe0Length,
    // Above 100 and 1000: no C2 and C3.
    pLvl2Lat: 0xfff, pLvl3Lat: 0xfff,
    century: p.rtc ? 0x32 : 0,
    iapcBootArch: BootArch.pack({
      LEGACY_DEVICES: 1, VGA_NOT_PRESENT: 1, KEYBOARD_8042: p.keyboardController ? 1 : 0,
      CMOS_RTC_NOT_PRESENT: p.rtc ? 0 : 1,
    }),
    flags: FadtFlags.pack({
      WBINVD: 1, PROC_C1: 1, SLP_BUTTON: 1, FIX_RTC: p.rtc ? 0 : 1, TMR_VAL_EXT: p.pmTimer32 ? 1 : 0, RESET_REG_SUP: 1,
      USE_PLATFORM_CLOCK: 1,
    }),
    // The reset control register: 6 is a hard reset (ICH9 data sheet §13.7.5).
    resetReg: io(0xcf9, 8), resetValue: 6, minorVersion: 5,
    xPm1aEvtBlk: io(pm + PM.event, 32), xPm1aCntBlk: io(pm + PM.control, 16), xPmTmrBlk: io(pm + PM.timer, 32),
    xGpe0Blk: GenericAddress.create({
      space: AddressSpace.IO, bitWidth: PM.gpe0Length * 8, accessSize: 1, address: BigInt(pm + PM.gpe0),
    }),
    hypervisorVendor: ascii('COFFERDA'),
  })
  return table('FACP', 6, fields.subarray(SdtHeader.size))
}

/** ISA interrupts that are not edge-triggered, active high at the GSI of the same number. */
function overrides(p: FullPlatform): Uint8Array[] {
  const level = IntiFlags.pack({ polarity: 1, trigger: 3 })
  const entry = (source: number, gsi: number, flags: number) =>
    MadtOverride.create({ type: MadtType.OVERRIDE, length: MadtOverride.size, source, gsi, flags })
  return [entry(0, 2, 0), entry(p.sci, p.sci, level)]
}

function madt(p: FullPlatform): Uint8Array {
  // Id 255 is the broadcast of the xAPIC: from there on only x2APIC entries can name a processor (§5.2.12.12).
  const processors = p.apicIds.map((apicId, uid) => (apicId < 255 && uid < 255
    ? MadtLocalApic.create({ type: MadtType.LOCAL_APIC, length: MadtLocalApic.size, uid, apicId, flags: 1 })
    : MadtX2Apic.create({ type: MadtType.X2APIC, length: MadtX2Apic.size, uid, x2ApicId: apicId, flags: 1 })))
  const wide = p.apicIds.some((id, uid) => id >= 255 || uid >= 255)
  const nmi = [MadtLocalNmi.create({ type: MadtType.LOCAL_NMI, length: MadtLocalNmi.size, uid: 0xff, lint: 1 })]
  if (wide) nmi.push(MadtX2Nmi.create({ type: MadtType.X2APIC_NMI, length: MadtX2Nmi.size, uid: 0xffff_ffff, lint: 1 }))
  const wakeup = p.wakeupMailbox === undefined ? [] : [MadtWakeup.create({
    type: MadtType.WAKEUP, length: MadtWakeup.size, mailbox: BigInt(p.wakeupMailbox),
  })]
  return table('APIC', 5,
    // Flag 0: there is a PIC pair too.
    MadtHead.create({ localApicAddress: PC.lapic, flags: 1 }),
    ...processors,
    MadtIoApic.create({
      type: MadtType.IO_APIC, length: MadtIoApic.size, id: p.ioapic.id, address: p.ioapic.address, gsiBase: 0,
    }),
    ...overrides(p), ...nmi, ...wakeup)
}

const mcfg = (ecam: { base: number, buses: number }): Uint8Array =>
  table('MCFG', 1, new Uint8Array(8), McfgEntry.create({ base: BigInt(ecam.base), endBus: ecam.buses - 1 }))

/**
 * The block id is the low half of the timers' capability register: vendor 8086h, three 64-bit timers, legacy routes.
 */
const hpet = (address: number): Uint8Array => table('HPET', 1, HpetTable.create({
  blockId: 0x8086_a201,
  base: GenericAddress.create({ space: AddressSpace.MEMORY, bitWidth: 64, address: BigInt(address) }),
  minimumTick: 0x80,
}))

function srat(nodes: NonNullable<AcpiPlatform['nodes']>): Uint8Array {
  const entries = nodes.flatMap((node, domain) => [
    ...node.apicIds.map((apicId) => (apicId < 255
      ? SratProcessor.create({ type: 0, length: SratProcessor.size, domainLow: domain & 0xff, apicId, flags: 1 })
      : SratX2Apic.create({ type: 2, length: SratX2Apic.size, domain, x2ApicId: apicId, flags: 1 }))),
    ...node.ranges.map((r) => SratMemory.create({
      type: 1, length: SratMemory.size, domain, base: BigInt(r.start), size: BigInt(r.length), flags: 1,
    })),
  ])
  const head = new Uint8Array(12)
  head[0] = 1
  return table('SRAT', 3, head, ...entries)
}

function slit(p: FullPlatform, nodes: number): Uint8Array {
  const body = new Uint8Array(8 + nodes * nodes)
  body[0] = nodes
  for (let i = 0; i < nodes; i++) {
    for (let j = 0; j < nodes; j++) body[8 + i * nodes + j] = p.distances?.[i]?.[j] ?? (i === j ? 10 : 20)
  }
  return table('SLIT', 1, body)
}

function checkPlatform(p: FullPlatform): void {
  const refuse = (field: string, problem: string) => new BootError('ACPI', field, problem)
  if (p.apicIds.length === 0) throw refuse('apicIds', 'no processor')
  if (p.apicIds.length > 4096) throw refuse('apicIds', `${p.apicIds.length} processors; the tables name up to 4096`)
  if (new Set(p.apicIds).size !== p.apicIds.length) throw refuse('apicIds', 'two processors have one id')
  if ((p.nodes?.length ?? 0) > 255) throw refuse('nodes', `${p.nodes?.length ?? 0} nodes; the tables name up to 255`)
}

/** A field that holds the address of a table. */
export interface AcpiLink {
  readonly at: number
  readonly size: 4 | 8
  /** The address in it. */
  readonly to: number
}

/** Tables at their places, without an RSDP. */
export interface AcpiBlock {
  readonly tables: AcpiTables['tables']
  readonly xsdt: number
  readonly rsdt: number
  readonly end: number
  /** Every field that holds an address, for those who move the block. */
  readonly links: readonly AcpiLink[]
}

/**
 * Builds FACS, DSDT, FADT, MADT, where the platform has them MCFG, HPET, SRAT and SLIT, and XSDT and RSDT, from `start`
 * on.
 * @throws BootError when the platform makes no sense
 */
export function buildAcpiBlock(platform: AcpiPlatform, start: number): AcpiBlock {
  const p = completePlatform(platform)
  checkPlatform(p)
  const tables: { signature: string, address: number, bytes: Uint8Array }[] = []
  const links: AcpiLink[] = []
  let at = start
  const add = (bytes: Uint8Array, alignment = 16): number => {
    const address = Math.ceil(at / alignment) * alignment
    tables.push({ signature: signatureOf(bytes), address, bytes })
    at = address + bytes.length
    return address
  }
  const facs = add(Facs.create({ signature: ascii('FACS'), length: Facs.size, version: 2 }), 64)
  const dsdt = add(table('DSDT', 2, dsdtAml(p)))
  const listed = [add(fadt(p, facs, dsdt)), add(madt(p))]
  links.push(
    { at: listed[0] + Fadt.offset.firmwareCtrl, size: 4, to: facs },
    { at: listed[0] + Fadt.offset.dsdt, size: 4, to: dsdt },
    { at: listed[0] + Fadt.offset.xDsdt, size: 8, to: dsdt })
  if (p.ecam !== null) listed.push(add(mcfg(p.ecam)))
  if (p.hpet !== null) listed.push(add(hpet(p.hpet)))
  if (p.nodes !== undefined && p.nodes.length > 0) listed.push(add(srat(p.nodes)), add(slit(p, p.nodes.length)))
  for (const extra of p.extra) {
    const bytes = extra.slice()
    if (bytes.length < SdtHeader.size) {
      throw new BootError('ACPI', 'extra table', `${bytes.length} bytes, less than a header`)
    }
    setChecksum(bytes, SdtHeader.offset.checksum)
    listed.push(add(bytes))
  }
  const body = new Uint8Array(8 * listed.length)
  listed.forEach((address, i) => { new DataView(body.buffer).setBigUint64(8 * i, BigInt(address), true) })
  const xsdt = add(table('XSDT', 1, body))
  listed.forEach((address, i) => { links.push({ at: xsdt + SdtHeader.size + 8 * i, size: 8, to: address }) })
  // Small test kernels and old loaders only know the table with 32-bit addresses.
  const rsdt = add(table('RSDT', 1, new Uint8Array(Uint32Array.from(listed).buffer)))
  listed.forEach((address, i) => { links.push({ at: rsdt + SdtHeader.size + 4 * i, size: 4, to: address }) })
  return { tables, xsdt, rsdt, end: at, links }
}

/** The root pointer, whose checksums are right for these addresses. */
export function buildRsdp({ xsdt, rsdt }: Pick<AcpiBlock, 'xsdt' | 'rsdt'>): Uint8Array {
  const rsdp = Rsdp.create({
    signature: ascii('RSD PTR '), oemId: OEM.id, revision: 2, rsdtAddress: rsdt, length: Rsdp.size,
    xsdtAddress: BigInt(xsdt),
  })
  setChecksum(rsdp, Rsdp.offset.checksum, RSDP_FIRST_PART)
  setChecksum(rsdp, Rsdp.offset.extendedChecksum)
  return rsdp
}

/** What the first checksum of the RSDP covers (§5.2.5.3): the structure as ACPI 1.0 had it. */
export const RSDP_FIRST_PART = 20

/**
 * Builds RSDP, XSDT, RSDT, FADT, FACS, DSDT, MADT and, where the platform has them, MCFG, HPET, SRAT and SLIT.
 *
 * @throws BootError when the platform makes no sense or the tables need more than `place.length` bytes
 */
export function createAcpiTables(platform: AcpiPlatform, place: { address: number, length: number }): AcpiTables {
  const address = Math.ceil(place.address / 16) * 16
  const block = buildAcpiBlock(platform, address + Rsdp.size)
  const rsdp = buildRsdp(block)
  if (block.end > place.address + place.length) {
    throw new BootError('ACPI', 'size',
      `the tables take ${bytesText(block.end - place.address)}, their place has ${bytesText(place.length)}`)
  }
  const tables = [{ signature: 'RSD PTR ', address, bytes: rsdp }, ...block.tables]
  const bytes = new Uint8Array(block.end - place.address)
  for (const t of tables) bytes.set(t.bytes, t.address - place.address)
  return { bytes, rsdp: address, tables }
}
