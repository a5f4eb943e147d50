/** The consistency checks of VMRUN, in the manual's order (APM vol. 2, §15.5.1, §15.20, §15.25.3). */
import { EventInject, Intercept4 } from '@cofferdam/spec'
import type { MemoryViews } from '@cofferdam/memory'
import { VECTOR } from '../cpu.ts'
import { CR0, CR3, CR4, CS, DR, EFER, MSR_PAT, SEG, SEG_SIZE } from '../state.ts'
import { ATTR, CR0_BITS, CR4_BITS, EFER_BITS } from '../system/bits.ts'
import type { LegalBits } from '../system/cpu-system.ts'
import type { GuestControl } from './control.ts'
import { EVENT_TYPE, usesNestedPaging } from './control.ts'

const IOPM_BYTES = 0x3000n
const MSRPM_BYTES = 0x2000n
const LONG = EFER_BITS.LME | EFER_BITS.LMA

/** PAT fields that exist: UC, WC, WT, WP, WB, UC−. */
function isPat(views: MemoryViews, at: number): boolean {
  for (let i = 0; i < 8; i++) {
    const field = views.u8[at + i]
    if (field > 7 || field === 2 || field === 3) return false
  }
  return true
}

/** Bits of an upper half at `at` that no physical address has. */
const isAbove = (views: MemoryViews, at: number, bits: number, key: bigint): boolean =>
  (views.u32[(at >>> 2) + 1] & ~Number(key >> 32n)) >>> (bits - 32) !== 0

/** Guest state that has just been loaded. */
function isStateLegal(views: MemoryViews, legal: LegalBits): boolean {
  const { u32 } = views
  const [efer, cr0, cr4] = [u32[EFER >>> 2], u32[CR0 >>> 2], u32[CR4 >>> 2]]
  const isHighSet = (at: number): boolean => u32[(at >>> 2) + 1] !== 0
  if ((efer & EFER_BITS.SVME) === 0) return false
  if ((cr0 & (CR0_BITS.CD | CR0_BITS.NW)) === CR0_BITS.NW || isHighSet(CR0)) return false
  const long = (efer & LONG) !== 0
  if (long && isAbove(views, CR3, 52, legal.cr3Key)) return false
  if ((cr4 & ~legal.cr4) !== 0 || isHighSet(CR4)) return false
  if (isHighSet(DR + 48) || isHighSet(DR + 56)) return false
  if ((efer & ~(legal.efer | EFER_BITS.SVME)) !== 0 || isHighSet(EFER)) return false
  const paging = (cr0 & CR0_BITS.PG) !== 0
  const lme = (efer & EFER_BITS.LME) !== 0
  if (lme && paging && (cr4 & CR4_BITS.PAE) === 0) return false
  if (lme && paging && (cr0 & CR0_BITS.PE) === 0) return false
  const cs = views.u16[(SEG + CS * SEG_SIZE + 2) >>> 1]
  return !(lme && paging && (cs & (ATTR.L | ATTR.DB)) === (ATTR.L | ATTR.DB))
}

/** Exceptions that a guest in 64-bit code can't have: INTO and BOUND do not exist there. */
const isImpossible = (views: MemoryViews, vector: number): boolean =>
  (vector === VECTOR.OF || vector === VECTOR.BR) && (views.u32[EFER >>> 2] & EFER_BITS.LMA) !== 0
  && (views.u16[(SEG + CS * SEG_SIZE + 2) >>> 1] & ATTR.L) !== 0

/** Whether EVENTINJ asks for something that may be injected (§15.20). */
function isInjectionLegal(views: MemoryViews, event: bigint): boolean {
  if ((event & EventInject.mask.V) === 0n) return true
  const type = Number(EventInject.get(event, 'type'))
  const vector = Number(EventInject.get(event, 'vector'))
  if (type === EVENT_TYPE.EXCEPTION) return vector !== VECTOR.NMI && vector < 32 && !isImpossible(views, vector)
  return type === EVENT_TYPE.INTR || type === EVENT_TYPE.NMI || type === EVENT_TYPE.SOFTWARE
}

/** Nested paging: the host must page, nCR3 and the guest's PAT must be legal (§15.25.3, §15.25.4). */
const isNestingLegal = (views: MemoryViews, control: GuestControl, legal: LegalBits, host: HostFacts): boolean =>
  host.pages && (control.nestedCr3 & ~host.key) >> BigInt(legal.physicalBits) === 0n
  && isPat(views, MSR_PAT)

/** What of the host counts: whether it pages, and key bits that its tables' addresses may have. */
export interface HostFacts {
  readonly pages: boolean
  readonly key: bigint
}

/**
 * Whether the guest that was just loaded may run; false is VMEXIT_INVALID.
 * @param asids how many ASIDs the processor has
 */
export function isGuestLegal(
  views: MemoryViews, control: GuestControl, legal: LegalBits, asids: number, host: HostFacts,
): boolean {
  const top = 1n << BigInt(legal.physicalBits)
  if (!isStateLegal(views, legal)) return false
  if ((control.vector4 & Intercept4.mask.VMRUN) === 0) return false
  if ((control.iopm & ~0xfffn) + IOPM_BYTES > top || (control.msrpm & ~0xfffn) + MSRPM_BYTES > top) return false
  if (!isInjectionLegal(views, control.eventInj)) return false
  if (control.asid === 0 || control.asid >= asids) return false
  return !usesNestedPaging(control) || isNestingLegal(views, control, legal, host)
}
