/**
 * SVM of one processor between two slices, as data. The guest's registers are the processor's, and its control area is
 * in memory as it was when it was entered: what is here is neither.
 */
import type { SupervisorState } from '../engine/supervisor.ts'
import { needState } from '../engine/translations.ts'
import type { VirtualInterrupts } from './control.ts'

/** What the host had in registers that guests have of their own, without VMRUN saving them in memory. */
export interface Kept {
  readonly pat: bigint
  readonly tscOffset: bigint
  readonly dbgCtl: bigint | undefined
}

/** How a host pages, as its nested tables are walked. */
export interface HostPaging {
  readonly cr0: number
  readonly cr4: number
  readonly efer: number
}

/** Notes about the guest that is resident, or was last. */
export interface GuestNotes {
  /** The event that an INT n, INT3, INTO or INT1 delivered last, and the RIP of that instruction. */
  readonly soft: bigint
  readonly softRip: bigint
  /** PAUSE instructions that the filter lets pass still, and when the last one was. */
  readonly pauses: number
  readonly lastPause: bigint
}

/** SVM as a snapshot has it. */
export interface SvmSnapshot extends SupervisorState {
  readonly gif: boolean
  /** The last guest's host was a program in TypeScript. */
  readonly direct: boolean
  /** The host save area of the last VMRUN by machine code, −1 before. */
  readonly hostSave: number
  /** What decided about the translations that are cached. */
  readonly tag: string | null
  readonly cached: Int32Array
  readonly kept: Omit<Kept, 'dbgCtl'> & { readonly dbgCtl: bigint | null }
  readonly notes: GuestNotes
  /** The guest that is resident, or null. */
  readonly guest: {
    readonly vmcb: number
    readonly direct: boolean
    readonly hostIf: boolean
    readonly paging: HostPaging
    readonly vintr: VirtualInterrupts
  } | null
  /** What the extension above keeps of it; null without one. */
  readonly extension: unknown
}

type Kind = 'boolean' | 'number' | 'bigint'
type Fields = Readonly<Record<string, Kind>>

const KEPT: Fields = { pat: 'bigint', tscOffset: 'bigint' }
const NOTES: Fields = { soft: 'bigint', softRip: 'bigint', pauses: 'number', lastPause: 'bigint' }
const GUEST: Fields = { vmcb: 'number', direct: 'boolean', hostIf: 'boolean' }
const PAGING: Fields = { cr0: 'number', cr4: 'number', efer: 'number' }
const VINTR: Fields = {
  tpr: 'number', irq: 'boolean', priority: 'number', ignoresTpr: 'boolean', masking: 'boolean', vector: 'number',
}

/** Signed or unsigned. */
const isWord = (value: unknown): boolean =>
  typeof value === 'bigint' && value >= -(1n << 63n) && value < 1n << 64n

function checkFields(value: unknown, fields: Fields, path: string): void {
  needState(typeof value === 'object' && value !== null, `supervisor.${path}`, 'a record')
  for (const [field, kind] of Object.entries(fields)) {
    const found = (value as Readonly<Record<string, unknown>>)[field]
    const fits = kind === 'number' ? Number.isSafeInteger(found)
      : kind === 'bigint' ? isWord(found)
      : typeof found === kind
    needState(fits, `supervisor.${path}.${field}`, kind === 'bigint' ? 'a bigint of 64 bits' : `a ${kind}`)
  }
}

/**
 * @param words that decide about translations
 * @param isRam whether a system physical address lies in RAM
 * @throws StateError for what is none of SVM's
 */
export function checkSvmSnapshot(
  state: SupervisorState, words: number, isRam: (address: number) => boolean,
): SvmSnapshot {
  const saved = state as SvmSnapshot
  checkFields(saved, { gif: 'boolean', direct: 'boolean', hostSave: 'number' }, 'svm')
  const isPage = (address: number): boolean => address >= 0 && address % 4096 === 0 && isRam(address)
  needState(saved.hostSave === -1 || isPage(saved.hostSave), 'supervisor.hostSave', 'a page of RAM, or -1')
  needState(saved.tag === null || typeof saved.tag === 'string', 'supervisor.tag', 'a text')
  needState(
    (saved.cached as unknown) instanceof Int32Array && saved.cached.length === words,
    'supervisor.cached', `${words} words`,
  )
  checkFields(saved.kept, KEPT, 'kept')
  needState(saved.kept.dbgCtl === null || isWord(saved.kept.dbgCtl), 'supervisor.kept.dbgCtl', 'a bigint of 64 bits')
  checkFields(saved.notes, NOTES, 'notes')
  if (saved.guest === null) return saved
  checkFields(saved.guest, GUEST, 'guest')
  const { vmcb, paging, vintr } = saved.guest
  needState(isPage(vmcb), 'supervisor.guest.vmcb', 'a page of RAM')
  needState(saved.guest.direct || saved.hostSave >= 0, 'supervisor.hostSave', 'the page that the host goes on from')
  checkFields(paging, PAGING, 'guest.paging')
  checkFields(vintr, VINTR, 'guest.vintr')
  return saved
}
