/** The directives of an IGVM file that are for an SNP guest (microsoft/igvm, igvm_defs). */
import {
  IgvmGuestPolicy, IgvmPageData, IgvmPageFlags, IgvmPageType, IgvmParameter, IgvmParameterArea, IgvmParameterInsert,
  IgvmPlatform, IgvmRequiredMemory, IgvmSupportedPlatform, IgvmType, IgvmVpContext, IgvmErrorRange, SevFeatures, Vmsa,
} from '@cofferdam/spec'
import { BootError, hex } from '../error.ts'
import { viewOf } from './bytes.ts'
import { readIdBlock } from './id-block.ts'
import { igvmTypeName, openIgvm, type IgvmEntry, type IgvmReader } from './reader.ts'
import type { IgvmDirective, IgvmImage, IgvmPageKind, IgvmParameterKind } from './types.ts'

const PAGE = 4096
const LARGE = 2 ** 21
/** Guest physical addresses end here; so do the numbers that this loader calculates with. */
const ADDRESSES = 2n ** 52n
/** Bytes of all parameter areas together: what a loader has to say takes a few pages. */
const MAX_AREAS = 64 * 2 ** 20

/** What the functions below know of the file. */
interface Context {
  readonly reader: IgvmReader
  /** Sizes of the areas that are there, and not inserted yet. */
  readonly areas: Map<number, number>
  areaBytes: number
  readonly seen: Set<string>
}

type Directive = (context: Context, entry: IgvmEntry) => IgvmDirective | undefined

/** An address that is a multiple of the page size. */
function address({ reader }: Context, entry: IgvmEntry, gpa: bigint, alignment = PAGE): number {
  if (gpa >= ADDRESSES || gpa % BigInt(alignment) !== 0n) {
    reader.refuse(entry, `gpa ${hex(gpa)}; expected a multiple of ${hex(alignment)} below 2^52`)
  }
  return Number(gpa)
}

function reserved({ reader }: Context, entry: IgvmEntry, value: number): void {
  if (value !== 0) reader.refuse(entry, `a reserved field is ${hex(value)}; expected 0`)
}

function once({ seen, reader }: Context, entry: IgvmEntry, what: string): void {
  if (seen.has(what)) reader.refuse(entry, `${what} is there twice`)
  seen.add(what)
}

const PAGE_KINDS: Readonly<Record<number, IgvmPageKind>> = {
  [IgvmPageType.NORMAL]: 'normal', [IgvmPageType.SECRETS]: 'secrets',
  // SNP has one type for both: the firmware checks either table.
  [IgvmPageType.CPUID_DATA]: 'cpuid', [IgvmPageType.CPUID_XF]: 'cpuid',
}

const pageData: Directive = (context, entry) => {
  const { reader } = context
  const { gpa, fileOffset, flags, dataType, reserved: rest } = reader.read(entry, IgvmPageData)
  const known: Readonly<Record<number, IgvmPageKind | undefined>> = PAGE_KINDS
  const type = known[dataType] ?? reader.refuse(entry, `data_type ${dataType}; expected 0 to 3`)
  reserved(context, entry, rest)
  if ((flags & ~IgvmPageFlags.used) !== 0) reader.refuse(entry, `flags ${hex(flags)}; expected none but bits 0 to 2`)
  const { is2mbPage, unmeasured, shared } = IgvmPageFlags.unpack(flags)
  const length = is2mbPage === 1 ? LARGE : PAGE
  if (type !== 'normal' && flags !== 0) {
    reader.refuse(entry, `flags ${hex(flags)} of a page with data_type ${dataType}; expected 0`)
  }
  return {
    kind: 'page', gpa: address(context, entry, gpa, length), length,
    type: shared === 1 ? 'shared' : unmeasured === 1 ? 'unmeasured' : type, bytes: reader.data(
      entry, fileOffset, length,
    ),
  }
}

const vpContext: Directive = (context, entry) => {
  const { reader } = context
  const { gpa, fileOffset, vpIndex, reserved: rest } = reader.read(entry, IgvmVpContext)
  reserved(context, entry, rest)
  once(context, entry, `the context of VP ${vpIndex}`)
  const bytes = reader.data(entry, fileOffset, PAGE)
  const vmsa = bytes ?? reader.refuse(entry, 'file_offset 0; expected a VMSA')
  const features = Vmsa.get(viewOf(vmsa), 'sevFeatures')
  if (features !== SevFeatures.mask.SNPActive) {
    reader.refuse(
      entry, `SEV_FEATURES ${hex(features)} in its VMSA; this loader starts guests with 0x1, SNP active, and no more`,
    )
  }
  return { kind: 'vp', gpa: address(context, entry, gpa), vp: vpIndex, vmsa }
}

