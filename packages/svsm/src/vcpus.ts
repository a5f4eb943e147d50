/**
 * The guest's processors and its memory, as the SVSM keeps them: which VMSA and calling area each processor has, and
 * which addresses a guest may name at all.
 */
import { SvsmError } from './error.ts'
import type { SvsmRange } from './image.ts'

const PAGE = 4096

/** A VMSA of the guest's, from its creation to its deletion. */
export interface GuestVcpu {
  /** The processor that it is for. */
  readonly apicId: number
  /** Its guest physical address. */
  readonly vmsa: number
  callingArea: number
}

export interface GuestVcpus {
  /**
   * The VMSAs of a processor, newest first. A guest creates the next one while the processor still runs with the last,
   * until it has told its host (Linux, snp_wakeup_cpu_via_vmgexit); no more than `MOST_AT_ONCE` are found.
   */
  of(apicId: number): readonly GuestVcpu[]
  knows(apicId: number): boolean
  add(vcpu: GuestVcpu): void
  /** Forgets a VMSA; false when it is none. */
  remove(vmsa: number): boolean
  isVmsa(address: number): boolean
  /**
   * Whether a range is the guest's: RAM or launched, with nothing in it that was deposited, and no VMSA. The SVSM's own
   * pages are none.
   */
  isGuests(address: number, length: number): boolean
  /** The same, with no calling area in it: pages that a guest may give away or make something else of. */
  isFree(address: number, length: number): boolean
  snapshot(): GuestVcpusState
  restore(saved: GuestVcpusState): void
}

/** What a snapshot keeps: the VMSAs that were not deleted, in the order of their creation. */
export type GuestVcpusState = readonly GuestVcpu[]

/** VMSAs of one processor among which a call is looked for. An honest guest has two for a moment. */
export const MOST_AT_ONCE = 16

export interface GuestVcpusOptions {
  readonly apicIds: readonly number[]
  /** The guest's addresses; neighbours need not be joined. */
  readonly ranges: readonly SvsmRange[]
  /** Whether any of a range was given to the SVSM. */
  readonly isDeposited: (address: number, length: number) => boolean
}

/** Ranges in order, neighbours and overlaps joined. */
function joined(ranges: readonly SvsmRange[]): SvsmRange[] {
  const found: SvsmRange[] = []
  for (const { start, length } of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = found.at(-1)
    const end = start + length
    if (last !== undefined && start <= last.start + last.length) {
      found[found.length - 1] = { start: last.start, length: Math.max(last.length, end - last.start) }
    } else found.push({ start, length })
  }
  return found
}

export function createGuestVcpus({ apicIds, ranges, isDeposited }: GuestVcpusOptions): GuestVcpus {
  const guests = joined(ranges)
  /** In the order of their creation. */
  const vmsas = new Map<number, GuestVcpu>()
  const holds = (places: (vcpu: GuestVcpu) => number, address: number, length: number): boolean => {
    for (const vcpu of vmsas.values()) {
      if (places(vcpu) < address + length && places(vcpu) + PAGE > address) return true
    }
    return false
  }
  const isGuests = (address: number, length: number): boolean =>
    guests.some(({ start, length: bytes }) => address >= start && address + length <= start + bytes)
    && !holds(({ vmsa }) => vmsa, address, length) && !isDeposited(address, length)
  return {
    of: (apicId) => [...vmsas.values()].filter((vcpu) => vcpu.apicId === apicId).slice(-MOST_AT_ONCE).reverse(),
    knows: (apicId) => apicIds.includes(apicId),
    add(vcpu) { vmsas.set(vcpu.vmsa, vcpu) },
    remove: (vmsa) => vmsas.delete(vmsa),
    isVmsa: (address) => vmsas.has(address),
    isGuests,
    isFree: (address, length) => isGuests(address, length) && !holds(({ callingArea }) => callingArea, address, length),
    snapshot: () => [...vmsas.values()].map((vcpu) => ({ ...vcpu })),
    restore(saved) {
      vmsas.clear()
      for (const [i, vcpu] of saved.entries()) {
        if (!apicIds.includes(vcpu.apicId)) throw new SvsmError(`vcpus[${i}].apicId`, "expected a processor's")
        vmsas.set(vcpu.vmsa, { ...vcpu })
      }
    },
  }
}
