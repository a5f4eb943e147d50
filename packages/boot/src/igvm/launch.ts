/** The launch of an SNP guest from an IGVM file: what is added in which order, with what the host has to tell. */
import { IgvmMemoryMapEntry, IgvmMemoryRange, IgvmMemoryType } from '@cofferdam/spec'
import type { AcpiPlatform } from '../acpi/platform.ts'
import { buildAcpiBlock } from '../acpi/tables.ts'
import type { SnpLaunch, SnpLaunchPages } from '../cc/launch.ts'
import { BootError, hex } from '../error.ts'
import { concat } from './bytes.ts'
import { parseIgvm } from './parse.ts'
import type { IgvmDirective, IgvmParameterKind } from './types.ts'

interface Range {
  readonly start: number
  readonly length: number
}

/** What {@link igvmLaunch} needs: the file, and what the host tells its guest. */
export interface IgvmLaunchOptions {
  readonly file: { readonly name: string, readonly bytes: Uint8Array }
  readonly vcpus: number
  /** RAM by ranges, in whole pages: the memory map. */
  readonly ram: readonly Range[]
  /** Ranges for MMIO, below and above 4 GiB. */
  readonly mmio: readonly [Range, Range]
  /** For the command line parameter. */
  readonly cmdline: string
  /** For the ACPI tables. */
  readonly acpi: AcpiPlatform
}

const PAGE = 4096
const pageNumber = (address: number): bigint => BigInt(address / PAGE)

const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)

const table = (signature: string) => ({ acpi }: IgvmLaunchOptions): Uint8Array | undefined =>
  buildAcpiBlock(acpi, 0).tables.find((one) => one.signature === signature)?.bytes

/** What the host writes for each kind of parameter; undefined for what it has not. */
const PARAMETERS: Readonly<Record<IgvmParameterKind, (options: IgvmLaunchOptions) => Uint8Array | undefined>> = {
  'VP count': ({ vcpus }) => word(vcpus),
  // An entry without pages ends the map.
  'memory map': ({ ram }) => concat([...ram.map(({ start, length }) => IgvmMemoryMapEntry.create({
    startingGpaPageNumber: pageNumber(start), numberOfPages: pageNumber(length), entryType: IgvmMemoryType.MEMORY,
  })), IgvmMemoryMapEntry.create()]),
  'command line': ({ cmdline }) => new TextEncoder().encode(`${cmdline}\0`),
  'MMIO ranges': ({ mmio }) => concat(mmio.map(({ start, length }) => IgvmMemoryRange.create({
    startingGpaPageNumber: pageNumber(start), numberOfPages: pageNumber(length),
  }))),
  // Memory is private until the guest says otherwise.
  'environment': () => word(0),
  'MADT': table('APIC'),
  'SRAT': table('SRAT'),
  'SLIT': table('SLIT'),
  'PPTT': () => undefined,
  'device tree': () => undefined,
}

/** Has the host write its parameters into their areas: the contents of each area that is inserted, in that order. */
function parameters(options: IgvmLaunchOptions, directives: readonly IgvmDirective[]): Uint8Array[] {
  const areas = new Map<number, Uint8Array>()
  const inserted: Uint8Array[] = []
  const areaOf = (index: number): Uint8Array => areas.get(index) ?? new Uint8Array(0)
  const refuse = (what: string, problem: string): never => {
    throw new BootError(options.file.name, `parameter ${what}`, problem)
  }
  for (const d of directives) {
    if (d.kind === 'area') areas.set(d.index, d.initial?.slice() ?? new Uint8Array(d.length))
    else if (d.kind === 'insert') inserted.push(areaOf(d.index))
    else if (d.kind === 'parameter') {
      const bytes = PARAMETERS[d.what](options) ?? refuse(d.what, 'this host has none to write')
      const area = areaOf(d.index)
      if (d.offset + bytes.length > area.length) {
        refuse(d.what, `${bytes.length} bytes at ${hex(d.offset)} of an area of ${hex(area.length)} bytes`)
      }
      area.set(bytes, d.offset)
    }
  }
  return inserted
}

/**
 * What a file adds to a guest, in order.
 * @param areas contents of the areas for parameters, as they are inserted; the measurement does without
 */
export function igvmPages(directives: readonly IgvmDirective[], areas: readonly Uint8Array[] = []): SnpLaunchPages[] {
  const lengths = new Map<number, number>()
  let inserted = 0
  return directives.flatMap((d): SnpLaunchPages[] => {
    switch (d.kind) {
      case 'page': {
        // As QEMU loads it (backends/igvm.c) and `igvmmeasure --native-zero` measures it; other loaders add a page of
        // zeroes there, with another measurement.
        const type = d.type === 'normal' && d.bytes === undefined ? 'zero' : d.type
        return [{ name: `${type} page`, start: d.gpa, length: d.length, type, bytes: d.bytes }]
      }
      case 'vp':
        return [{ name: `VMSA of VP ${d.vp}`, start: d.gpa, length: PAGE, type: 'vmsa', bytes: d.vmsa, vp: d.vp }]
      case 'insert': return [{
        name: 'parameters', start: d.gpa, length: lengths.get(d.index) ?? 0, type: 'unmeasured',
        bytes: areas.at(inserted++),
      }]
      case 'area':
        lengths.set(d.index, d.length)
        return []
      default: return []
    }
  })
}

/** @throws BootError when the guest has not the memory or the processors that the file names */
function checkGuest({ file: { name }, vcpus, ram }: IgvmLaunchOptions, directives: readonly IgvmDirective[]): void {
  for (const d of directives) {
    if (d.kind === 'vp' && d.vp >= vcpus) {
      throw new BootError(name, `VP_CONTEXT of VP ${d.vp}`, `the guest has ${vcpus} processors`)
    }
    if (d.kind === 'required' && !isInside(ram, d.gpa, d.length)) {
      throw new BootError(
        name, `REQUIRED_MEMORY at ${hex(d.gpa)}`, `${hex(d.length)} bytes are not in the guest's RAM; give it more`,
      )
    }
  }
}

const isInside = (ram: readonly Range[], start: number, length: number): boolean =>
  ram.some((r) => start >= r.start && start + length <= r.start + r.length)

/** @throws BootError for pages that are added twice */
function checkOverlap(name: string, launch: readonly SnpLaunchPages[]): void {
  const sorted = launch.filter(({ type }) => type !== 'vmsa').sort((a, b) => a.start - b.start)
  sorted.forEach(({ start }, i) => {
    const before = sorted.at(i - 1)
    if (i > 0 && before !== undefined && before.start + before.length > start) {
      throw new BootError(name, `page at ${hex(start)}`, 'it is added twice')
    }
  })
}

/**
 * The launch that a file describes.
 * @throws BootError for a file that is none or not for this guest: the header or parameter, and what was expected
 */
export function igvmLaunch(options: IgvmLaunchOptions): SnpLaunch {
  const { file: { name, bytes } } = options
  const { policy, identity, directives } = parseIgvm(bytes, name)
  checkGuest(options, directives)
  const launch = igvmPages(directives, parameters(options, directives))
  checkOverlap(name, launch)
  return { launch, policy, identity }
}
