/** What SEV knows of a processor between two slices, as data, and back (`SvmHooks.save` and `restore`). */
import { StateError } from '@cofferdam/x86'
import type { GuestControl, GuestKind, StatePage } from '@cofferdam/x86'
import { FRAME_NONE } from '@cofferdam/memory'
import type { DeniedFact } from '../findings/facts.ts'
import { runAs } from './context.ts'
import type { SevGuest, SevProcessor } from './context.ts'
import { keptGuest } from './encrypted.ts'
import type { EncryptedKind, KeptKind } from './encrypted.ts'
import { plainGuest } from './guests.ts'

/** As a snapshot has it. */
interface SevSnapshot {
  readonly denied: DeniedFact | null
  /** The guest that is resident; null without one. */
  readonly guest: SevGuest | null
  /** More of it, when its state is encrypted. */
  readonly kind: KeptKind | null
}

const GUEST = {
  asid: 'number', sev: 'boolean', es: 'boolean', snp: 'boolean', vmpl: 'number', features: 'bigint', vtomPage: 'number',
  ghcb: 'bigint', tscScale: 'bigint',
} as const
const KIND = { vmsaPage: 'number', tscOffset: 'bigint', shown: 'boolean' } as const
const DENIED = {
  kind: 'string', verdict: 'number', access: 'number', gva: 'bigint', gpa: 'bigint', encrypted: 'boolean',
  table: 'boolean', before: 'number',
} as const
const MAX_PAGE = 2 ** 40

/** A copy of the named fields. @throws StateError for one of another type */
function take<T>(value: unknown, types: Readonly<Record<keyof T & string, string>>, path: string): T {
  const expect = (ok: boolean, field: string, expected: string): void => {
    if (!ok) throw new StateError(`supervisor.extension${path}${field}`, expected)
  }
  expect(typeof value === 'object' && value !== null, '', 'a record')
  return Object.fromEntries(Object.entries<string>(types).map(([field, type]) => {
    const found = (value as Readonly<Record<string, unknown>>)[field]
    const fits = type === 'number' ? Number.isSafeInteger(found) : typeof found === type
    expect(fits, `.${field}`, `a ${type}`)
    return [field, found]
  })) as T
}

const need = (ok: boolean, field: string, expected: string): void => {
  if (!ok) throw new StateError(`supervisor.extension.${field}`, expected)
}

/** What is kept of a processor, with its guest's kind where one is resident. */
export function saveSev(sev: SevProcessor, kind: GuestKind | null): SevSnapshot {
  return {
    denied: sev.denied === null ? null : { ...sev.denied },
    guest: kind === null || sev.guest === null ? null : { ...sev.guest },
    kind: kind?.encryptedState === true ? (kind as EncryptedKind).keep() : null,
  }
}

function checkGuest({ shared }: SevProcessor, guest: SevGuest, asid: number): void {
  need(guest.asid === asid, 'guest.asid', "the VMCB's")
  need(guest.vmpl >= 0 && guest.vmpl <= 3, 'guest.vmpl', '0 to 3')
  need(guest.vtomPage >= -1 && guest.vtomPage < MAX_PAGE, 'guest.vtomPage', 'a page number, or -1')
  need(!guest.snp || shared.rmp.enabled, 'guest.snp', 'SNP to be on')
  for (const field of ['features', 'ghcb', 'tscScale'] as const) {
    need(guest[field] >= 0n && guest[field] < 1n << 64n, `guest.${field}`, '64 bits')
  }
}

/** Takes that back; answers the resident guest's kind. The processor runs as that guest. @throws StateError */
export function restoreSev(
  sev: SevProcessor, value: unknown, vmcb: StatePage | null, control: GuestControl | null,
): GuestKind | null {
  const saved = take<SevSnapshot>(value, { denied: 'object', guest: 'object', kind: 'object' }, '')
  sev.denied = saved.denied === null ? null : take<DeniedFact>(saved.denied, DENIED, '.denied')
  sev.known = null
  if (vmcb === null || control === null) {
    need(saved.guest === null, 'guest', 'nothing: no guest is resident')
    runAs(sev, null)
    return null
  }
  const guest = take<SevGuest>(saved.guest, GUEST, '.guest')
  checkGuest(sev, guest, control.asid & (guest.es ? -1 : 0x3ff))
  if (!guest.es) {
    runAs(sev, guest)
    return plainGuest(sev, vmcb, control, guest.sev)
  }
  const kept = take<KeptKind>(saved.kind, KIND, '.kind')
  const { vmsaPage } = kept
  need(
    vmsaPage >= 0 && vmsaPage < MAX_PAGE && sev.shared.memory.frameWord(vmsaPage) !== FRAME_NONE,
    'kind.vmsaPage', 'a page of RAM',
  )
  const kind = keptGuest(sev, vmcb.address, control, guest, kept)
  runAs(sev, kind.guest)
  return kind
}
