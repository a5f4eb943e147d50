/** The system around an SNP guest between two instructions: what a snapshot keeps beside what every machine has. */
import type { HostState, SnpGuestState } from '@cofferdam/host'
import type { SvsmSnapshot } from '@cofferdam/svsm'
import type { Shape } from '../snapshot/shape.ts'
import type { SnpFindingsState } from './findings.ts'
import type { HostileMomentsState } from './hostile.ts'
import type { SiliconState } from './silicon.ts'
import type { TimeAccountState } from './time-account.ts'

/** As data. What it holds is checked by its shape here, and where it is restored. */
export interface SnpSystemState {
  readonly silicon: SiliconState
  readonly host: HostState
  readonly guest: SnpGuestState
  /** The SVSM, by its address; null for a guest at VMPL0. */
  readonly svsm: { readonly base: number, readonly program: SvsmSnapshot } | null
  /** Where a guest of direct boot has its table of unaccepted memory, in its own memory; null for others. */
  readonly unacceptedTable: { readonly start: number, readonly length: number } | null
  readonly findings: SnpFindingsState
  readonly time: TimeAccountState
  /** Of a hostile host. */
  readonly moments: HostileMomentsState | null
}

const list = (shape: Shape): Shape => ({ list: shape })
const tuple = (...shapes: readonly Shape[]): Shape => ({ tuple: shapes })
const counters = list(tuple('string', 'count'))
const range = { start: 'count', length: 'count' } as const

const VCPU: Shape = {
  vmpls: {
    current: 'count',
    levels: list({ vmsa: 'integer', ghcb: 'integer', dr7: 'word', ghcbMsr: 'word', interruptState: 'word' }),
  },
  injection: { nmiMasked: 'boolean', window: 'boolean' },
  cpu: { registers: Uint8Array, msrs: list(tuple('count', 'word')) },
  waiting: 'string', pauses: 'count', progress: { faults: list(tuple('bigint', 'count')), inHandler: 'boolean' },
}

const GUEST: Shape = {
  ram: list(range), sevFeatures: 'word', tellsApicIds: 'boolean', asid: 'count',
  npt: { root: 'count', tables: 'count' },
  memory: {
    regions: list(tuple('count', 'count', 'boolean', Uint8Array)),
    counts: {},
  },
  requestPage: 'count', responsePage: 'count', context: 'count', iopm: tuple('count', 'count'),
  msrpm: tuple('count', 'count'),
  vmcbs: list('count'), vmsas: list(tuple('count', 'count')), hostPages: list('count'), apics: list({}),
  vcpus: list(VCPU), onInit: list(tuple('count', 'count', 'count')), exits: counters, malformed: counters,
  hostile: {
    orNull: {
      instructions: 'count',
      attacks: list({ mode: 'string', did: { orNull: 'string' }, instructions: 'count', own: 'count', state: {} }),
    },
  },
}

const SVSM: Shape = {
  base: 'count',
  program: {
    requests: counters, refused: counters,
    started: {
      orNull: {
        configuration: {
          size: 'count', callingArea: 'count', guestSecrets: 'count', guestCpuid: 'count', vmpl: 'count',
          apicIds: list('count'), ram: list(range), launch: list(range), cr3: 'word',
        },
        vcpus: list({ apicId: 'count', vmsa: 'count', callingArea: 'count' }),
        deposits: list({ address: 'count', large: 'boolean' }),
        host: { shared: list('count'), registered: list('count') },
        channel: { key: Uint8Array, sequence: 'word', broken: 'boolean' },
      },
    },
  },
}

const PLACE: Shape = { address: 'bigint', symbol: { orNull: 'string' } }
const FINDING: Shape = {
  cpu: 'count', vmpl: 'integer', cpl: 'count', mode: 'string', rip: PLACE, linked: { orNull: 'bigint' },
  backtrace: list({ address: 'bigint', symbol: { orNull: 'string' }, certain: 'boolean' }), noSymbols: 'string',
  id: 'string', rule: 'string', outcome: 'string', what: 'string', gva: { orNull: 'bigint' }, gpa: { orNull: 'bigint' },
  spa: { orNull: 'bigint' }, entry: { orNull: { table: 'string', words: list('bigint'), text: 'string' } },
  count: 'count', first: 'count', last: 'count', others: list('bigint'),
}
const ENTRY: Shape = {
  assigned: 'boolean', large: 'boolean', immutable: 'boolean', guestPage: 'count', asid: 'count', vmsa: 'boolean',
  validated: 'boolean', permissions: 'count', inUse: 'boolean',
}
const FINDINGS: Shape = {
  collector: { kept: list(tuple('string', FINDING)), counts: counters, dropped: 'count' },
  history: {
    unanswered: list(tuple('count', 'boolean')), mistaken: list('count'), promised: list(tuple('count', 'boolean')),
    taken: list(tuple('count', 'boolean', ENTRY)),
  },
  repeats: list(tuple('count', list(tuple('string', 'count', 'count')))),
  tries: 'count',
}

const time = tuple('count', 'count')

/** The shape of a state. The firmware's part and the page allocator's are checked where they are restored. */
export const SNP_SHAPE: Shape = {
  silicon: {
    psp: {}, rmp: { enabled: 'boolean', base: 'string', end: 'string', cfg: 'string' }, operations: counters,
    evictions: { orNull: list(tuple('count', 'count', 'word')) },
  },
  host: { pages: {}, bufferPage: 'count', asid: 'count', released: list('count') },
  guest: GUEST,
  svsm: { orNull: SVSM },
  unacceptedTable: { orNull: range },
  findings: FINDINGS,
  time: {
    turn: 'integer', booked: tuple('count', 'count'), total: { acceptance: time, exits: time, rest: time },
    lanes: list({ handlers: list('bigint'), exit: { orNull: 'string' }, since: { orNull: time } }),
  },
  moments: { orNull: { texts: list({ last: Uint8Array, count: 'count', seen: 'boolean' }), unvalidated: 'count' } },
}
