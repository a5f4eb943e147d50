/** SNP_INIT, SNP_INIT_EX: checks the whole machine and sets the RMP up (AMD 56860 §8.8). */
import {
  PspCommand, PspStatus, RmpCfg, SNP_RANGE_LIST_MAX, SevPlatformState, SnpInitEx, SnpInitExFlags, SnpPlatformState,
  SnpRange, SnpRangeListHeader, SysCfg,
} from '@cofferdam/spec'
import { hypervisorEntry } from '../../rmp/entry.ts'
import { RMP_ALIGNMENT, rmpRanges } from '../../rmp/geometry.ts'
import { LARGE_PAGES } from '../../rmp/table.ts'
import { viewOf } from '../../bytes.ts'
import { PAGE, isRam, pageAt } from '../pages.ts'
import type { Firmware, PspHandler } from '../types.ts'

/** What a host sets up and the firmware verifies (Linux arch/x86/virt/svm/sev.c, snp_prepare and snp_rmptable_init). */
const SNP_ON = SysCfg.mask.MtrrFixDramModEn | SysCfg.mask.SecureNestedPagingEn | SysCfg.mask.VMPLEn

/** Checks that every processor and IOMMU is set up, and all in the same way. */
function machineStatus({ platform, rmp }: Firmware): number {
  const first = platform.rmpMsrs(0)
  for (let p = 0; p < platform.processors; p++) {
    const msrs = platform.rmpMsrs(p)
    if ((platform.syscfg(p) & SNP_ON) !== SNP_ON || platform.hsavePa(p) !== 0n) return PspStatus.INVALID_CONFIG
    if (msrs.base !== first.base || msrs.end !== first.end || msrs.cfg !== first.cfg) return PspStatus.INVALID_CONFIG
  }
  if (!platform.iommuReady()) return PspStatus.INVALID_CONFIG
  if (rmp.load(first) !== null) return PspStatus.INVALID_CONFIG
  const aligned = (value: bigint): boolean => value % BigInt(RMP_ALIGNMENT) === 0n
  const segmented = RmpCfg.get(first.cfg, 'SEGMENTED_RMP_EN') !== 0n
  return aligned(first.base) && (segmented || aligned(first.end + 1n)) ? PspStatus.SUCCESS : PspStatus.INVALID_ADDRESS
}

/** Ranges of a list in memory, read once; or the status that says what is wrong with it. */
export function readRangeList(firmware: Firmware, address: bigint): { page: number; pages: number }[] | number {
  if (pageAt(firmware, address) < 0) return PspStatus.INVALID_ADDRESS
  const bytes = new Uint8Array(PAGE)
  firmware.memory.read(Number(address), bytes)
  const view = viewOf(bytes)
  const { count, reserved } = SnpRangeListHeader.read(view)
  if (reserved !== 0 || count > SNP_RANGE_LIST_MAX) return PspStatus.INVALID_PARAM
  const ranges: { page: number; pages: number }[] = []
  for (let i = 0; i < count; i++) {
    const range = SnpRange.read(view, SnpRangeListHeader.size + i * SnpRange.size)
    if (range.base % BigInt(PAGE) !== 0n || range.base >= 2n ** 52n) return PspStatus.INVALID_ADDRESS
    if (range.reserved !== 0) return PspStatus.INVALID_PARAM
    ranges.push({ page: Number(range.base >> 12n), pages: range.pageCount })
  }
  return ranges
}

/** Runs over the pages of a range that have entries. */
function eachCovered({ rmp }: Firmware, first: number, pages: number, visit: (page: number) => void): void {
  for (const segment of rmp.geometry?.segments ?? []) {
    const from = Math.max(first, segment.firstPage)
    const to = Math.min(first + pages, segment.firstPage + segment.pages)
    for (let page = from; page < to; page++) visit(page)
  }
}

interface PageRange {
  readonly page: number
  readonly pages: number
}

/** The same pages, each once: a list may name all memory 255 times. */
function distinct(ranges: readonly PageRange[]): PageRange[] {
  const found: { page: number, pages: number }[] = []
  for (const { page, pages } of [...ranges].sort((a, b) => a.page - b.page)) {
    const last = found.at(-1)
    if (last === undefined || page > last.page + last.pages) found.push({ page, pages })
    else last.pages = Math.max(last.pages, page + pages - last.page)
  }
  return found
}

