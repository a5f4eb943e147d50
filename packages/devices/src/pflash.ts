/**
 * Parallel NOR flash with Intel's command set, one byte wide, as QEMU gives it to firmware. Sources: Intel 28F640J3
 * data sheet (290667), section 4 "Commands"; JEDEC JESD68.01 (the query structure); what firmware relies on beside
 * these: the status register is 0 after it was cleared, and CLEAR STATUS leads back to the array.
 *
 * While the array is shown, reads are plain memory reads: the machine lets processors have `data` directly and brings
 * only writes here. `onMode` says when that changes.
 */
import type { AccessSize, IoHandlers } from '@cofferdam/memory'
import { copyPlain, restorePlain, SnapshotError } from './snapshot.ts'

/** Bytes that are erased at once. */
export const FLASH_SECTOR = 4096

/** What a read of the flash answers: its contents, or status, identifier or query data. */
export type FlashMode = 'array' | 'command'

/** Options of {@link createPflash}. */
export interface PflashOptions {
  /** The contents, a multiple of {@link FLASH_SECTOR}; programming and erasing change them in place. */
  readonly data: Uint8Array
  /** Programming and erasing fail. */
  readonly readOnly?: boolean
  readonly onMode: (mode: FlashMode) => void
  /** Bytes of the array were changed. */
  readonly onChange?: (offset: number, length: number) => void
}

/** State of a flash. Contents are there by sector, where they differ from those at creation, in hexadecimal. */
export interface PflashSnapshot {
  readonly state: {
    readonly command: number, readonly status: number, readonly block: number, readonly expected: number,
  }
  /** Bytes for the write buffer so far: offset and value. */
  readonly buffer: readonly (readonly [offset: number, value: number])[]
  readonly changed: Readonly<Record<string, string>>
}

/** A flash. */
export interface Pflash {
  readonly handlers: IoHandlers
  mode(): FlashMode
  /** Whether the contents differ from those at creation, or did for a while. */
  changed(): boolean
  /** Shows the array again, as at power-on; contents stay. */
  reset(): void
  snapshot(): PflashSnapshot
  restore(saved: PflashSnapshot): void
}

const COMMAND = {
  CLEAR_STATUS: 0x50, READ_STATUS: 0x70, READ_ID: 0x90, QUERY: 0x98, READ_ARRAY: 0xff, RESET: 0xf0,
  PROGRAM: 0x10, PROGRAM_ALTERNATE: 0x40, ERASE: 0x20, LOCK: 0x60, BUFFER: 0xe8, CONFIRM: 0xd0,
  /** Not commands of the bus: the buffer's bytes are awaited, then its confirmation. */
  FILLING: 0x1e8, FILLED: 0x2e8,
} as const
const STATUS = { READY: 0x80, ERASE_FAILED: 0x20, PROGRAM_FAILED: 0x10 } as const
/** Manufacturer and device. */
const IDENTIFIER = [0x89, 0x18]
const BUFFER_SIZE = 256

/** The query structure from offset 10h (JESD68.01, tables 2 to 4): Intel's extended commands, one region of sectors. */
function queryTable(size: number): number[] {
  const sectors = size / FLASH_SECTOR
  const word = (value: number): number[] => [value & 0xff, value >> 8 & 0xff]
  const text = (value: string): number[] => Array.from(value, (c) => c.charCodeAt(0))
  return [
    ...text('QRY'), ...word(1), ...word(0x31), ...word(0), ...word(0),
    // Supply 4.5 to 5.5 V; times as powers of two: program 128 µs, erase 1 s, at most 16 times as long.
    0x45, 0x55, 0, 0, 7, 7, 10, 0, 4, 4, 4, 0,
    Math.ceil(Math.log2(size)), ...word(0), ...word(Math.log2(BUFFER_SIZE)),
    1, ...word(sectors - 1), ...word(FLASH_SECTOR / 256),
    ...text('PRI10'), ...Array.from({ length: 10 }, () => 0),
  ]
}
const QUERY_START = 0x10

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

