/**
 * Message-signalled interrupts. Sources: PCI Local Bus Specification 3.0, section 6.8; Intel SDM vol. 3A, §11.11, for
 * what address and data mean on x86.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { wordHandlers, merge } from '../byte-ports.ts'
import type { InterruptMessage } from '../ioapic.ts'
import { copyPlain, restorePlain } from '../snapshot.ts'
import { littleEndian, type CapabilitySpace, type PciCapability } from './function.ts'

/** Sends one message: a write of `data` to `address`. */
export type SendMsi = (address: number, data: number) => void

/** What a message means to the local APICs; undefined for an address that is not theirs. */
export function messageOfMsi(address: number, data: number): InterruptMessage | undefined {
  // Beyond 2^32 an address is not the interrupt window, whatever its low bits say.
  if (Math.floor(address / 0x10_0000) !== 0xfee) return undefined
  const low = address >>> 0
  const logical = (low & 4) !== 0
  // Bits 11:5 extend the destination to 15 bits, as hypervisors define and Linux knows.
  const destination = low >>> 12 & 0xff | (low >>> 5 & 0x7f) << 8
  const mode = data >>> 8 & 7
  return {
    mode,
    vector: data & 0xff,
    level: (data & 0x8000) !== 0 && mode <= 1,
    destination: !logical && destination === 0xff ? 0xffff_ffff : destination,
    logical,
  }
}

/** A source of messages inside a device. */
export interface MessageSource {
  /** Software has switched the capability on: INTx must be silent. */
  enabled(): boolean
  /** Sends message `n`, or remembers it while it is masked. */
  notify(n: number): void
}

/** MSI: up to 32 consecutive messages, 64-bit addresses, masks. */
export interface MsiCapability extends PciCapability, MessageSource {}

const MSI = { ENABLE: 1, CAPABLE_64: 1 << 7, MASKABLE: 1 << 8 } as const

/** Creates an MSI capability of `vectors` messages (a power of two up to 32). */
export function createMsiCapability(options: { readonly vectors: number; readonly send: SendMsi }): MsiCapability {
  const log = Math.log2(options.vectors)
  if (log % 1 !== 0 || log > 5) throw new Error('MSI: vectors must be a power of two up to 32')
  const control = log << 1 | MSI.CAPABLE_64 | MSI.MASKABLE
  const maskBits = options.vectors === 32 ? 0xffff_ffff : 2 ** options.vectors - 1
  let space: CapabilitySpace | undefined

  const get = (offset: number, size: 2 | 4): number => space?.get(offset, size) ?? 0
  const enabled = (): boolean => (get(2, 2) & MSI.ENABLE) !== 0

  const send = (n: number): void => {
    // Multiple message enable: the low bits of the data are the message's number.
    const count = 1 << Math.min(get(2, 2) >> 4 & 7, log)
    const address = get(4, 4) + get(8, 4) * 2 ** 32
    options.send(address, get(12, 2) & ~(count - 1) | n & (count - 1))
  }
  const flush = (): void => {
    if (!enabled() || space?.isMaster() !== true) return
    const ready = (get(20, 4) & ~get(16, 4)) >>> 0
    if (ready === 0) return
    space.set(20, 4, (get(20, 4) & ~ready) >>> 0)
    for (let n = 0; n < options.vectors; n++) if ((ready >>> n & 1) !== 0) send(n)
  }

  return {
    id: 0x05,
    bytes: [...littleEndian(control, 2), ...Array.from({ length: 20 }, () => 0)],
    writable: [0x71, 0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, ...littleEndian(maskBits, 4),
      0, 0, 0, 0],
    attach(given) { space = given },
    written: flush,
    enabled,
    notify(n) {
      if (!enabled()) return
      space?.set(20, 4, (get(20, 4) | 1 << n) >>> 0)
      flush()
    },
  }
}

/** Options of {@link createMsixCapability}. */
export interface MsixOptions {
  /** Entries of the table, 1–2048. */
  readonly vectors: number
  readonly send: SendMsi
  /** BAR that holds the table at `tableOffset` and the pending bits at `pendingOffset` (both multiples of 8). */
  readonly bar: number
  readonly tableOffset: number
  readonly pendingOffset: number
}

