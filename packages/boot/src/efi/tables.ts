/**
 * EFI as a kernel sees it after ExitBootServices: system table, configuration tables, and runtime services that say of
 * themselves that they do nothing (UEFI 2.10, chapters 4 and 8).
 */
import {
  EFI_REVISION_2_10, EFI_RUNTIME_SERVICES_SIGNATURE, EFI_SYSTEM_TABLE_SIGNATURE, EFI_UNSUPPORTED, EfiConfigurationTable,
  EfiGuid, EfiMemoryType, EfiRtProperties, EfiRtSupported, EfiRuntimeServices, EfiSystemTable, EfiTableHeader, guidBytes,
} from '@cofferdam/spec'
import { createAssembler, Reg } from '../cc/assembler.ts'
import { crc32 } from './crc32.ts'
import type { EfiLayout } from './layout.ts'

/** An entry of the configuration table: a GUID in text form and the table's address. */
export type ConfigurationTable = readonly [guid: string, address: number]

/** Sets a table's header and, last, its checksum. */
function finish(table: Uint8Array, signature: bigint): Uint8Array {
  const view = new DataView(table.buffer)
  EfiTableHeader.write(view, { signature, revision: EFI_REVISION_2_10, headerSize: table.length })
  EfiTableHeader.set(view, 'crc32', crc32(table))
  return table
}

/** Code of the services: SetVirtualAddressMap has nothing to move and succeeds, everything else is unsupported. */
function serviceCode(): { code: Uint8Array, unsupported: number } {
  const a = createAssembler()
  a.set(Reg.rax, 0)
  a.plain('ret')
  a.label('unsupported')
  a.set(Reg.rax, EFI_UNSUPPORTED)
  a.plain('ret')
  return { code: a.assemble(), unsupported: a.offsetOf('unsupported') }
}

/** Name of the firmware, as the kernel's log shows it. */
const VENDOR = 'Cofferdam direct boot'

/** Places the tables; answers the system table's address. */
export function putEfiTables(layout: EfiLayout, tables: readonly ConfigurationTable[]): number {
  const { code, unsupported } = serviceCode()
  const services = BigInt(layout.put('EFI runtime code', EfiMemoryType.RUNTIME_SERVICES_CODE, code))
  const bytes = new Uint8Array(4096)
  const base = layout.put('EFI tables', EfiMemoryType.RUNTIME_SERVICES_DATA, bytes)
  let used = 0
  const add = (part: Uint8Array): bigint => {
    const at = used
    bytes.set(part, at)
    used = Math.ceil((at + part.length) / 16) * 16
    return BigInt(base + at)
  }
  // The system table comes first, so that its address is the page's; it is written when the others are known.
  add(new Uint8Array(EfiSystemTable.size))
  const functions = Object.keys(EfiRuntimeServices.fields).filter((name) => name !== 'header')
  const runtime = add(finish(EfiRuntimeServices.create({
    ...Object.fromEntries(functions.map((name) => [name, services + BigInt(unsupported)])),
    setVirtualAddressMap: services,
  }), EFI_RUNTIME_SERVICES_SIGNATURE))
  const properties = add(EfiRtProperties.create({
    version: 1, length: EfiRtProperties.size, supported: EfiRtSupported.mask.SET_VIRTUAL_ADDRESS_MAP,
  }))
  const vendor = new Uint8Array(2 * VENDOR.length + 2)
  for (let i = 0; i < VENDOR.length; i++) vendor[2 * i] = VENDOR.charCodeAt(i)
  const firmwareVendor = add(vendor)
  const all: ConfigurationTable[] = [...tables, [EfiGuid.RT_PROPERTIES, Number(properties)]]
  const list = new Uint8Array(all.length * EfiConfigurationTable.size)
  all.forEach(([guid, address], i) => {
    EfiConfigurationTable.write(new DataView(list.buffer), {
      vendorGuid: guidBytes(guid), vendorTable: BigInt(address),
    }, i * EfiConfigurationTable.size)
  })
  const configurationTable = add(list)
  bytes.set(finish(EfiSystemTable.create({
    firmwareVendor, firmwareRevision: 1, runtimeServices: runtime, numberOfTableEntries: BigInt(all.length),
    configurationTable,
  }), EFI_SYSTEM_TABLE_SIGNATURE))
  return base
}