const parameterArea: Directive = (context, entry) => {
  const { reader, areas } = context
  const { numberOfBytes, parameterAreaIndex: index, fileOffset } = reader.read(entry, IgvmParameterArea)
  once(context, entry, `parameter area ${index}`)
  if (numberOfBytes === 0n || numberOfBytes % BigInt(PAGE) !== 0n
    || numberOfBytes > BigInt(MAX_AREAS - context.areaBytes)) {
    reader.refuse(
      entry, `number_of_bytes ${hex(numberOfBytes)}; expected whole pages, ${hex(MAX_AREAS)} bytes in all areas`,
    )
  }
  const length = Number(numberOfBytes)
  areas.set(index, length)
  context.areaBytes += length
  return { kind: 'area', index, length, initial: reader.data(entry, fileOffset, length) }
}

const parameterInsert: Directive = (context, entry) => {
  const { reader, areas } = context
  const { gpa, parameterAreaIndex: index } = reader.read(entry, IgvmParameterInsert)
  if (!areas.delete(index)) reader.refuse(entry, `parameter area ${index} is not there, or was inserted before`)
  return { kind: 'insert', gpa: address(context, entry, gpa), index }
}

const parameter = (what: IgvmParameterKind): Directive => (context, entry) => {
  const { reader, areas } = context
  const { parameterAreaIndex: index, byteOffset: offset } = reader.read(entry, IgvmParameter)
  const length =
    areas.get(index) ?? reader.refuse(entry, `parameter area ${index} is not there, or was inserted before`)
  if (offset >= length) reader.refuse(entry, `byte_offset ${hex(offset)}; the area has ${hex(length)} bytes`)
  return { kind: 'parameter', what, index, offset }
}

const requiredMemory: Directive = (context, entry) => {
  const { reader } = context
  const { gpa, numberOfBytes: length, flags, reserved: rest } = reader.read(entry, IgvmRequiredMemory)
  reserved(context, entry, rest)
  if (flags > 1) reader.refuse(entry, `flags ${hex(flags)}; expected 0 or 1`)
  if (length === 0 || length % PAGE !== 0) reader.refuse(entry, `number_of_bytes ${hex(length)}; expected whole pages`)
  return { kind: 'required', gpa: address(context, entry, gpa), length }
}

/** Where a guest tells of errors; nobody looks there. */
const errorRange: Directive = (context, entry) => {
  context.reader.read(entry, IgvmErrorRange)
  return undefined
}

const DIRECTIVES: ReadonlyMap<number, Directive> = new Map<number, Directive>([
  [IgvmType.PARAMETER_AREA, parameterArea],
  [IgvmType.PAGE_DATA, pageData],
  [IgvmType.PARAMETER_INSERT, parameterInsert],
  [IgvmType.VP_CONTEXT, vpContext],
  [IgvmType.REQUIRED_MEMORY, requiredMemory],
  [IgvmType.VP_COUNT_PARAMETER, parameter('VP count')],
  [IgvmType.SRAT, parameter('SRAT')],
  [IgvmType.MADT, parameter('MADT')],
  [IgvmType.MMIO_RANGES, parameter('MMIO ranges')],
  [IgvmType.MEMORY_MAP, parameter('memory map')],
  [IgvmType.ERROR_RANGE, errorRange],
  [IgvmType.COMMAND_LINE, parameter('command line')],
  [IgvmType.SLIT, parameter('SLIT')],
  [IgvmType.PPTT, parameter('PPTT')],
  [IgvmType.DEVICE_TREE, parameter('device tree')],
  [IgvmType.ENVIRONMENT_INFO_PARAMETER, parameter('environment')],
])

