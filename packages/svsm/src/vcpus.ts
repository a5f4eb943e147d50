/**
 * The guest's processors and its memory, as the SVSM keeps them: which VMSA and calling area each processor has, and
 * which addresses a guest may name at all.
 */
import { SvsmError } from './error.ts'
import type { SvsmRange } from './image.ts'

const PAGE = 4096

/** A processor of the guest's. */
export interface GuestVcpu {
  /** Guest physical address of its VMSA. */
  readonly vmsa: number
  callingArea: number
}

export interface GuestVcpus {
  /** The VMSA that a processor runs with at the guest's level, by APIC id. */
  of(apicId: number): GuestVcpu | undefined
  knows(apicId: number): boolean
  /** Notes a VMSA; a processor may have had another, which stays one until it is deleted. */
  add(apicId: number, vcpu: GuestVcpu): void
  /** Forgets a VMSA; false when it is none. */
  remove(vmsa: number): boolean
  isVmsa(address: number): boolean
  isCallingArea(address: number): boolean
  /**
   * Whether a range is the guest's: RAM or launched, with nothing in it that was deposited, and no VMSA. The SVSM's own
   * pages are none.
   */
  isGuests(address: number, length: number): boolean
  snapshot(): GuestVcpusState
  restore(saved: GuestVcpusState): void
}

/** What a snapshot keeps. */
export interface GuestVcpusState {
  readonly vcpus: readonly GuestVcpu[]
  /** Places in `vcpus`: of the one that a processor runs with, and of those that were not deleted. */
  readonly present: readonly (readonly [apicId: number, place: number])[]
  readonly kept: readonly number[]
}

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
  const present = new Map<number, GuestVcpu>()
  /** All VMSAs that were not deleted, with their calling areas. */
  const vmsas = new Map<number, GuestVcpu>()
  const holdsVmsa = (address: number, length: number): boolean => {
    for (const vmsa of vmsas.keys()) if (vmsa < address + length && vmsa + PAGE > address) return true
    return false
  }
  return {
    of: (apicId) => present.get(apicId),
    knows: (apicId) => apicIds.includes(apicId),
    add(apicId, vcpu) {
      present.set(apicId, vcpu)
      vmsas.set(vcpu.vmsa, vcpu)
    },
    remove(vmsa) {
      for (const [apicId, vcpu] of present) if (vcpu.vmsa === vmsa) present.delete(apicId)
      return vmsas.delete(vmsa)
    },
    isVmsa: (address) => vmsas.has(address),
    isCallingArea: (address) => [...vmsas.values()].some(({ callingArea }) => callingArea === address),
    isGuests: (address, length) =>
      guests.some(({ start, length: bytes }) => address >= start && address + length <= start + bytes)
      && !holdsVmsa(address, length) && !isDeposited(address, length),
    snapshot() {
      const all = [...new Set([...present.values(), ...vmsas.values()])]
      return {
        vcpus: all.map((vcpu) => ({ ...vcpu })), present: [...present].map(([apicId, vcpu]) => [apicId, all.indexOf(vcpu)]),
        kept: [...vmsas.values()].map((vcpu) => all.indexOf(vcpu)),
      }
    },
    restore(saved) {
      const all = saved.vcpus.map((vcpu) => ({ ...vcpu }))
      const at = (place: number): GuestVcpu => {
        if (place < 0 || place >= all.length) throw new SvsmError('vcpus', `expected places below ${all.length}`)
        return all[place]
      }
      present.clear()
      vmsas.clear()
      for (const [apicId, place] of saved.present) present.set(apicId, at(place))
      for (const place of saved.kept) vmsas.set(at(place).vmsa, at(place))
    },
  }
}