/** MSI-X: a table of messages in a BAR. */
export interface MsixCapability extends PciCapability, MessageSource {
  /** The table: 16 bytes for each entry. */
  readonly table: IoHandlers
  /** The pending bits, 8 bytes for every 64 entries. */
  readonly pending: IoHandlers
}

const MSIX = { ENABLE: 0x8000, MASK_ALL: 0x4000 } as const
const ENTRY_WORDS = 4

/** Creates an MSI-X capability with every entry masked. */
export function createMsixCapability(options: MsixOptions): MsixCapability {
  const { vectors } = options
  const state = {
    /** Address, upper address, data, control of each entry. */
    table: Array.from({ length: vectors * ENTRY_WORDS }, (_, i): number => (i % ENTRY_WORDS === 3 ? 1 : 0)),
    pending: Array.from({ length: Math.ceil(vectors / 64) * 2 }, () => 0),
  }
  let space: CapabilitySpace | undefined
  const control = (): number => space?.get(2, 2) ?? 0
  const enabled = (): boolean => (control() & MSIX.ENABLE) !== 0
  const masked = (n: number): boolean =>
    (control() & MSIX.MASK_ALL) !== 0 || (state.table[n * ENTRY_WORDS + 3] & 1) !== 0 || space?.isMaster() !== true

  const isPending = (n: number): boolean => (state.pending[n >> 5] >>> (n & 31) & 1) !== 0
  const setPending = (n: number, on: boolean): void => {
    const bit = 1 << (n & 31)
    state.pending[n >> 5] = (on ? state.pending[n >> 5] | bit : state.pending[n >> 5] & ~bit) >>> 0
  }
  const flush = (n: number): void => {
    if (!enabled() || !isPending(n) || masked(n)) return
    setPending(n, false)
    const at = n * ENTRY_WORDS
    options.send(state.table[at] + state.table[at + 1] * 2 ** 32, state.table[at + 2])
  }
  const flushAll = (): void => {
    if (!enabled() || state.pending.every((word) => word === 0)) return
    for (let n = 0; n < vectors; n++) flush(n)
  }
  const clear = (): void => {
    state.table.forEach((_, i) => { state.table[i] = i % ENTRY_WORDS === 3 ? 1 : 0 })
    state.pending.fill(0)
  }

  return {
    id: 0x11,
    bytes: [...littleEndian(vectors - 1, 2), ...littleEndian(options.tableOffset | options.bar, 4),
      ...littleEndian(options.pendingOffset | options.bar, 4)],
    writable: [0x00, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0],
    attach(given) { space = given },
    written: flushAll,
    enabled,
    notify(n) {
      if (!enabled() || n < 0 || n >= vectors) return
      setPending(n, true)
      flush(n)
    },
    table: wordHandlers({
      read: (offset) => state.table.at(offset >> 2) ?? 0,
      write(offset, value, mask) {
        const word = offset >> 2
        if (word >= state.table.length) return
        const merged = merge(state.table[word], value, mask)
        // Messages are double words; of the control word only the mask bit exists.
        const field = word % ENTRY_WORDS
        state.table[word] = field === 0 ? (merged & ~3) >>> 0 : field === 3 ? merged & 1 : merged
        flush(Math.floor(word / ENTRY_WORDS))
      },
    }),
    pending: wordHandlers({ read: (offset) => state.pending.at(offset >> 2) ?? 0, write: () => undefined }),
    reset: clear,
    snapshot: () => copyPlain(state),
    restore(saved) { restorePlain('MSI-X', state, saved) },
  }
}

/** What a BAR shows that holds an MSI-X table at its start, and the pending bits from `pendingAt` on. */
export const msixHandlers = ({ table, pending }: MsixCapability, pendingAt: number): IoHandlers => ({
  read: (offset, size) => (offset < pendingAt ? table.read(offset, size) : pending.read(offset - pendingAt, size)),
  write(offset, size, value) { if (offset < pendingAt) table.write(offset, size, value) },
})
