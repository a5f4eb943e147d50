/**
 * The reference host as a program: it boots from a memory map, places the reverse map, turns SEV-SNP on, and gives its
 * guests memory. It drives the silicon through what machine code has too: memory, MSRs, RMP instructions, the PSP.
 */
import type { MemoryRegion } from '@cofferdam/boot'
import { COST, SnapshotError } from '@cofferdam/devices'
import { FRAME_NONE } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import {
  bootMemory, createPageAllocator, Gfp, mapFromE820, NO_MEMORY, PageAllocError, type PageAllocator, pageAllocUse,
  type PageAllocUse, resumePageAllocator,
} from '@cofferdam/page-alloc'
import { Msr, SnpInitEx, SnpInitExFlags, SnpPlatformState, SysCfg } from '@cofferdam/spec'
import type { Processor } from '@cofferdam/x86'
import { HostError, hex } from './errors.ts'
import type { RmpInstructions } from './memory/guest-memory.ts'
import { createFirmware, type Firmware, type Psp } from './snp/firmware.ts'
import { readMsr, writeMsr } from './snp/instructions.ts'
import { judgeRmp, RMP_ALIGNMENT, rmpTableBytes } from './snp/placement.ts'

/** The silicon that the host starts on, and the memory map that it finds. */
export interface ReferenceHostOptions {
  readonly memory: PhysicalMemory
  /** The memory map that firmware hands over. */
  readonly map: readonly MemoryRegion[]
  readonly processors: readonly Processor[]
  readonly rmp: RmpInstructions
  readonly psp: Psp
  /** Memory that firmware has reserved and programmed for the reverse map; without it the host takes its own. */
  readonly rmpAt?: { readonly base: number, readonly bytes: number }
  /** Highest ASID of SNP guests. */
  readonly maxSnpAsid: number
  /** WBINVD on a processor, with what it takes. */
  readonly writeBackCaches: (processor: number) => void
  /** The certificates that vouch for the chip's reports, as extended guest requests hand them out. */
  readonly certificates?: () => Uint8Array
  /** Takes virtual time: nanoseconds. */
  readonly charge: (nanoseconds: number) => void
  /** What the host tells of itself, line by line. */
  readonly log?: (line: string) => void
  /**
   * The host goes on from a snapshot: nothing is turned on, since memory, the processors and the firmware are, or will
   * be, as they were.
   */
  readonly restore?: HostState | undefined
}

/** What a snapshot keeps of the host's program. */
export interface HostState {
  readonly pages: PageAllocUse
  /** System page of the buffer for the firmware's commands. */
  readonly bufferPage: number
  /** Highest ASID that was given to a guest so far, and those that came back. */
  readonly asid: number
  readonly released: readonly number[]
}

/** A host that has turned SNP on and can launch guests. */
export interface ReferenceHost {
  readonly pages: PageAllocator
  readonly firmware: Firmware
  /** Where the reverse map lies. */
  readonly rmpRange: { readonly base: number, readonly bytes: number }
  /** A page; @throws HostError when there is none. */
  allocatePage(): number
  /** @throws HostError for a page that was not allocated, as `freeRun` does */
  freePage(page: number): void
  /** Pages in a row, as a power of two; −1 when there are none. */
  allocateRun(order: number): number
  freeRun(page: number, order: number): void
  /** An ASID for a guest. @throws HostError when all are taken */
  takeAsid(): number
  /**
   * Makes an ASID of a guest that is gone fit for the next one: caches are written back, the data fabric is flushed.
   */
  releaseAsid(asid: number): void
  /** The table of certificates for extended guest requests; no bytes for none. */
  certificates(): Uint8Array
  snapshot(): HostState
}

const PAGE = 4096
/** The host keeps off the lowest MiB, as kernels do. */
const LOW = 2 ** 20
/** Clearing the reverse map: bytes per nanosecond of virtual time, a memory channel's worth. */
const CLEAR_RATE = 8

/** Memory of the machine before the allocator has it: the reverse map comes from here. */
function placeRmp(options: ReferenceHostOptions) {
  const map = mapFromE820(options.map.map(({ start, length, type }) => ({ addr: start, size: length, type })))
  const { memblock } = bootMemory(map)
  memblock.reserve(0, LOW)
  const ram = map.filter((r) => r.kind === 'usable')
  const ramEnd = Math.max(...ram.map((r) => r.end))
  let range = options.rmpAt
  if (range === undefined) {
    const bytes = rmpTableBytes(ramEnd)
    const base = memblock.alloc({ size: bytes, align: RMP_ALIGNMENT })
    if (base === NO_MEMORY) throw new HostError('memory', 'reverse map', `no room for its ${bytes} bytes`)
    range = { base, bytes }
  } else memblock.reserve(range.base, range.base + range.bytes)
  const { covers, needed, got } = judgeRmp(range.base, range.bytes, ramEnd)
  if (!covers) {
    throw new HostError('reverse map', 'size',
      `${hex(got)} bytes cover a part of the machine's memory only; it needs ${hex(needed)}. SNP stays off`)
  }
  return { memblock, range, ramEnd }
}

