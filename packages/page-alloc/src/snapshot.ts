/** The allocator's state as plain data, and back. */
import { type AcceptMemory, type Acceptor, type AcceptorSnapshot, restoreAcceptor } from './acceptor.ts'
import type { Core, PageEvent, PoisonPort } from './core.ts'
import { PageAllocError } from './errors.ts'
import type { PageStore } from './pages.ts'
import type { WatermarkOptions } from './watermarks.ts'
import type { Policy } from './allocator.ts'

type Data<T> = { [K in keyof T as T[K] extends ((...args: never[]) => unknown) | undefined ? never : K]: T[K] }

/** Everything that decides what the allocator does next; numbers, typed arrays and lists of them only. */
export interface PageAllocSnapshot {
  readonly version: 1
  readonly core: Data<Omit<Core, 'acceptor' | 'poison' | 'onEvent' | 'store'>>
  readonly store: PageStore
  readonly acceptor: AcceptorSnapshot | undefined
  readonly watermarks: WatermarkOptions
  readonly policy: Policy
  readonly spent: number
}

/** The ports of an allocator that is restored. */
export interface RestorePorts {
  readonly accept?: AcceptMemory
  readonly poison?: PoisonPort
  readonly onEvent?: (event: PageEvent) => void
}

/** A copy that shares nothing with the original: slot arrays are cut to what is in use. */
function copyStore(s: PageStore): PageStore {
  const pages = s.slots * 1024
  return {
    ...s,
    dir: s.dir.map((d) => d?.slice()), shared: s.shared.map((l) => [...l]),
    blockPfn: s.blockPfn.slice(), blockZone: s.blockZone.slice(), blockMt: s.blockMt.slice(),
    blockState: s.blockState.slice(), blockNext: s.blockNext.slice(), blockPrev: s.blockPrev.slice(),
    blockSlot: s.blockSlot.slice(), slotBlock: s.slotBlock.slice(0, s.slots), slotFree: s.slotFree.slice(0, s.slots),
    pageState: s.pageState.slice(0, pages), pageNext: s.pageNext.slice(0, pages), pagePrev: s.pagePrev.slice(0, pages),
  }
}

function copyCore(core: PageAllocSnapshot['core']): PageAllocSnapshot['core'] {
  const copy = { ...core, spans: core.spans.map((x) => ({ ...x })) } as Record<string, unknown>
  for (const [name, value] of Object.entries(copy)) {
    if (ArrayBuffer.isView(value)) copy[name] = (value as Uint8Array).slice()
  }
  copy.zonelists = core.zonelists.map((l) => l.slice())
  copy.nodelists = core.nodelists.map((l) => l.slice())
  return copy as unknown as PageAllocSnapshot['core']
}

/** Takes a snapshot. */
export function takeSnapshot(
  core: Core, watermarks: WatermarkOptions, policy: Policy, spent: number,
): PageAllocSnapshot {
  const { acceptor, poison: _poison, onEvent: _onEvent, store, ...rest } = core
  return {
    version: 1, core: copyCore(rest), store: copyStore(store), acceptor: acceptor?.snapshot(),
    watermarks: { ...watermarks }, policy: { ...policy }, spent,
  }
}

/** The state of a snapshot with new ports. @throws PageAllocError when a port that the state needs is missing. */
export function restoreCore(from: PageAllocSnapshot, ports: RestorePorts): Core {
  let acceptor: Acceptor | undefined
  if (from.acceptor !== undefined) {
    if (ports.accept === undefined) {
      throw new PageAllocError('restore: unaccepted memory in the snapshot, no accept port')
    }
    acceptor = restoreAcceptor(from.acceptor, ports.accept)
  }
  return {
    ...copyCore(from.core), store: copyStore(from.store), acceptor, poison: ports.poison, onEvent: ports.onEvent,
  }
}
