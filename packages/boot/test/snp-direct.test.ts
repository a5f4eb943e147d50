import {
  BootParams, CC_BLOB_MAGIC, CcBlob, E820Type, EfiConfigurationTable, EfiGuid, EfiMemoryType, EfiSystemTable, guidBytes,
  LinuxUnacceptedMemory, SetupDataHead, SetupHeader, Vmsa,
} from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import {
  BootError, snpDirectBoot, takesUnacceptedMemory, VMSA_GPA, type SnpDirectImage, type SnpDirectOptions,
} from '../src/index.ts'
import { readImage, realKernels, syntheticBzImage, syntheticCpio } from './images.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30
const UNIT = 2 * MiB

/** A kernel that looks for the table of unaccepted memory, as compilers leave its GUID in code. */
function lazyKernel(): Uint8Array {
  const image = syntheticBzImage()
  const guid = guidBytes(EfiGuid.LINUX_UNACCEPTED_MEMORY)
  image.set(guid.subarray(0, 8), 0x2002)
  image.set(guid.subarray(8), 0x200e)
  return image
}

const build = (memory: number, more: Partial<SnpDirectOptions> = {}): SnpDirectImage => snpDirectBoot({
  kernel: lazyKernel(), initrd: syntheticCpio(5000), cmdline: 'console=ttyS0', memory, acpi: { apicIds: [0, 1] },
  smbios: { manufacturer: 'x', product: 'y', version: '1', date: '01/01/2024', memory }, cBit: 51, accept: 'lazy',
  ...more,
})

/** What the launch puts into the guest's memory; VMSAs are elsewhere. */
const pagesOf = ({ launch }: SnpDirectImage) => launch.filter(({ type }) => type !== 'vmsa')

/** Guest memory as the launch leaves it. */
function reader({ launch }: SnpDirectImage) {
  return (address: number, length: number): DataView => {
    const pages = launch.find((p) => address >= p.start && address < p.start + p.length)
    if (pages === undefined) throw new Error(`0x${address.toString(16)} was not launched`)
    const bytes = new Uint8Array(length)
    bytes.set((pages.bytes ?? new Uint8Array(0)).subarray(address - pages.start, address - pages.start + length))
    return new DataView(bytes.buffer)
  }
}

/** What the kernel is told of: boot_params and the tables that it leads to. */
function handOver(built: SnpDirectImage) {
  const read = reader(built)
  const zeroPage = built.launch.find((p) => p.name === 'boot_params')
  const params = read(zeroPage?.start ?? 0, 4096)
  const system = EfiSystemTable.read(read(BootParams.get(params, 'efiSystab'), EfiSystemTable.size))
  const tables = new Map(Array.from({ length: Number(system.numberOfTableEntries) }, (_, i) => {
    const at = Number(system.configurationTable) + i * EfiConfigurationTable.size
    const { vendorGuid, vendorTable } = EfiConfigurationTable.read(read(at, EfiConfigurationTable.size))
    const name = Object.entries(EfiGuid).find(([, guid]) => guidBytes(guid).every((b, j) => b === vendorGuid[j]))?.[0]
    return [name, Number(vendorTable)]
  }))
  return { read, params, system, tables }
}

const SIZES = [64 * MiB, 256 * MiB, 2 * GiB, 4095 * MiB, 4097 * MiB, 3 * GiB + 2 * MiB + 4096, 64 * GiB, 1024 * GiB]

describe.each(SIZES)('direct boot of an SNP guest with %d bytes of memory', (memory) => {
  const built = build(memory)
  const ram = built.map.filter((r) => r.type !== E820Type.RESERVED || r.start < 2 ** 31)
  const unaccepted = built.efiMap.filter((r) => r.type === EfiMemoryType.UNACCEPTED)

  it('launches, accepts or leaves to the kernel each page of RAM, exactly once', () => {
    const all = [...pagesOf(built), ...built.accepted, ...unaccepted].sort((a, b) => a.start - b.start)
    const total = all.reduce((sum, r) => sum + r.length, 0)
    expect(total).toBe(ram.reduce((sum, r) => sum + r.length, 0))
    for (const [i, range] of all.entries()) {
      expect(range.start % 4096 + range.length % 4096).toBe(0)
      if (i > 0) expect(range.start).toBeGreaterThanOrEqual(all[i - 1].start + all[i - 1].length)
    }
  })

  it('leaves whole units only, and says so in the table', () => {
    const { read, tables } = handOver(built)
    const at = tables.get('LINUX_UNACCEPTED_MEMORY') ?? 0
    const table = LinuxUnacceptedMemory.read(read(at, LinuxUnacceptedMemory.size))
    expect(table).toMatchObject({ version: 1, unitSize: UNIT })
    const bitmap = new Uint8Array(read(at + LinuxUnacceptedMemory.size, Number(table.size)).buffer)
    const marked = bitmap.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
    expect(marked * UNIT).toBe(unaccepted.reduce((sum, r) => sum + r.length, 0))
    for (const { start, length } of unaccepted) {
      expect(start % UNIT + length % UNIT).toBe(0)
      for (const unit of [start, start + length - UNIT]) {
        const bit = (unit - Number(table.physBase)) / UNIT
        expect(bitmap[bit >> 3] >> (bit & 7) & 1).toBe(1)
      }
    }
  })

  it('has the low 640 KiB and the room that the kernel unpacks itself in accepted or launched', () => {
    const held = [...pagesOf(built), ...built.accepted].sort((a, b) => a.start - b.start)
    const holds = (from: number, to: number): boolean => {
      let at = from
      for (const { start, length } of held) if (start <= at && start + length > at) at = start + length
      return at >= to
    }
    expect(holds(0, 0xa_0000)).toBe(true)
    const load = built.launch.find((p) => p.name === 'kernel')?.start ?? 0
    expect(holds(load, load + built.image.initSize)).toBe(true)
  })
})