/** Makes pages that no guest may ever have HV-fixed, where they are the hypervisor's now. */
export function fixRanges(firmware: Firmware, ranges: readonly PageRange[]): void {
  const { rmp } = firmware
  const fixed = { ...hypervisorEntry(), immutable: true }
  for (const { page, pages } of distinct(ranges)) {
    eachCovered(firmware, page, pages, (at) => { if (!rmp.assigned(at)) rmp.write(at, fixed) })
    firmware.forget(page, pages)
  }
}

/** Empties the table, and makes the firmware the owner of the pages that hold it. */
function initialiseRmp(firmware: Firmware): number {
  const { memory, rmp } = firmware
  const { geometry } = rmp
  if (geometry === null) return PspStatus.INVALID_CONFIG
  for (const { start, bytes } of rmpRanges(geometry)) {
    if (!isRam(firmware, BigInt(start), bytes)) return PspStatus.RMP_INITIALIZATION_FAILED
  }
  for (const { address, pages } of geometry.segments) memory.fill(address, pages * 16, 0)
  const own = { ...hypervisorEntry(), assigned: true, immutable: true }
  for (const { start, bytes } of rmpRanges(geometry)) {
    const end = Math.ceil((start + bytes) / PAGE)
    for (let page = Math.floor(start / PAGE); page < end;) {
      const large = page % LARGE_PAGES === 0 && page + LARGE_PAGES <= end && rmp.covers(page + LARGE_PAGES - 1)
      if (rmp.covers(page)) rmp.write(page, { ...own, large, guestPage: 0 })
      page += large ? LARGE_PAGES : 1
    }
  }
  firmware.forget(0, 2 ** 40)
  return PspStatus.SUCCESS
}

function initialise(firmware: Firmware, flags: number, listPaddr: bigint, maxSnpAsid: number): number {
  const { state, facts } = firmware
  const { INIT_RMP, LIST_PADDR_EN, RAPL_DIS, CIPHERTEXT_HIDING_EN, TIO_EN } = SnpInitExFlags.unpack(flags)
  if ((flags & ~SnpInitExFlags.used) !== 0) return PspStatus.INVALID_PARAM
  // What SNP_FEATURE_INFO does not claim.
  if (RAPL_DIS !== 0 || CIPHERTEXT_HIDING_EN !== 0 || TIO_EN !== 0) return PspStatus.UNSUPPORTED
  if (maxSnpAsid >= facts.minSevAsid) return PspStatus.INVALID_PARAM
  const machine = machineStatus(firmware)
  if (machine !== PspStatus.SUCCESS) return machine
  const ranges = LIST_PADDR_EN !== 0 ? readRangeList(firmware, listPaddr) : []
  if (typeof ranges === 'number') return ranges
  if (INIT_RMP === 0 && !state.rmpInitialised) return PspStatus.RMP_INIT_REQUIRED
  firmware.rmp.enabled = true
  if (INIT_RMP !== 0) {
    const status = initialiseRmp(firmware)
    if (status !== PspStatus.SUCCESS) return status
  }
  fixRanges(firmware, ranges)
  state.rmpInitialised = true
  state.maxSnpAsid = maxSnpAsid
  state.allAsidsDirty = true
  state.snp = SnpPlatformState.INIT
  return PspStatus.SUCCESS
}

const states = { snp: [SnpPlatformState.UNINIT], sev: [SevPlatformState.UNINIT] }

export const snpInit: PspHandler = {
  id: PspCommand.SNP_INIT, name: 'SNP_INIT', ...states, bytes: 0,
  run: (firmware) => initialise(firmware, SnpInitExFlags.mask.INIT_RMP, 0n, 0),
}

export const snpInitEx: PspHandler = {
  id: PspCommand.SNP_INIT_EX, name: 'SNP_INIT_EX', ...states, bytes: SnpInitEx.size,
  run(firmware, buffer) {
    const { flags, reserved1, listPaddr, maxSnpAsid, reserved2 } = SnpInitEx.read(buffer)
    if (reserved1 !== 0 || reserved2.some((byte) => byte !== 0)) return PspStatus.INVALID_PARAM
    return initialise(firmware, flags, listPaddr, maxSnpAsid)
  },
}
