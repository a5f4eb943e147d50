import { describe, expect, it } from 'vitest'
import {
  ACPI_FILES, BootError, createAcpiLoader, createFirmwareConfig, layOutFirmware, memoryCmos, variableStoreLength,
} from '../src/index.ts'
import type { AcpiPlatform, FirmwareConfigOptions } from '../src/index.ts'

const KIB = 1024
const VARIABLES = [0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50]

/** An image of `kib` KiB with something at its reset vector. */
const image = (kib: number, fill = 0x11): Uint8Array => {
  const bytes = new Uint8Array(kib * KIB).fill(fill)
  bytes.set([0xe9, 0, 0xf0], bytes.length - 16)
  return bytes
}
/** Puts the header of a variable store of `length` bytes at the start. */
const withStore = (bytes: Uint8Array, length: number): Uint8Array => {
  bytes.fill(0, 0, 16)
  bytes.set(VARIABLES, 16)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(32, BigInt(length), true)
  view.setUint32(40, 0x4856_465f, true)
  return bytes
}
const refusal = (make: () => unknown): string => {
  try {
    make()
  } catch (error) {
    if (error instanceof BootError) return error.message
    throw error
  }
  return 'accepted'
}

describe('a firmware image', () => {
  it('ends at 4 GiB, as one chip that can be written', () => {
    const { chips, variables } = layOutFirmware({ name: 'fw', bytes: image(64) })
    expect(chips.map(({ base, readOnly }) => [base, readOnly])).toEqual([[0xffff_0000, false]])
    expect(variables).toBeUndefined()
  })

  it('has its variable store at its start, where another store takes its place', () => {
    const bytes = withStore(image(64), 8192)
    const vars = withStore(new Uint8Array(8192).fill(0x22), 8192)
    expect(layOutFirmware({ name: 'fw', bytes }).variables).toEqual({ chip: 0, length: 8192 })
    const { chips, variables } = layOutFirmware({ name: 'fw', bytes }, { name: 'vars', bytes: vars })
    expect(variables).toEqual({ chip: 0, length: 8192 })
    expect([chips.length, chips[0].bytes[8191], chips[0].bytes[8192]]).toEqual([1, 0x22, 0x11])
    expect(bytes[8191]).toBe(0x11)
  })

  it('without a store has it in a chip below, and is then read-only', () => {
    const vars = withStore(new Uint8Array(8192), 8192)
    const { chips, variables } = layOutFirmware({ name: 'fw', bytes: image(64) }, { name: 'vars', bytes: vars })
    expect(chips.map(({ name, base, readOnly }) => [name, base, readOnly]))
      .toEqual([['fw', 0xffff_0000, true], ['vars', 0xfffe_e000, false]])
    expect(variables).toEqual({ chip: 1, length: 8192 })
  })

  it.each([
    ['an empty file', new Uint8Array(0), 'fw: size: the file is empty'],
    ['a short file', image(1).subarray(0, 100), 'fw: size: 100 bytes; a firmware image has a multiple of 4096'],
    ['a file of half pages', image(6), 'fw: size: 6144 bytes; a firmware image has a multiple of 4096'],
    ['a file that reaches the local APICs', image(16 * KIB + 4), 'fw: size: 16388 KiB; expected up to 16 MiB'],
    ['an empty reset vector', new Uint8Array(4096), 'fw: reset vector (the last 16 bytes): all 0x0; expected the '],
    ['an erased reset vector', new Uint8Array(4096).fill(0xff), 'fw: reset vector (the last 16 bytes): all 0xff; exp'],
    ['a store that is longer than the file', withStore(image(8), 0x1_0000),
      'fw: firmware volume header, FvLength: 0x10000 in a file of 0x2000 bytes; '
      + 'expected a multiple of 0x1000 inside it'],
    ['a store alone', withStore(image(8), 8192), 'fw: firmware volume header: a variable store and nothing else'],
  ])('is refused: %s', (_, bytes, message) => {
    expect(refusal(() => layOutFirmware({ name: 'fw', bytes }))).toContain(message)
  })

  it.each([
    ['no store', image(8), 'vars: firmware volume header: no variable store'],
    ['half a page', image(8).subarray(0, 100), 'vars: size: 100 bytes; a variable store has a multiple of 4096'],
    ['another size', withStore(new Uint8Array(16384), 16384),
      'vars: size: a store of 0x4000 bytes; that of fw has 0x2000'],
  ])('refuses variables: %s', (_, bytes, message) => {
    const fw = { name: 'fw', bytes: withStore(image(64), 8192) }
    expect(refusal(() => layOutFirmware(fw, { name: 'vars', bytes }))).toContain(message)
  })

  it('knows a store by its header only', () => {
    const other = withStore(image(64), 8192)
    other[16] ^= 1
    expect(variableStoreLength({ name: 'fw', bytes: other })).toBe(0)
    expect(variableStoreLength({ name: 'fw', bytes: new Uint8Array(8) })).toBe(0)
  })
})