describe('direct boot of an SNP guest', () => {
  it('names the CC blob in setup_data and in the EFI configuration table', () => {
    const { read, params, tables } = handOver(build(GiB))
    const blob = tables.get('CC_BLOB') ?? 0
    expect(CcBlob.get(read(blob, CcBlob.size), 'magic')).toBe(CC_BLOB_MAGIC)
    const node = read(Number(SetupHeader.get(params, 'setupData')), SetupDataHead.size + 4)
    expect(SetupDataHead.get(node, 'type')).toBe(7)
    expect(node.getUint32(SetupDataHead.size, true)).toBe(blob)
  })

  it('launches one secrets page and one CPUID page, where the blob says', () => {
    const built = build(GiB)
    const { read, tables } = handOver(built)
    const blob = CcBlob.read(read(tables.get('CC_BLOB') ?? 0, CcBlob.size))
    const special = built.launch.filter((p) => p.type === 'secrets' || p.type === 'cpuid')
    expect(special.map(({ type, start, length }) => [type, BigInt(start), length])).toEqual([
      ['secrets', blob.secretsPhys, 4096], ['cpuid', blob.cpuidPhys, 4096],
    ])
  })

  it('leads to ACPI and SMBIOS tables through EFI, and keeps out of the range of the old ROMs', () => {
    const built = build(GiB)
    const { read, params, tables } = handOver(built)
    const rsdp = tables.get('ACPI_20') ?? 0
    expect(new TextDecoder().decode(new Uint8Array(read(rsdp, 8).buffer))).toBe('RSD PTR ')
    expect(BootParams.get(params, 'acpiRsdpAddr')).toBe(BigInt(rsdp))
    expect(new TextDecoder().decode(new Uint8Array(read(tables.get('SMBIOS3') ?? 0, 5).buffer))).toBe('_SM3_')
    const old = [...pagesOf(built), ...built.accepted].filter((r) => r.start < MiB && r.start + r.length > 0xa_0000)
    expect(old).toEqual([])
  })

  it('accepts everything for a kernel that does not know unaccepted memory, and when it is told to', () => {
    for (const more of [{ kernel: syntheticBzImage() }, { accept: 'eager' as const }]) {
      const built = build(4097 * MiB, more)
      expect(built.efiMap.filter((r) => r.type === EfiMemoryType.UNACCEPTED)).toEqual([])
      expect(handOver(built).tables.has('LINUX_UNACCEPTED_MEMORY')).toBe(false)
      const held = [...pagesOf(built), ...built.accepted].reduce((sum, r) => sum + r.length, 0)
      expect(held).toBe(4097 * MiB - (MiB - 0xa_0000))
    }
  })

  it('starts the boot stage in long mode with the C-bit in CR3, and SVME set', () => {
    const built = build(GiB, { features: 1n << 5n })
    const last = built.launch.at(-1)
    expect(last).toMatchObject({ type: 'vmsa', start: VMSA_GPA, vp: 0 })
    const vmsa = Vmsa.read(new DataView(last?.bytes?.buffer ?? new ArrayBuffer(0)))
    const stage = built.launch.find((p) => p.name === 'boot stage')
    expect(vmsa.rip).toBe(BigInt(stage?.start ?? 0))
    expect(vmsa.cr3 >> 51n).toBe(1n)
    expect(vmsa.efer).toBe(0x1500n)
    expect(vmsa.sevFeatures).toBe(0x21n)
  })

  it('maps every byte of RAM one to one with the C-bit, and the GHCB once more without', () => {
    const built = build(4097 * MiB)
    const read = reader(built)
    const walk = (va: bigint): bigint => {
      let table = built.state.cr3
      for (const shift of [39n, 30n, 21n, 12n]) {
        const at = Number(table & 0x7_ffff_ffff_f000n) + 8 * Number(va >> shift & 0x1ffn)
        const entry = read(at, 8).getBigUint64(0, true)
        if (shift === 12n || (entry & 0x80n) !== 0n) return entry & ~((1n << shift) - 1n) | va & ((1n << shift) - 1n)
        table = entry
      }
      return 0n
    }
    for (const va of [0n, 0x80_0000n, 0x1_8008_0123n]) expect(walk(va)).toBe(va | 1n << 51n)
    const ghcb = built.launch.find((p) => p.name === 'boot stage GHCB')
    expect(walk(0x7fff_ffff_f000n)).toBe(BigInt(ghcb?.start ?? 0))
  })

  it('refuses a kernel without 64-bit entry and memory that the kernel does not fit in', () => {
    expect(() => build(GiB, { kernel: syntheticBzImage({ xloadflags: 0 }) })).toThrow(BootError)
    expect(() => build(GiB, { kernel: syntheticBzImage({ prefAddress: 0x100_0010n }) })).toThrow(/pref_address/)
    expect(() => build(16 * MiB, { kernel: syntheticBzImage({ initSize: 16 * MiB }) })).toThrow(/give it more memory/)
  })
})

describe('takesUnacceptedMemory', () => {
  it('wants both halves of the GUID, near each other', () => {
    expect(takesUnacceptedMemory(lazyKernel())).toBe(true)
    const apart = syntheticBzImage()
    const guid = guidBytes(EfiGuid.LINUX_UNACCEPTED_MEMORY)
    apart.set(guid.subarray(0, 8), 0x1000)
    apart.set(guid.subarray(8), 0x3000)
    expect(takesUnacceptedMemory(apart)).toBe(false)
  })

  it.each(realKernels())('knows what $name takes', ({ name, path }) => {
    expect(takesUnacceptedMemory(readImage(path))).toBe(!name.startsWith('bookworm'))
  })
})