/** Creates a flash that shows its array. */
export function createPflash(options: PflashOptions): Pflash {
  const { data, readOnly, onMode, onChange } = options
  if (data.length === 0 || data.length % FLASH_SECTOR !== 0) {
    throw new RangeError(`flash: ${data.length} bytes; expected a multiple of ${FLASH_SECTOR}`)
  }
  /**
   * The command that awaits its next cycle, or whose answer is shown; `expected`: bytes that the buffer still takes.
   */
  const state = { command: COMMAND.READ_ARRAY as number, status: 0, block: 0, expected: 0 }
  let buffer: [offset: number, value: number][] = []
  /** Sectors as they were at creation, from their first change on. */
  const original = new Map<number, Uint8Array>()
  const query = queryTable(data.length)
  let shown: FlashMode = 'array'

  const show = (): void => {
    const mode = state.command === COMMAND.READ_ARRAY ? 'array' : 'command'
    if (mode === shown) return
    shown = mode
    onMode(mode)
  }

  const keep = (offset: number): void => {
    const sector = Math.floor(offset / FLASH_SECTOR)
    if (!original.has(sector)) original.set(sector, data.slice(sector * FLASH_SECTOR, (sector + 1) * FLASH_SECTOR))
  }

  /** Programming only turns ones into zeroes (data sheet, §4.3). */
  const program = (offset: number, value: number): void => {
    state.status |= STATUS.READY
    if (readOnly === true) {
      state.status |= STATUS.PROGRAM_FAILED
      return
    }
    keep(offset)
    data[offset] &= value
    onChange?.(offset, 1)
  }

  const erase = (offset: number): void => {
    state.status |= STATUS.READY
    if (readOnly === true) {
      state.status |= STATUS.ERASE_FAILED
      return
    }
    const start = offset - offset % FLASH_SECTOR
    keep(start)
    data.fill(0xff, start, start + FLASH_SECTOR)
    onChange?.(start, FLASH_SECTOR)
  }

  /** A command that makes no sense: both error bits, and the status is shown (data sheet, table 16). */
  const refuse = (): void => {
    state.status |= STATUS.READY | STATUS.ERASE_FAILED | STATUS.PROGRAM_FAILED
    state.command = COMMAND.READ_STATUS
  }

  const start = (offset: number, command: number): void => {
    switch (command) {
      case COMMAND.PROGRAM: case COMMAND.PROGRAM_ALTERNATE: case COMMAND.ERASE: case COMMAND.LOCK:
      case COMMAND.READ_STATUS: case COMMAND.READ_ID: case COMMAND.QUERY:
        state.command = command
        break
      case COMMAND.BUFFER:
        state.status |= STATUS.READY
        state.command = command
        state.block = offset - offset % FLASH_SECTOR
        buffer = []
        break
      case COMMAND.CLEAR_STATUS:
        state.status = 0
        state.command = COMMAND.READ_ARRAY
        break
      default:
        // READ ARRAY, and whatever the device does not know.
        state.command = COMMAND.READ_ARRAY
    }
  }

  /** Collects the buffer's bytes: all of one block, none before the count was given. */
  const fillBuffer = (offset: number, size: AccessSize, value: number): void => {
    for (let i = 0; i < size && state.expected > 0; i++) {
      buffer.push([offset + i, value >>> (8 * i) & 0xff])
      state.expected--
    }
    if (state.expected === 0) state.command = COMMAND.FILLED
  }

  const confirmBuffer = (value: number): void => {
    const inBlock = buffer.every(([at]) => at >= state.block && at < state.block + FLASH_SECTOR)
    if (value !== COMMAND.CONFIRM || !inBlock) refuse()
    else for (const [at, byte] of buffer) program(at, byte)
    buffer = []
    state.command = COMMAND.READ_STATUS
  }

  const write = (offset: number, size: AccessSize, value: number): void => {
    const byte = value & 0xff
    switch (state.command) {
      case COMMAND.PROGRAM: case COMMAND.PROGRAM_ALTERNATE:
        for (let i = 0; i < size; i++) program(offset + i, value >>> (8 * i) & 0xff)
        state.command = COMMAND.READ_STATUS
        break
      case COMMAND.ERASE:
        if (byte === COMMAND.CONFIRM) {
          erase(offset)
          state.command = COMMAND.READ_STATUS
        } else if (byte === COMMAND.READ_ARRAY) state.command = COMMAND.READ_ARRAY
        else refuse()
        break
      case COMMAND.LOCK:
        // Blocks are never locked; the commands are taken.
        state.status |= STATUS.READY
        state.command = byte === COMMAND.READ_ARRAY ? COMMAND.READ_ARRAY : COMMAND.READ_STATUS
        break
      case COMMAND.BUFFER:
        if (byte >= BUFFER_SIZE) refuse()
        else {
          state.expected = byte + 1
          state.command = COMMAND.FILLING
        }
        break
      case COMMAND.FILLING: fillBuffer(offset, size, value); break
      case COMMAND.FILLED: confirmBuffer(byte); break
      default: start(offset, byte)
    }
    show()
  }

  const readByte = (offset: number): number => {
    switch (state.command) {
      case COMMAND.READ_ARRAY: return data[offset]
      case COMMAND.READ_ID: return IDENTIFIER.at(offset % FLASH_SECTOR) ?? 0
      case COMMAND.QUERY: return offset < QUERY_START ? 0 : query.at(offset - QUERY_START) ?? 0
      default: return state.status
    }
  }

  return {
    handlers: {
      read(offset, size) {
        let value = 0
        for (let i = 0; i < size; i++) value += readByte(offset + i) * 2 ** (8 * i)
        return value
      },
      write,
    },
    mode: () => shown,
    changed: () => original.size > 0,
    reset() {
      Object.assign(state, { command: COMMAND.READ_ARRAY, status: 0, block: 0, expected: 0 })
      buffer = []
      show()
    },
    snapshot: () => ({
      state: copyPlain(state),
      buffer: copyPlain(buffer),
      changed: Object.fromEntries([...original.keys()].map((sector) =>
        [String(sector), hexOf(data.subarray(sector * FLASH_SECTOR, (sector + 1) * FLASH_SECTOR))])),
    }),
    restore(saved) {
      const sectors = checkSnapshot(saved, state, data.length)
      for (const [sector, bytes] of original) data.set(bytes, sector * FLASH_SECTOR)
      for (const [sector, bytes] of sectors) {
        keep(sector * FLASH_SECTOR)
        data.set(bytes, sector * FLASH_SECTOR)
      }
      buffer = saved.buffer.map(([at, value]) => [at, value & 0xff])
      onChange?.(0, data.length)
      show()
    },
  }
}