/** Where a header has its compatibility mask; types that are not here concern all platforms. */
const MASK_AT: Readonly<Record<number, number>> = {
  [IgvmType.GUEST_POLICY]: 8, [IgvmType.RELOCATABLE_REGION]: 0, [IgvmType.PAGE_TABLE_RELOCATION_REGION]: 0,
  [IgvmType.CORIM_DOCUMENT]: 0, [IgvmType.CORIM_SIGNATURE]: 0, [IgvmType.CCA_POLICY]: 0, [IgvmType.PAGE_DATA]: 8,
  [IgvmType.PARAMETER_INSERT]: 8, [IgvmType.VP_CONTEXT]: 8, [IgvmType.REQUIRED_MEMORY]: 8, [IgvmType.SNP_ID_BLOCK]: 0,
  [IgvmType.ERROR_RANGE]: 8, [IgvmType.VBS_MEASUREMENT]: 0,
}
/** Headers that say nothing to a loader that moves nothing, and measures as it launches. */
const SILENT: readonly number[] = [
  IgvmType.RELOCATABLE_REGION, IgvmType.PAGE_TABLE_RELOCATION_REGION, IgvmType.CORIM_DOCUMENT, IgvmType.CORIM_SIGNATURE,
]

/** The bit by which headers name SEV-SNP. */
function platformMask(reader: IgvmReader, name: string): number {
  const names: string[] = []
  let mask = 0
  let all = 0
  for (const entry of reader.entries.filter(({ type }) => type === IgvmType.SUPPORTED_PLATFORM)) {
    const platform = reader.read(entry, IgvmSupportedPlatform)
    const { compatibilityMask: bit, platformType, platformVersion, sharedGpaBoundary } = platform
    if (bit === 0 || (bit & bit - 1) !== 0 || (all & bit) !== 0) {
      reader.refuse(entry, `compatibility_mask ${hex(bit)}; expected one bit that no other platform has`)
    }
    all |= bit
    names.push(Object.entries(IgvmPlatform).find(([, value]) => value === platformType)?.[0] ?? `type ${platformType}`)
    if (platformType !== IgvmPlatform.SEV_SNP) continue
    if (mask !== 0) reader.refuse(entry, 'SEV_SNP is there twice')
    if (platformVersion !== 1) reader.refuse(entry, `platform_version ${platformVersion}; expected 1`)
    if (sharedGpaBoundary !== 0n) {
      reader.refuse(
        entry, `shared_gpa_boundary ${hex(sharedGpaBoundary)}; expected 0: there is no virtual top of memory here`,
      )
    }
    mask = bit
  }
  if (mask !== 0) return mask
  throw new BootError(name, 'IGVM platforms', `${names.join(', ') || 'none'}; expected SEV_SNP among them`)
}

/** Whether a header is for the platform with this mask. */
function concerns(reader: IgvmReader, entry: IgvmEntry, mask: number): boolean {
  const places: Readonly<Record<number, number | undefined>> = MASK_AT
  const at = places[entry.type]
  if (at === undefined) return true
  const { bytes } = entry
  if (bytes.length < at + 4) reader.refuse(entry, `length ${bytes.length}; expected at least ${at + 4}`)
  return (viewOf(bytes).getUint32(at, true) & mask) !== 0
}

/**
 * Reads a file.
 * @throws BootError that names the file, the header and what was expected
 */
export function parseIgvm(bytes: Uint8Array, name: string): IgvmImage {
  const reader = openIgvm(bytes, name)
  const mask = platformMask(reader, name)
  const context: Context = { reader, areas: new Map(), areaBytes: 0, seen: new Set() }
  const directives: IgvmDirective[] = []
  let policy: bigint | undefined
  let identity: IgvmImage['identity']
  for (const entry of reader.entries) {
    const { type } = entry
    if (type === IgvmType.SUPPORTED_PLATFORM || SILENT.includes(type) || !concerns(reader, entry, mask)) continue
    if (type === IgvmType.GUEST_POLICY) {
      once(context, entry, 'the guest policy')
      policy = reader.read(entry, IgvmGuestPolicy).policy
      continue
    }
    if (type === IgvmType.SNP_ID_BLOCK) {
      once(context, entry, 'the ID block')
      identity = readIdBlock(reader, entry, policy)
      continue
    }
    const read = DIRECTIVES.get(type)
      ?? reader.refuse(entry, `${igvmTypeName(type)} is none of a platform with SEV-SNP`)
    const directive = read(context, entry)
    if (directive !== undefined) directives.push(directive)
  }
  if (!directives.some((d) => d.kind === 'vp' && d.vp === 0)) {
    throw new BootError(name, 'IGVM directives', 'no VP_CONTEXT of VP 0: the guest would start nowhere')
  }
  return { ...(policy !== undefined && { policy }), ...(identity !== undefined && { identity }), directives }
}