const platform: AcpiPlatform = {
  apicIds: [0, 1], nodes: [{ ranges: [{ start: 0, length: 2 ** 30 }], apicIds: [0, 1] }],
}
const sumOf = (bytes: Uint8Array): number => bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0)

/** Does what the script says, as firmware would, with the tables at `tablesAt`. */
function runLoader(files: Record<string, Uint8Array>, tablesAt: number): void {
  const script = files[ACPI_FILES.loader]
  const name = (at: number): string => new TextDecoder().decode(script.subarray(at, at + 56)).replace(/\0.*$/s, '')
  const view = new DataView(script.buffer)
  const allocated: string[] = []
  for (let at = 0; at < script.length && view.getUint32(at, true) !== 0; at += 128) {
    const number = (offset: number): number => view.getUint32(at + offset, true)
    const file = files[name(at + 4)]
    switch (number(0)) {
      case 1:
        expect(number(60) & (number(60) - 1)).toBe(0)
        allocated.push(name(at + 4))
        break
      case 2: {
        expect(allocated).toContain(name(at + 60))
        const [field, size] = [number(116), script[at + 120]]
        const bytes = new DataView(file.buffer, file.byteOffset)
        if (size === 8) bytes.setBigUint64(field, bytes.getBigUint64(field, true) + BigInt(tablesAt), true)
        else bytes.setUint32(field, bytes.getUint32(field, true) + tablesAt, true)
        break
      }
      case 3: {
        const [result, start, length] = [number(60), number(64), number(68)]
        file[result] = -sumOf(file.subarray(start, start + length)) & 0xff
        break
      }
      default: throw new Error(`command ${number(0)}`)
    }
  }
  expect(allocated).toEqual([ACPI_FILES.rsdp, ACPI_FILES.tables])
}

describe('ACPI tables for firmware', () => {
  const load = (tablesAt: number) => {
    const { tables, rsdp, loader } = createAcpiLoader(platform)
    runLoader({ [ACPI_FILES.tables]: tables, [ACPI_FILES.rsdp]: rsdp, [ACPI_FILES.loader]: loader }, tablesAt)
    return { tables, rsdp }
  }

  it('have right checksums and addresses wherever they are put', () => {
    const at = 0x7f00_0000
    const { tables, rsdp } = load(at)
    const view = new DataView(tables.buffer)
    const signature = (offset: number): string => new TextDecoder().decode(tables.subarray(offset, offset + 4))
    const table = (address: number): Uint8Array =>
      tables.subarray(address - at, address - at + view.getUint32(address - at + 4, true))
    expect([sumOf(rsdp.subarray(0, 20)), sumOf(rsdp)]).toEqual([0, 0])
    const xsdt = Number(new DataView(rsdp.buffer).getBigUint64(24, true))
    expect([signature(xsdt - at), sumOf(table(xsdt))]).toEqual(['XSDT', 0])
    const listed = Array.from({ length: (table(xsdt).length - 36) / 8 }, (_, i) =>
      Number(view.getBigUint64(xsdt - at + 36 + 8 * i, true)))
    expect(listed.map((address) => signature(address - at))).toEqual(['FACP', 'APIC', 'MCFG', 'HPET', 'SRAT', 'SLIT'])
    expect(listed.map((address) => sumOf(table(address)))).toEqual([0, 0, 0, 0, 0, 0])
    const [fadt] = listed
    expect(signature(view.getUint32(fadt - at + 36, true) - at)).toBe('FACS')
    expect(signature(view.getUint32(fadt - at + 40, true) - at)).toBe('DSDT')
    expect(signature(Number(view.getBigUint64(fadt - at + 140, true)) - at)).toBe('DSDT')
  })

  it('are made anew, in files of the same size, when the guest reads them', () => {
    let ecam: AcpiPlatform['ecam'] = null
    const { files } = createFirmwareConfig({
      ram: [{ start: 0, length: 2 ** 30 }], vcpus: 1, acpi: () => ({ ...platform, ecam }),
      smbios: { manufacturer: 'm', product: 'p', version: 'v', date: '01/01/2024', memory: 2 ** 30 },
    })
    const file = (name: string) => files.find((f) => f.name === name) ?? expect.fail(name)
    const tables = file(ACPI_FILES.tables)
    const text = (): string => new TextDecoder('latin1').decode(tables.data)
    expect(text()).not.toContain('MCFG')
    ecam = { base: 0xe000_0000, buses: 256 }
    tables.onSelect?.()
    expect(text()).toContain('MCFG')
    expect(file(ACPI_FILES.loader).data.length % 4096).toBe(0)
  })
})

