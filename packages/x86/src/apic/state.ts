/** State of a local APIC as plain data, with its reset values (SDM vol. 3A, §11.4.7.1). */
import { APIC_BASE, LVT } from './registers.ts'
import { createApicTimer } from './timer.ts'
import { createVectorSet } from './vectors.ts'

const volatileState = () => ({
  tpr: 0, ldr: 0, dfr: 0xffff_ffff, svr: 0xff, icr: 0, icrHigh: 0,
  esr: 0,
  /** Errors since the last write of the ESR. */
  errors: 0,
  irr: createVectorSet(), isr: createVectorSet(), tmr: createVectorSet(),
  /** Timer, thermal, performance, LINT0, LINT1, error. */
  lvt: Array.from({ length: 6 }, (): number => LVT.MASKED),
  timer: createApicTimer(),
  /** An ExtINT message waits for its acknowledge. */
  extInt: false,
})

/** State of a local APIC. */
export type LocalApicState = ReturnType<typeof createApicState>

export const createApicState = (bootstrap: boolean) => ({
  ...volatileState(),
  /** Low half of IA32_APIC_BASE without the address bits, and the page frame number. */
  base: APIC_BASE.EN | (bootstrap ? APIC_BASE.BSP : 0),
  frame: 0xfee00,
  lint: [false, false],
  nmi: false,
  init: false,
  /** Vector of a pending SIPI, −1 when none. */
  startup: -1,
})

/** Resets what INIT and a disable reset: everything but the id, IA32_APIC_BASE, the pins and pending events. */
export function resetApicState(state: LocalApicState): void {
  Object.assign(state, volatileState())
}

type Mutable = Record<string, unknown>

const misfit = (like: unknown, value: unknown, path: string): string | undefined => {
  if (typeof like === 'number') return Number.isSafeInteger(value) ? undefined : `${path}: expected an integer`
  if (typeof like !== 'object' || like === null) {
    return typeof value === typeof like ? undefined : `${path}: expected a ${typeof like}`
  }
  if (typeof value !== 'object' || value === null) return `${path}: expected a record or list`
  if (Array.isArray(like) && (!Array.isArray(value) || value.length !== like.length)) {
    return `${path}: expected ${like.length} items`
  }
  for (const [key, item] of Object.entries(like)) {
    const found = misfit(item, (value as Mutable)[key], `${path}.${key}`)
    if (found !== undefined) return found
  }
  return undefined
}

const copy = <T>(value: T): T => {
  if (Array.isArray(value)) return value.map((item: unknown) => copy(item)) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copy(item as unknown)])) as T
}

export const copyApicState = (state: LocalApicState): LocalApicState => copy(state)

/** A snapshot that is none of a local APIC's. */
export class ApicSnapshotError extends Error {
  constructor(message: string) {
    super(`local APIC snapshot: ${message}`)
    this.name = 'ApicSnapshotError'
  }
}

/** Overwrites `state` by a snapshot. @throws ApicSnapshotError naming the field that does not fit. */
export function restoreApicState(state: LocalApicState, saved: unknown): void {
  const found = misfit(state, saved, 'state')
  if (found !== undefined) throw new ApicSnapshotError(found)
  const fresh = copy(saved as LocalApicState)
  for (const key of Object.keys(state)) (state as Mutable)[key] = (fresh as Mutable)[key]
}
