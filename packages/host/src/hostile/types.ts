/** What an attack gets, and where it may reach into the reference host. */
import { SnapshotError } from '@cofferdam/devices'
import type { CpuidAnswer } from '../cpu/guest-cpu.ts'
import type { GuestRequestResult } from '../ghcb/types.ts'
import type { Vmcb } from '../guest/vmcb.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { Npt } from '../memory/npt.ts'
import type { HostMemory } from '../memory/words.ts'

/** The host's means, and the attack's moment. */
export interface AttackServices {
  /** The guest's memory as the honest host keeps it: RMPUPDATE and nested tables go together. */
  readonly memory: GuestMemory
  /** Physical memory without a key, past all checks: what somebody at the memory bus reads and writes. */
  readonly physical: HostMemory
  readonly npt: Npt
  /** Processors forget the guest's translations. */
  readonly flush: () => void
  /** A number from 0, below `n`; it follows from the seed. */
  readonly below: (n: number) => number
  /** The moment has come. */
  readonly due: () => boolean
  /** Instructions that the guest has retired. */
  readonly instructions: () => number
  /** Says what the host did, for a person, after "the host". What is said first counts. */
  readonly did: (what: string) => void
}

/** A processor that is about to be entered, not resident. */
export interface EntryVcpu {
  readonly vmcb: Vmcb
  /** GPA of its GHCB, −1 before there is one. */
  readonly ghcb: number
}

/** Where an attack reaches in; what it leaves out stays honest. */
export interface AttackHooks {
  /** Stands between exits and the guest's memory. */
  memory?(honest: GuestMemory): GuestMemory
  /** Changes the CPUID page that is proposed to the firmware. */
  cpuidPage?(page: Uint8Array): void
  /** Changes an answer to a CPUID that the guest asks its host for. */
  cpuid?(answer: CpuidAnswer, leaf: number): void
  /** Stands between the guest and the firmware. */
  guestRequest?(page: Uint8Array, honest: (page: Uint8Array) => GuestRequestResult): GuestRequestResult
  /** Before an entry, with everything honest in the VMCB. */
  entry?(vcpu: EntryVcpu): void
  /** What it has come to, for a snapshot; left out by attacks that remember nothing. Plain data and byte arrays. */
  snapshot?(): AttackState
  /** @throws SnapshotError */
  restore?(saved: AttackState): void
}

/** What an attack remembers, by its own names. */
export type AttackState = Readonly<Record<string, number | boolean | Uint8Array | null>>

const misfit = (field: string, expected: string): SnapshotError =>
  new SnapshotError('guest', `hostile.${field}`, expected)

/** A field of an attack's state, of the type of `like`. @throws SnapshotError */
export function remembered<T extends number | boolean>(saved: AttackState, field: string, like: T): T {
  const value = saved[field]
  const fits = typeof value === typeof like && (typeof value !== 'number' || Number.isSafeInteger(value))
  if (!fits) throw misfit(field, `a ${typeof like}`)
  return value as T
}

/** A page that an attack keeps a copy of, or none yet. @throws SnapshotError */
export function rememberedPage(saved: AttackState, field: string): Uint8Array | undefined {
  const value = saved[field]
  if (value === null) return undefined
  if (!(value instanceof Uint8Array) || value.length !== 4096) throw misfit(field, 'a page, or null')
  return value.slice()
}

/** An attack: one of a kind, one file; `ATTACKS` is the index. */
export interface Attack {
  /** One line for `--help`: what the host does. */
  readonly about: string
  /** It begins at once unless told otherwise; others wait until a system is up and running. */
  readonly early?: boolean
  create(services: AttackServices): AttackHooks
}