describe('what firmware reads', () => {
  const options: FirmwareConfigOptions = {
    ram: [{ start: 0, length: 2 ** 31 }, { start: 2 ** 32, length: 2 ** 30 }], vcpus: 4,
  }
  const item = (key: number, made = createFirmwareConfig(options)): number[] =>
    [...made.items.find(([k]) => k === key)?.[1] ?? []]

  it('says how many processors and how much memory there are', () => {
    expect([item(5), item(0xf), item(3)]).toEqual([[4, 0], [4, 0], [0, 0, 0, 0xc0, 0, 0, 0, 0]])
    const e820 = createFirmwareConfig(options).files.find(({ name }) => name === 'etc/e820')?.data
    expect(e820?.length).toBe(40)
    expect([...e820?.subarray(20, 40) ?? []]).toEqual([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 1, 0, 0, 0])
  })

  it('holds a kernel as one piece of setup and one of kernel, unchanged', () => {
    const kernel = new Uint8Array(4096).fill(7)
    kernel.set([0x4d, 0x5a])
    const made = createFirmwareConfig({ ...options, kernel, cmdline: 'quiet' })
    expect([...item(0x18, made), ...item(0x11, made)]).toEqual([...kernel])
    expect([item(0x14, made), item(0x15, made)]).toEqual([[6, 0, 0, 0], [...new TextEncoder().encode('quiet\0')]])
  })

  it('refuses a kernel that is no EFI program', () => {
    expect(refusal(() => createFirmwareConfig({ ...options, kernel: new Uint8Array(4096) })))
      .toContain('kernel: format: no EFI program')
    expect(refusal(() => createFirmwareConfig({ ...options, kernel: new Uint8Array(0) })))
      .toBe('kernel: size: the file is empty')
  })

  it('names the disks to boot from, in their order', () => {
    const made = createFirmwareConfig({ ...options, bootSlots: [2, 11] })
    const order = made.files.find(({ name }) => name === 'bootorder')?.data
    expect(new TextDecoder().decode(order)).toBe('/pci@i0cf8/scsi@2/disk@0,0\n/pci@i0cf8/scsi@b/disk@0,0\n\0')
    expect(createFirmwareConfig(options).files.map(({ name }) => name)).toEqual(['etc/e820'])
  })

  it('tells of memory in CMOS too', () => {
    const cmos = new Map(memoryCmos(options.ram))
    const word = (at: number): number => (cmos.get(at) ?? 0) + (cmos.get(at + 1) ?? 0) * 256
    expect([word(0x15), word(0x17), word(0x34), word(0x5b), cmos.get(0x5d)])
      .toEqual([640, 0xffff, (2 ** 31 - 2 ** 24) / 65536, 2 ** 30 / 65536, 0])
  })
})
