/**
 * A host that attacks its guest: the honest one, with something of its own in places. What the guest gets is what the
 * architecture makes of it; everything follows from the seed.
 */
import { SnapshotError } from '@cofferdam/devices'
import type { GuestCpu } from '../cpu/guest-cpu.ts'
import type { GuestRequestResult } from '../ghcb/types.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import { cpuid } from './attacks/cpuid.ts'
import { badAnswer, injectInt80, injectVc } from './attacks/events.ts'
import { liePsc, refusePsc } from './attacks/page-state.ts'
import { flip, remap, replay, unmap } from './attacks/pages.ts'
import { replayRequest, replayResponse } from './attacks/requests.ts'
import type { Attack, AttackHooks, AttackServices, AttackState, EntryVcpu } from './types.ts'

/** The attacks by name. */
export const ATTACKS = {
  'refuse-psc': refusePsc, 'lie-psc': liePsc, unmap, remap, replay, flip, cpuid, 'inject-vc': injectVc,
  'inject-int80': injectInt80, 'bad-answer': badAnswer, 'replay-response': replayResponse,
  'replay-request': replayRequest,
} as const satisfies Readonly<Record<string, Attack>>

/** A name of an attack. */
export type HostileMode = keyof typeof ATTACKS

/** An attack, and when: after so many instructions of the guest, or when `isDue` says so. */
export interface HostilePlan {
  readonly mode: HostileMode
  /** Without it the attack has a moment of its own, from the seed. */
  readonly at?: number | (() => boolean)
}

/** What a host did to its guest. */
export interface HostileDeed {
  readonly mode: HostileMode
  /** In words, after "the host"; null while it has done nothing. */
  readonly did: string | null
  /** Instructions that the guest had retired then. */
  readonly instructions: number
}

export interface HostileOptions {
  readonly plans: readonly HostilePlan[]
  /** 0 to 2^32 − 1, from the seed. */
  readonly random32: () => number
  readonly memory: GuestMemory
  readonly physical: AttackServices['physical']
  readonly npt: AttackServices['npt']
  readonly flush: () => void
}

/** The attacks of one host on one guest, together. */
export interface Hostile {
  readonly memory: GuestMemory
  cpu(honest: GuestCpu): GuestCpu
  cpuidPage(page: Uint8Array): Uint8Array
  guestRequest(page: Uint8Array, honest: (page: Uint8Array) => GuestRequestResult): GuestRequestResult
  entry(vcpu: EntryVcpu): void
  /** The guest has retired so many instructions more. */
  ran(instructions: number): void
  deeds(): readonly HostileDeed[]
  snapshot(): HostileState
  /** @throws SnapshotError for a state of other attacks */
  restore(saved: HostileState | null): void
}

/** What a snapshot keeps of a hostile host. */
export interface HostileState {
  readonly instructions: number
  readonly attacks: readonly (HostileDeed & {
    /** When it begins by itself. */
    readonly own: number
    readonly state: AttackState
  })[]
}

/** When an attack begins that nobody gave a moment: by then a system is starting, or runs. */
const [EARLIEST, SPAN] = [900_000_000, 600_000_000]

/** Sets attacks up. */
export function createHostile(options: HostileOptions): Hostile {
  const { plans, random32, physical, npt, flush } = options
  let instructions = 0
  const deeds: { mode: HostileMode, did: string | null, instructions: number, own: number }[] = []
  const below = (n: number): number => random32() % n
  const attacks: AttackHooks[] = plans.map(({ mode, at }) => {
    const attack: Attack = ATTACKS[mode]
    const deed = {
      mode, did: null as string | null, instructions: 0, own: attack.early === true ? 0 : EARLIEST + below(SPAN),
    }
    deeds.push(deed)
    return attack.create({
      memory: options.memory, physical, npt, flush, below,
      due: () => (typeof at === 'function' ? at() : instructions >= (at ?? deed.own)),
      instructions: () => instructions,
      did(what) {
        if (deed.did !== null) return
        deed.did = what
        deed.instructions = instructions
      },
    })
  })

  return {
    memory: attacks.reduce((memory, attack) => attack.memory?.(memory) ?? memory, options.memory),
    cpu: (honest) => ({
      ...honest,
      cpuid(leaf, subleaf, xcr0) {
        const answer = honest.cpuid(leaf, subleaf, xcr0)
        for (const attack of attacks) attack.cpuid?.(answer, leaf)
        return answer
      },
    }),
    cpuidPage(page) {
      for (const attack of attacks) attack.cpuidPage?.(page)
      return page
    },
    guestRequest: (page, honest) => attacks.reduce<(page: Uint8Array) => GuestRequestResult>(
      (next, attack) => (request) => attack.guestRequest?.(request, next) ?? next(request), honest,
    )(page),
    entry(vcpu) { for (const attack of attacks) attack.entry?.(vcpu) },
    ran(count) { instructions += count },
    deeds: () => deeds.map(({ own: _own, ...deed }) => deed),
    snapshot: () => ({
      instructions,
      attacks: deeds.map((deed, i) => ({ ...deed, state: attacks[i].snapshot?.() ?? {} })),
    }),
    restore(saved) {
      const names = (of: readonly { readonly mode: string }[]): string => of.map(({ mode }) => mode).join(', ')
      if (saved === null || names(saved.attacks) !== names(deeds)) {
        const got = names(saved?.attacks ?? []) || 'none'
        throw new SnapshotError('guest', 'hostile.attacks', `${names(deeds)}; got ${got}`)
      }
      ;({ instructions } = saved)
      for (const [i, { state, did, instructions: at, own }] of saved.attacks.entries()) {
        Object.assign(deeds[i], { did, instructions: at, own })
        attacks[i].restore?.(state)
      }
    },
  }
}
