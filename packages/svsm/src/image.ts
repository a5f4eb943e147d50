/**
 * What a guest with an SVSM is launched with: the SVSM's own pages at VMPL0 beside those of the guest, the guest's
 * first VMSA among them, and the VMSA that starts the SVSM. The guest's secrets and CPUID pages become the SVSM's to
 * fill in.
 */
import { createPageTables } from '@cofferdam/paging'
import { layout, Vmsa } from '@cofferdam/spec'
import { SvsmError } from './error.ts'

/** Pages that a launch adds. Start and length are multiples of 4096. */
export interface SvsmLaunchPages {
  readonly name: string
  readonly start: number
  readonly length: number
  /** Shared pages stay the host's. */
  readonly type: 'normal' | 'zero' | 'unmeasured' | 'secrets' | 'cpuid' | 'vmsa' | 'shared'
  /** Contents, zeroes after their end. */
  readonly bytes?: Uint8Array
  /** Of a VMSA: the processor that starts with it, 0 for the first. */
  readonly vp?: number
}

/** A range of guest physical addresses, multiples of 4096. */
export interface SvsmRange {
  readonly start: number
  readonly length: number
}

/** The guest's launch, and where the SVSM may lie. */
export interface SvsmImageOptions {
  /**
   * The guest's launch as it would be at VMPL0, with exactly one page of secrets, one of CPUID and the first
   * processor's VMSA. VMSAs of others are left out: under an SVSM a guest creates them itself.
   */
  readonly launch: readonly SvsmLaunchPages[]
  /** Guest physical address of its first calling area: a launch page of zeroes that its firmware left for that. */
  readonly callingArea: number
  /** The guest's RAM. */
  readonly ram: readonly SvsmRange[]
  /** The privilege level that the guest runs at, 1 to 3. */
  readonly vmpl: number
  readonly apicIds: readonly number[]
  /** Position of the C-bit. */
  readonly cBit: number
}

/** A guest's launch with an SVSM in it. */
export interface SvsmImage {
  /** The guest's and the SVSM's pages, and the VMSA that starts the SVSM on the first processor. */
  readonly launch: readonly SvsmLaunchPages[]
  /** Where the SVSM lies: RAM that the host has to add to the guest's. */
  readonly region: SvsmRange
}

const PAGE = 4096
const MAGIC = 0x4d_5356_5344_46_43n
/** No RAM or device of a guest is there; SVSMs lie there by custom. */
const LOWEST_BASE = 2 ** 39
/** Further up by this, the page tables show the shared view of the SVSM's own pages. */
export const SHARED = 2 ** 46
/** Processors that an SVSM serves. */
export const MAX_PROCESSORS = 64

/** The first page of the SVSM: what it has to know, measured. */
export const SvsmParameters = layout(0x60, {
  magic: [0x00, 8],
  size: [0x08, 8],
  callingArea: [0x10, 8],
  /** The guest's secrets and CPUID pages. */
  guestSecrets: [0x18, 8],
  guestCpuid: [0x20, 8],
  vmpl: [0x28, 4],
  processors: [0x2c, 4],
  /** Ranges of RAM, and of launch pages that become the guest's. */
  ramRanges: [0x30, 4],
  launchRanges: [0x34, 4],
  /** CR3 of the SVSM, C-bit included. */
  cr3: [0x38, 8],
})
const APIC_IDS = 0x100
const RANGES = 0x200
const RANGE = layout(16, { start: [0, 8], length: [8, 8] })
const MAX_RANGES = (PAGE - RANGES) / RANGE.size

/** Pages of the region, by their place; the first is that of the parameters. */
const SECRETS = 1
const CPUID = 2
const GUEST_VMSA = 3
const IDLE = 4
/** Pages for messages to the firmware and their answers, and for the host's certificates. */
const MESSAGES = 5
export const CERTIFICATE_PAGES = 4
const PROCESSORS = MESSAGES + 2 + CERTIFICATE_PAGES

/** Addresses in the region. */
export interface SvsmPlaces {
  readonly base: number
  readonly secrets: number
  readonly cpuid: number
  readonly guestVmsa: number
  readonly idle: number
  readonly request: number
  readonly response: number
  readonly certificates: number
  /** By the processor's place in the list of APIC ids. */
  ghcb(index: number): number
  vmsa(index: number): number
}

export function svsmPlaces(base: number): SvsmPlaces {
  const at = (page: number): number => base + page * PAGE
  return {
    base, secrets: at(SECRETS), cpuid: at(CPUID), guestVmsa: at(GUEST_VMSA), idle: at(IDLE),
    request: at(MESSAGES), response: at(MESSAGES + 1), certificates: at(MESSAGES + 2),
    ghcb: (index) => at(PROCESSORS + 2 * index), vmsa: (index) => at(PROCESSORS + 2 * index + 1),
  }
}