/** Takes the saved registers over and answers the saved sectors. @throws SnapshotError when something does not fit */
function checkSnapshot(saved: PflashSnapshot, state: object, size: number): [number, Uint8Array][] {
  const given: { readonly buffer: unknown, readonly changed: unknown } = saved
  const isByte = (pair: unknown): boolean => Array.isArray(pair) && pair.length === 2
    && pair.every((n, i) => Number.isSafeInteger(n) && n >= 0 && n < (i === 0 ? size : 256))
  if (!Array.isArray(given.buffer) || given.buffer.length > BUFFER_SIZE || !given.buffer.every(isByte)) {
    throw new SnapshotError('flash', 'buffer', `at most ${BUFFER_SIZE} pairs of offset and byte`)
  }
  if (typeof given.changed !== 'object' || given.changed === null) {
    throw new SnapshotError('flash', 'changed', 'sectors')
  }
  const sectors = Object.entries(given.changed).map(([name, text]: [string, unknown]): [number, Uint8Array] => {
    const fits = /^\d{1,6}$/.test(name) && Number(name) < size / FLASH_SECTOR
      && typeof text === 'string' && text.length === 2 * FLASH_SECTOR && /^[0-9a-f]+$/.test(text)
    if (!fits) throw new SnapshotError('flash', `changed.${name}`, `a sector of ${FLASH_SECTOR} bytes in hexadecimal`)
    return [
      Number(name), Uint8Array.from({ length: FLASH_SECTOR }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16)),
    ]
  })
  const registers = { command: 0, status: 0, block: 0, expected: 0 }
  restorePlain('flash', registers, (saved as { readonly state: unknown }).state)
  if (registers.expected < 0 || registers.expected > BUFFER_SIZE) {
    throw new SnapshotError('flash', 'state.expected', `0 to ${BUFFER_SIZE}`)
  }
  Object.assign(state, registers)
  return sectors
}