/** Programs the table on each processor, clears it, and turns SNP on (APM vol. 2, §15.36.2 to §15.36.4). */
function enableSnp({ memory, processors, charge }: ReferenceHostOptions, range: { base: number, bytes: number }): void {
  // Memory encryption is what BIOSes turn on; SNP cannot be without it.
  const on = SysCfg.mask.MemEncryptionModeEn | SysCfg.mask.MtrrFixDramModEn | SysCfg.mask.SecureNestedPagingEn
    | SysCfg.mask.VMPLEn
  // A kernel before this one may have turned SNP on: its table stays, the MSRs are locked.
  if ((readMsr(processors[0], Msr.AMD_SYSCFG) & on) === on) return
  memory.fill(range.base, range.bytes, 0)
  charge(range.bytes / CLEAR_RATE)
  for (const processor of processors) {
    writeMsr(processor, Msr.AMD_RMP_BASE, BigInt(range.base))
    writeMsr(processor, Msr.AMD_RMP_END, BigInt(range.base) + BigInt(range.bytes) - 1n)
    writeMsr(processor, Msr.AMD_SYSCFG, readMsr(processor, Msr.AMD_SYSCFG) | on)
  }
}

/** WBINVD on all processors, then SNP_DF_FLUSH: nothing of an ASID's former owner is left in a cache (56860 §8.9). */
function flushAsids({ processors, writeBackCaches }: ReferenceHostOptions, firmware: Firmware): void {
  for (const { index } of processors) writeBackCaches(index)
  firmware.run('SNP_DF_FLUSH', new Uint8Array(8))
}

/** SNP_INIT_EX: the firmware checks every processor, sets the reverse map up and keeps its own pages. */
function initialise(options: ReferenceHostOptions, firmware: Firmware): void {
  // Nothing that was written before may land on top of what the firmware sets up (Linux, __sev_snp_init_locked).
  for (const { index } of options.processors) options.writeBackCaches(index)
  // MAX_SNP_ASID goes with ciphertext hiding alone (Linux, sev_platform_init_args): CPUID says where the others end.
  firmware.run('SNP_INIT_EX', SnpInitEx.create({ flags: SnpInitExFlags.mask.INIT_RMP }))
  flushAsids(options, firmware)
}

/** @throws SnapshotError for what a host with these pages cannot have been */
function resumePages(
  fresh: PageAllocator, { pages, bufferPage, asid, released }: HostState, options: ReferenceHostOptions,
) {
  const need = (ok: boolean, field: string, expected: string): void => {
    if (!ok) throw new SnapshotError('host', field, expected)
  }
  const isAsid = (value: number, most: number): boolean => Number.isInteger(value) && value >= 0 && value <= most
  need(options.memory.frameWord(bufferPage) !== FRAME_NONE, 'bufferPage', 'a page of RAM')
  need(isAsid(asid, options.maxSnpAsid), 'asid', `0 to ${options.maxSnpAsid}`)
  need(released.every((one) => one > 0 && isAsid(one, asid)), 'released', `1 to ${asid}`)
  try {
    return resumePageAllocator(fresh, pages)
  } catch (error) {
    if (!(error instanceof PageAllocError)) throw error
    const [field, expected = ''] = error.message.split(': expected ')
    throw new SnapshotError('host', `pages.${field}`, expected)
  }
}

/**
 * Boots the host, or goes on with one of a snapshot.
 * @throws HostError when SNP cannot be turned on: which part refused, and why
 * @throws SnapshotError for a snapshot that is none of a host on this machine
 */
export function createReferenceHost(options: ReferenceHostOptions): ReferenceHost {
  const { memory, rmp, psp, charge, maxSnpAsid } = options
  const log = options.log ?? ((): void => undefined)
  const { memblock, range, ramEnd } = placeRmp(options)
  log(`memory below ${hex(ramEnd)}, reverse map at ${hex(range.base)}, ${range.bytes / 2 ** 20} MiB`)
  const fresh = createPageAllocator({ memblock, cpus: options.processors.length })
  const { restore } = options
  const pages = restore === undefined ? fresh : resumePages(fresh, restore, options)
  if (restore === undefined) enableSnp(options, range)

  const allocateRun = (order: number): number => {
    const page = pages.alloc(order, Gfp.movable)
    return page === NO_MEMORY ? -1 : page
  }
  const allocatePage = (): number => {
    const page = allocateRun(0)
    if (page < 0) throw new HostError('memory', 'pages', 'the host has none left; give it more memory')
    return page
  }
  const freeRun = (page: number, order: number): void => {
    try {
      pages.free(page, order)
    } catch (error) {
      if (!(error instanceof PageAllocError)) throw error
      throw new HostError('memory', `page ${hex(page)}`, error.message)
    }
  }
  const freePage = (page: number): void => { freeRun(page, 0) }
  const firmware = createFirmware({
    psp, memory, rmp, allocatePage, freePage, charge: () => { charge(COST.pspCommand) },
    bufferPage: restore?.bufferPage,
  })
  if (restore === undefined) initialise(options, firmware)
  log(`SEV-SNP is on (${Object.keys(SnpPlatformState)[1]})`)

  let asid = restore?.asid ?? 0
  const released = [...restore?.released ?? []]
  const { certificates = (): Uint8Array => new Uint8Array(0) } = options
  return {
    pages, firmware, certificates, rmpRange: range, allocatePage, freePage, allocateRun, freeRun,
    takeAsid() {
      const again = released.pop()
      if (again !== undefined) return again
      if (asid === maxSnpAsid) throw new HostError('guests', 'ASID', `all ${maxSnpAsid} are taken`)
      return ++asid
    },
    releaseAsid(free) {
      flushAsids(options, firmware)
      released.push(free)
    },
    snapshot: () => ({ pages: pageAllocUse(pages), bufferPage: firmware.bufferPage, asid, released: [...released] }),
  }
}

export { PAGE as HOST_PAGE }