/** What the SVSM reads from its first page. */
export interface SvsmConfiguration {
  readonly size: number
  readonly callingArea: number
  readonly guestSecrets: number
  readonly guestCpuid: number
  readonly vmpl: number
  readonly apicIds: readonly number[]
  readonly ram: readonly SvsmRange[]
  readonly launch: readonly SvsmRange[]
  readonly cr3: bigint
}

/** Reads the page of parameters; null when it is none. */
export function readConfiguration(page: Uint8Array): SvsmConfiguration | null {
  const view = new DataView(page.buffer, page.byteOffset, page.length)
  const p = SvsmParameters.read(view)
  if (p.magic !== MAGIC || p.processors > MAX_PROCESSORS || p.ramRanges + p.launchRanges > MAX_RANGES) return null
  const ranges = Array.from({ length: p.ramRanges + p.launchRanges }, (_, i): SvsmRange => {
    const { start, length } = RANGE.read(view, RANGES + i * RANGE.size)
    return { start: Number(start), length: Number(length) }
  })
  return {
    size: Number(p.size), callingArea: Number(p.callingArea), guestSecrets: Number(p.guestSecrets),
    guestCpuid: Number(p.guestCpuid), vmpl: p.vmpl, cr3: p.cr3,
    ram: ranges.slice(0, p.ramRanges), launch: ranges.slice(p.ramRanges),
    apicIds: Array.from({ length: p.processors }, (_, i) => view.getUint32(APIC_IDS + 4 * i, true)),
  }
}

/** Launch pages as ranges, neighbours joined. */
function merged(pages: readonly SvsmRange[]): SvsmRange[] {
  const ranges: SvsmRange[] = []
  for (const { start, length } of [...pages].sort((a, b) => a.start - b.start)) {
    const last = ranges.at(-1)
    if (last !== undefined && last.start + last.length === start) {
      ranges[ranges.length - 1] = { start: last.start, length: last.length + length }
    } else ranges.push({ start, length })
  }
  return ranges
}

function onlyPage(launch: readonly SvsmLaunchPages[], type: SvsmLaunchPages['type']): SvsmLaunchPages {
  const found = launch.filter((pages) => pages.type === type)
  if (found.length === 1 && found[0].length === PAGE) return found[0]
  throw new SvsmError(type, `${found.length} pages in the guest's launch; expected one, for the SVSM to fill in`)
}

function parametersPage(options: SvsmImageOptions, size: number, cr3: bigint): Uint8Array {
  const { launch, ram, apicIds, vmpl, callingArea } = options
  const ranges = [...ram, ...merged(launch.filter(({ type }) => type !== 'vmsa' && type !== 'shared'))]
  if (ranges.length > MAX_RANGES) {
    throw new SvsmError('launch', `${ranges.length} ranges of RAM and launch pages; expected at most ${MAX_RANGES}`)
  }
  const page = new Uint8Array(PAGE)
  const view = new DataView(page.buffer)
  SvsmParameters.write(view, {
    magic: MAGIC, size: BigInt(size), callingArea: BigInt(callingArea),
    guestSecrets: BigInt(onlyPage(launch, 'secrets').start), guestCpuid: BigInt(onlyPage(launch, 'cpuid').start),
    vmpl, cr3, processors: apicIds.length, ramRanges: ram.length, launchRanges: ranges.length - ram.length,
  })
  apicIds.forEach((id, i) => { view.setUint32(APIC_IDS + 4 * i, id, true) })
  ranges.forEach(({ start, length }, i) => {
    RANGE.write(view, { start: BigInt(start), length: BigInt(length) }, RANGES + i * RANGE.size)
  })
  return page
}

/** Tables that map all that the SVSM may touch one to one and private, and its own pages shared once more. */
function pageTables(options: SvsmImageOptions, base: number, tables: number): { bytes: Uint8Array, cr3: bigint } {
  const { ram, cBit } = options
  const bit = 1n << BigInt(cBit)
  let memory = new Uint8Array(0)
  const grow = (): number => {
    const next = new Uint8Array(memory.length + PAGE)
    next.set(memory)
    memory = next
    return tables + memory.length - PAGE
  }
  const view = (): DataView => new DataView(memory.buffer)
  const built = createPageTables({
    levels: 4, tableBits: bit,
    memory: {
      allocate: grow,
      load64: (pa) => view().getBigUint64(pa - tables, true),
      store64: (pa, value) => { view().setBigUint64(pa - tables, value, true) },
    },
  })
  const GIB = 2 ** 30
  const end = Math.max(4 * GIB, ...ram.map(({ start, length }) => start + length))
  built.map({ from: 0, length: Math.ceil(end / GIB) * GIB, bits: bit })
  const own = tables - base
  built.map({ from: base, length: Math.ceil(own / 2 ** 21) * 2 ** 21, largest: 21, bits: bit })
  built.map({ from: base + SHARED, to: base, length: Math.ceil(own / 2 ** 21) * 2 ** 21, largest: 21 })
  return { bytes: memory, cr3: BigInt(built.root) | bit }
}

