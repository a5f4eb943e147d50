/**
 * What a host keeps of a guest's processor for each of its privilege levels: one of them runs (APM vol. 2, §15.36.7).
 */
import { SnapshotError } from '@cofferdam/devices'
import type { Vmcb } from './vmcb.ts'

/** Privilege levels that there are. */
export const VMPLS = 4

/** The state of one level that is not in its VMSA. */
export interface VmplState {
  /** System page of the VMSA; undefined: the level cannot run. */
  vmsa: number | undefined
  /** Registered GPA of its GHCB, −1 before. */
  ghcb: number
  dr7: bigint
}

export interface Vmpls {
  /** The level that runs, or would. */
  readonly current: number
  readonly state: VmplState
  /** Whether a level has a VMSA. */
  has(vmpl: number): boolean
  /** System page of the VMSA of the least privileged level that has one; undefined when there is none but VMPL0's. */
  outermost(): number | undefined
  /** Gives a level a VMSA, or takes it away. What it registered with the host stays. */
  setVmsa(vmpl: number, systemPage: number | undefined): void
  /** Has another level run next: its VMSA and what the VMCB keeps of it. The guest is not resident. */
  select(vmpl: number): void
  snapshot(): VmplsState
  /** Takes that back; the VMCB is in memory. @throws SnapshotError */
  restore(saved: VmplsState): void
}

/** What a snapshot keeps of the levels. */
export interface VmplsState {
  readonly current: number
  readonly levels: readonly (Kept & Omit<VmplState, 'vmsa'> & {
    /** System page; −1 without. */
    readonly vmsa: number
  })[]
}

/** What stands in the VMCB for a level while another one runs. */
export interface Kept {
  ghcbMsr: bigint
  interruptState: bigint
}

/** @param isRam whether a system page is RAM */
export function createVmpls(vmcb: Vmcb, isRam: (page: number) => boolean): Vmpls {
  const states = Array.from({ length: VMPLS }, (): VmplState => ({ vmsa: undefined, ghcb: -1, dr7: 0x400n }))
  const kept = states.map((): Kept => ({ ghcbMsr: 0n, interruptState: 0n }))
  let current = 0

  const load = (): void => {
    const { vmsa } = states[current]
    vmcb.set('ghcbGpa', kept[current].ghcbMsr)
    vmcb.set('interruptState', kept[current].interruptState)
    if (vmsa !== undefined) vmcb.set('vmsaPa', BigInt(vmsa) * 4096n)
  }

  const keep = (): void => {
    kept[current] = { ghcbMsr: vmcb.get('ghcbGpa'), interruptState: vmcb.get('interruptState') }
  }

  return {
    get current() { return current },
    get state() { return states[current] },
    has: (vmpl) => states[vmpl]?.vmsa !== undefined,
    outermost: () => states.slice(1).findLast(({ vmsa }) => vmsa !== undefined)?.vmsa,
    setVmsa(vmpl, systemPage) {
      states[vmpl].vmsa = systemPage
      if (vmpl === current) keep()
      kept[vmpl].interruptState = 0n
      if (vmpl === current) load()
    },
    select(vmpl) {
      if (vmpl === current) return
      keep()
      current = vmpl
      load()
    },
    snapshot: () => ({
      current,
      levels: states.map(({ vmsa = -1, ghcb, dr7 }, vmpl) => ({ vmsa, ghcb, dr7, ...kept[vmpl] })),
    }),
    restore(saved) {
      const { levels } = saved
      const fits = saved.current >= 0 && saved.current < VMPLS && levels.length === VMPLS
        && levels.every(({ vmsa, ghcb }) => (vmsa === -1 || isRam(vmsa)) && ghcb >= -1)
      if (!fits) throw new SnapshotError('guest', 'vcpus.vmpls', `${VMPLS} levels with pages of RAM`)
      current = saved.current
      for (const [vmpl, { vmsa, ghcb, dr7, ghcbMsr, interruptState }] of levels.entries()) {
        states[vmpl] = { vmsa: vmsa === -1 ? undefined : vmsa, ghcb, dr7 }
        kept[vmpl] = { ghcbMsr, interruptState }
      }
    },
  }
}
