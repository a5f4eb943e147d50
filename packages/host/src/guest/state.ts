/** What a snapshot keeps of a guest beside memory and the silicon. */
import { SnapshotError } from '@cofferdam/devices'
import type { LocalApic } from '@cofferdam/x86'
import type { HostileState } from '../hostile/index.ts'
import type { GuestMemoryState } from '../memory/guest-memory.ts'
import type { NptState } from '../memory/npt.ts'
import type { VcpuState } from './vcpu.ts'
import { VMPLS } from './vmpls.ts'

/** A run of host pages: the first, and how many as a power of two. */
export type PageRun = readonly [page: number, order: number]

/** As data; pages are numbers of system pages unless they are said to be the guest's. */
export interface SnpGuestState {
  /** RAM by guest physical address, bytes. */
  readonly ram: readonly { readonly start: number, readonly length: number }[]
  /** Vmsa.sevFeatures of all processors. */
  readonly sevFeatures: bigint
  /** The guest may ask for the list of APIC ids. */
  readonly tellsApicIds: boolean
  readonly asid: number
  readonly npt: NptState
  readonly memory: GuestMemoryState
  readonly requestPage: number
  readonly responsePage: number
  readonly context: number
  readonly iopm: PageRun
  readonly msrpm: PageRun
  readonly vmcbs: readonly number[]
  /** VMSAs of the launch, by processor. */
  readonly vmsas: readonly (readonly [vp: number, page: number])[]
  readonly hostPages: readonly number[]
  readonly apics: readonly ReturnType<LocalApic['snapshot']>[]
  readonly vcpus: readonly VcpuState[]
  /** VMSAs that wait for a processor's INIT, as guest pages. */
  readonly onInit: readonly (readonly [index: number, vmpl: number, page: number])[]
  readonly exits: readonly (readonly [name: string, count: number])[]
  readonly malformed: readonly (readonly [name: string, count: number])[]
  /** Of a hostile host; null of an honest one. */
  readonly hostile: HostileState | null
}

const PAGE = 4096
/** Highest ASID of the RMP's entries. */
const MAX_ASID = 1023

/**
 * Checks numbers that other parts rely on.
 * @param isRam whether a system page is RAM
 * @throws SnapshotError for a state that is none of a guest with so many processors
 */
export function checkGuestState(saved: SnpGuestState, vcpus: number, isRam: (page: number) => boolean): SnpGuestState {
  const need = (ok: boolean, field: string, expected: string): void => {
    if (!ok) throw new SnapshotError('guest', field, expected)
  }
  const isIndex = (index: number): boolean => index >= 0 && index < vcpus
  need(saved.ram.length > 0 && saved.ram.every(({ start, length }) =>
    start % PAGE === 0 && length % PAGE === 0 && start >= 0 && length > 0), 'ram', 'ranges of pages')
  need(saved.asid > 0 && saved.asid <= MAX_ASID, 'asid', `1 to ${MAX_ASID}`)
  need(saved.npt.root % PAGE === 0 && isRam(saved.npt.root / PAGE) && saved.npt.tables > 0, 'npt', 'a table in RAM')
  for (const field of ['requestPage', 'responsePage', 'context'] as const) {
    need(isRam(saved[field]), field, 'a page of RAM')
  }
  for (const field of ['iopm', 'msrpm'] as const) need(isRam(saved[field][0]), field, 'pages of RAM')
  need(saved.vmcbs.length === vcpus && saved.vmcbs.every(isRam), 'vmcbs', `${vcpus} pages of RAM`)
  need(saved.hostPages.every(isRam), 'hostPages', 'pages of RAM')
  need(saved.vmsas.every(([vp, page]) => isIndex(vp) && isRam(page)), 'vmsas', 'pages of RAM, by processor')
  need(saved.apics.length === vcpus && saved.vcpus.length === vcpus, 'vcpus', `${vcpus} processors`)
  need(saved.onInit.every(([index, vmpl, page]) => isIndex(index) && vmpl >= 0 && vmpl < VMPLS && page >= 0), 'onInit',
    'levels of processors')
  return saved
}