/** The SVSM's start: the guest's machine state, in long mode on its own tables, at VMPL0. */
export function ownVmsa(guest: Uint8Array, cr3: bigint, idle: number): Uint8Array {
  const vmsa = guest.slice()
  Vmsa.write(new DataView(vmsa.buffer), {
    vmpl: 0, rip: BigInt(idle), cr3, rsp: 0n, rsi: 0n,
    // PE, MP, ET, NE, WP, PG; PAE; SVME, LMA, LME.
    cr0: 0x8001_0033n, cr4: 0x20n, efer: 0x1500n, cpl: 0, cs: codeSegment(),
  })
  return vmsa
}

/** A 64-bit code segment: selector, attributes (present, code, long), limit. */
const codeSegment = (): Uint8Array => Uint8Array.of(0x10, 0, 0x9b, 0x0a, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0)

/** HLT; jmp back to it: what is at the SVSM's RIP. Nothing gets there, its instructions are the program's. */
const IDLE_CODE = Uint8Array.of(0xf4, 0xeb, 0xfd)

/**
 * Puts an SVSM under a guest's launch.
 * @throws SvsmError when the guest's launch leaves no place for it
 */
export function svsmImage(options: SvsmImageOptions): SvsmImage {
  const { launch, ram, apicIds, vmpl, callingArea } = options
  if (!Number.isInteger(vmpl) || vmpl < 1 || vmpl > 3) throw new SvsmError('level', `${vmpl}; expected 1, 2 or 3`)
  if (apicIds.length > MAX_PROCESSORS) {
    throw new SvsmError('processors', `${apicIds.length}; an SVSM serves at most ${MAX_PROCESSORS}`)
  }
  const holds = ({ start, length }: SvsmRange): boolean => callingArea >= start && callingArea < start + length
  if (!launch.some((pages) => pages.type === 'zero' && holds(pages))) {
    throw new SvsmError('calling area', 'none; the firmware has left no page for it')
  }
  const end = Math.max(LOWEST_BASE, ...ram.map(({ start, length }) => start + length))
  const base = Math.ceil(end / 2 ** 30) * 2 ** 30
  const places = svsmPlaces(base)
  const tables = places.ghcb(apicIds.length)
  const { bytes, cr3 } = pageTables(options, base, tables)
  const size = tables + bytes.length - base
  const first = launch.find(({ type, vp = 0 }) => type === 'vmsa' && vp === 0)
  if (first?.bytes === undefined) {
    throw new SvsmError('VMSA', "none in the guest's launch; expected the first processor's")
  }
  const guestVmsa = new Uint8Array(Vmsa.size)
  guestVmsa.set(first.bytes)
  Vmsa.set(new DataView(guestVmsa.buffer), 'vmpl', vmpl)
  const page = (name: string, start: number, type: SvsmLaunchPages['type'], contents?: Uint8Array): SvsmLaunchPages =>
    ({ name: `SVSM ${name}`, start, length: PAGE, type, ...(contents && { bytes: contents }) })
  return {
    region: { start: base, length: size },
    launch: [
      page('parameters', base, 'normal', parametersPage(options, size, cr3)),
      page('secrets', places.secrets, 'secrets'),
      page('CPUID', places.cpuid, 'cpuid'),
      page("guest's VMSA", places.guestVmsa, 'normal', guestVmsa),
      page('code', places.idle, 'normal', IDLE_CODE),
      { name: 'SVSM data', start: places.request, length: tables - places.request, type: 'zero' },
      { name: 'SVSM page tables', start: tables, length: bytes.length, type: 'normal', bytes },
      ...launch.filter(({ type }) => type !== 'vmsa').map((pages): SvsmLaunchPages =>
        (pages.type === 'secrets' || pages.type === 'cpuid' ? { ...pages, type: 'zero' } : pages)),
      { ...first, name: 'SVSM VMSA', bytes: ownVmsa(guestVmsa, cr3, places.idle) },
    ],
  }
}
