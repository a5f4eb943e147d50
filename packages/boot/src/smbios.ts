/** SMBIOS tables: what `dmidecode` and the first lines of a kernel's log say of a machine. */
import {
  SmbiosBios, SmbiosBoot, SmbiosChassis, SmbiosEntry, SmbiosHeader, SmbiosMemoryArray, SmbiosMemoryDevice, SmbiosSystem,
  SmbiosType,
} from '@cofferdam/spec'

/** What the tables say. */
export interface SmbiosInfo {
  readonly manufacturer: string
  readonly product: string
  /** Version of machine and firmware. */
  readonly version: string
  /** Release date of the firmware, mm/dd/yyyy. */
  readonly date: string
  /** RAM in bytes. */
  readonly memory: number
}

const MIB = 2 ** 20
/** Values that say "other" and "unknown", and states that are safe (§7.4.1, §7.4.3). */
const UNKNOWN = 2
const SAFE = 3
/** Characteristics are not supported; a virtual machine (§7.1.1, §7.1.2.2 bit 4). */
const NO_CHARACTERISTICS = 8n
const IS_VIRTUAL = 0x10

/** Appends a structure, its strings and the final zero. */
function createTable() {
  const parts: Uint8Array[] = []
  let handle = 0
  return {
    add(type: number, body: Uint8Array, strings: readonly string[] = []): number {
      SmbiosHeader.write(new DataView(body.buffer), { type, length: body.length, handle })
      const text = new TextEncoder().encode(strings.length === 0 ? '\0\0' : `${strings.join('\0')}\0\0`)
      parts.push(body, text)
      return handle++
    },
    bytes(): Uint8Array {
      const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
      let at = 0
      for (const part of parts) {
        all.set(part, at)
        at += part.length
      }
      return all
    },
  }
}

function structures(info: SmbiosInfo): Uint8Array {
  const table = createTable()
  table.add(SmbiosType.BIOS, SmbiosBios.create({
    vendor: 1, version: 2, releaseDate: 3, startSegment: 0xe000, characteristics: NO_CHARACTERISTICS,
    extension2: IS_VIRTUAL, controllerMajor: 0xff, controllerMinor: 0xff,
  }), [info.manufacturer, info.version, info.date])
  table.add(SmbiosType.SYSTEM, SmbiosSystem.create({ manufacturer: 1, product: 2, version: 3, wakeUp: 6 }),
    [info.manufacturer, info.product, info.version])
  table.add(SmbiosType.CHASSIS, SmbiosChassis.create({
    manufacturer: 1, type: 1, bootState: SAFE, powerState: SAFE, thermalState: SAFE, security: UNKNOWN,
  }), [info.manufacturer])
  const array = table.add(SmbiosType.MEMORY_ARRAY, SmbiosMemoryArray.create({
    location: 1, use: 3, correction: 3, capacityKiB: 0x8000_0000, errors: 0xfffe, devices: 1,
    extendedCapacity: BigInt(info.memory),
  }))
  const mib = Math.ceil(info.memory / MIB)
  table.add(SmbiosType.MEMORY_DEVICE, SmbiosMemoryDevice.create({
    array, errors: 0xfffe, totalWidth: 0xffff, dataWidth: 0xffff, size: mib < 0x7fff ? mib : 0x7fff,
    extendedSize: mib < 0x7fff ? 0 : mib, formFactor: 9, locator: 1, type: 7, detail: UNKNOWN,
  }), ['DIMM 0'])
  table.add(SmbiosType.BOOT, SmbiosBoot.create())
  table.add(SmbiosType.END, SmbiosHeader.create())
  return table.bytes()
}

/** Entry point and structures apart, for firmware that puts them where it likes. */
export interface SmbiosParts {
  readonly entry: Uint8Array
  readonly tables: Uint8Array
}

/**
 * Builds the entry point and the structures.
 * @param address - where the structures will lie; firmware that moves them sets it, and the checksum, itself
 */
export function createSmbiosParts(info: SmbiosInfo, address = 0): SmbiosParts {
  const tables = structures(info)
  const entry = SmbiosEntry.create({
    anchor: new TextEncoder().encode('_SM3_'), length: SmbiosEntry.size, major: 3, minor: 4, revision: 1,
    tableLength: tables.length, tableAddress: BigInt(address),
  })
  entry[SmbiosEntry.offset.checksum] = -entry.reduce((sum, byte) => sum + byte, 0) & 0xff
  return { entry, tables }
}

/**
 * Builds the entry point and, behind it, the structures.
 * @param address - where the bytes will lie: a multiple of 16 in 0xf0000–0xfffff
 */
export function createSmbios(info: SmbiosInfo, address: number): Uint8Array {
  const start = Math.ceil(SmbiosEntry.size / 16) * 16
  const { entry, tables } = createSmbiosParts(info, address + start)
  const bytes = new Uint8Array(start + tables.length)
  bytes.set(entry)
  bytes.set(tables, start)
  return bytes
}
