/**
 * QEMU's firmware configuration device: numbered items and named files, by port or by DMA. Source: QEMU
 * docs/specs/fw_cfg.rst. The signature says "QEMU" because guests look for that.
 */
import type { IoHandlers } from '@cofferdam/memory'
import type { DmaMemory } from './dma.ts'
import { copyPlain, restorePlain } from './snapshot.ts'

/** Item numbers that are fixed. */
export const FW_CFG = {
  SIGNATURE: 0x00, ID: 0x01, UUID: 0x02, RAM_SIZE: 0x03, NOGRAPHIC: 0x04, CPUS: 0x05, KERNEL_ADDRESS: 0x07,
  KERNEL_SIZE: 0x08, KERNEL_COMMAND_LINE: 0x09, INITRD_ADDRESS: 0x0a, INITRD_SIZE: 0x0b, BOOT_MENU: 0x0e,
  MAX_CPUS: 0x0f,
  KERNEL_ENTRY: 0x10, KERNEL_DATA: 0x11, INITRD_DATA: 0x12, COMMAND_LINE_ADDRESS: 0x13, COMMAND_LINE_SIZE: 0x14,
  COMMAND_LINE_DATA: 0x15, SETUP_ADDRESS: 0x16, SETUP_SIZE: 0x17, SETUP_DATA: 0x18, DIRECTORY: 0x19, FIRST_FILE: 0x20,
} as const

/** A named file. */
export interface FwCfgFile {
  /** Up to 55 ASCII characters, e.g. `etc/e820`. */
  readonly name: string
  readonly data: Uint8Array
  /** The guest may write it by DMA; `data` changes in place. */
  readonly onWrite?: (data: Uint8Array) => void
  /**
   * The guest is about to read the file from its start: `data` may be brought up to date in place. Tables that depend
   * on what firmware has set up are made here.
   */
  readonly onSelect?: () => void
}

/** Options of {@link createFwCfg}. */
export interface FwCfgOptions {
  /** Items by number. */
  readonly items?: readonly (readonly [key: number, data: Uint8Array])[]
  readonly files?: readonly FwCfgFile[]
  /** DMA is offered only with memory. */
  readonly memory?: DmaMemory
}

/** A file that the device cannot offer. */
export class FwCfgError extends Error {
  readonly file: string

  constructor(file: string, expected: string) {
    super(`fw_cfg file '${file}': expected ${expected}`)
    this.name = 'FwCfgError'
    this.file = file
  }
}

/** State of the device; the contents of writable files are in it, the others come with the options. */
export interface FwCfgSnapshot {
  readonly selected: number
  readonly offset: number
  readonly dmaHigh: number
  readonly written: Readonly<Record<string, readonly number[]>>
}

/** The device. */
export interface FwCfg {
  /** Ports 510h–51Bh: selector, data, DMA address. */
  readonly handlers: IoHandlers
  snapshot(): FwCfgSnapshot
  restore(saved: FwCfgSnapshot): void
}

const CONTROL = { ERROR: 1, READ: 2, SKIP: 4, SELECT: 8, WRITE: 16 } as const
/** Bytes of zeros that one request gets behind the end of an item. */
const MOST_ZEROS = 2 ** 20
const NAME_LENGTH = 56
const SIGNATURE = [0x51, 0x45, 0x4d, 0x55] // "QEMU"
/** "QEMU CFG", what the DMA register reads. */
const DMA_SIGNATURE = [0x51, 0x45, 0x4d, 0x55, 0x20, 0x43, 0x46, 0x47]

const bigEndian = (value: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * (size - 1 - i))) & 0xff)
const fromBigEndian = (bytes: Uint8Array, at: number, size: number): number =>
  bytes.subarray(at, at + size).reduce((value, byte) => value * 256 + byte, 0)
const swap32 = (value: number): number =>
  fromBigEndian(Uint8Array.from([0, 8, 16, 24], (shift) => value >>> shift & 0xff), 0, 4)

/** The directory: a count, then size, number and name of each file, big endian. */
function directory(files: readonly FwCfgFile[]): Uint8Array {
  const entries = files.flatMap((file, i) => {
    const name = Array.from(file.name, (c) => c.charCodeAt(0))
    if (name.length === 0 || name.length >= NAME_LENGTH || name.some((c) => c < 0x20 || c > 0x7e)) {
      throw new FwCfgError(file.name, `a name of 1–${NAME_LENGTH - 1} printable ASCII characters`)
    }
    return [...bigEndian(file.data.length, 4), ...bigEndian(FW_CFG.FIRST_FILE + i, 2), 0, 0, ...name,
      ...Array.from({ length: NAME_LENGTH - name.length }, () => 0)]
  })
  return Uint8Array.from([...bigEndian(files.length, 4), ...entries])
}

/** Creates the device. Files are offered in the order of their names. @throws FwCfgError for a name it cannot hold. */
export function createFwCfg(options: FwCfgOptions): FwCfg {
  const { memory } = options
  const files = [...(options.files ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1))
  files.forEach((file, i) => {
    if (files[i + 1]?.name === file.name) throw new FwCfgError(file.name, 'a name of its own')
  })
  const items = new Map<number, Uint8Array>([
    [FW_CFG.SIGNATURE, Uint8Array.from(SIGNATURE)],
    [FW_CFG.ID, Uint8Array.from([memory === undefined ? 1 : 3, 0, 0, 0])],
    ...(options.items ?? []),
    [FW_CFG.DIRECTORY, directory(files)],
    ...files.map((file, i) => [FW_CFG.FIRST_FILE + i, file.data] as const),
  ])
  const state = { selected: 0, offset: 0, dmaHigh: 0 }

  const select = (key: number): void => {
    // Bit 14 asked for writing through the data port, which no longer exists; bit 15 is the machine's own space.
    state.selected = key & 0xbfff
    state.offset = 0
    if (state.selected >= FW_CFG.FIRST_FILE) fileOf(state.selected)?.onSelect?.()
  }
  const item = (): Uint8Array | undefined => items.get(state.selected)
  const fileOf = (key: number): FwCfgFile | undefined => files.at(key - FW_CFG.FIRST_FILE)
  const writable = (): FwCfgFile | undefined => {
    const file = state.selected < FW_CFG.FIRST_FILE ? undefined : fileOf(state.selected)
    return file?.onWrite === undefined ? undefined : file
  }

  const readData = (): number => {
    const value = item()?.at(state.offset) ?? 0
    state.offset = (state.offset + 1) % 2 ** 32
    return value
  }

  /**
   * Copies to the guest; past the end of an item zeros follow, up to a limit: no driver asks for more, and gigabytes of
   * them take seconds.
   */
  const dmaRead = (to: DmaMemory, address: number, length: number): boolean => {
    const data = item()
    const inside = Math.max(0, Math.min(length, (data?.length ?? 0) - state.offset))
    if (length - inside > MOST_ZEROS) return false
    if (data !== undefined && inside > 0 && !to.write(address, data.subarray(state.offset, state.offset + inside))) {
      return false
    }
    return length === inside || to.write(address + inside, new Uint8Array(length - inside))
  }

  /** Copies from the guest into a writable file; more than it holds is an error. */
  const dmaWrite = (from: DmaMemory, address: number, length: number): boolean => {
    const file = writable()
    if (file === undefined || state.offset + length > file.data.length) return false
    if (!from.read(address, file.data.subarray(state.offset, state.offset + length))) return false
    file.onWrite?.(file.data)
    return true
  }

  const runDma = (ram: DmaMemory, descriptor: number): void => {
    const bytes = new Uint8Array(16)
    if (!ram.read(descriptor, bytes)) return
    const control = fromBigEndian(bytes, 0, 4)
    const length = fromBigEndian(bytes, 4, 4)
    const address = fromBigEndian(bytes, 8, 8)
    if ((control & CONTROL.SELECT) !== 0) select(control >>> 16)
    let ok = true
    if ((control & CONTROL.READ) !== 0) ok = dmaRead(ram, address, length)
    else if ((control & CONTROL.WRITE) !== 0) ok = dmaWrite(ram, address, length)
    if (ok && (control & (CONTROL.READ | CONTROL.WRITE | CONTROL.SKIP)) !== 0) {
      state.offset = (state.offset + length) % 2 ** 32
    }
    ram.write(descriptor, Uint8Array.from([0, 0, 0, ok ? 0 : CONTROL.ERROR]))
  }

  const dmaSignature = (offset: number, size: number): number => {
    let value = 0
    for (let i = 0; i < size; i++) value += DMA_SIGNATURE[offset + i] * 2 ** (8 * i)
    return value
  }

  return {
    handlers: {
      read(offset, size) {
        if (offset === 1) return readData()
        if (memory !== undefined && offset >= 4) return dmaSignature(offset - 4, size)
        return 0
      },
      write(offset, size, value) {
        if (offset === 0 && size === 2) select(value)
        else if (memory !== undefined && offset === 4 && size === 4) state.dmaHigh = swap32(value)
        else if (memory !== undefined && offset === 8 && size === 4) {
          const descriptor = state.dmaHigh * 2 ** 32 + swap32(value)
          state.dmaHigh = 0
          runDma(memory, descriptor)
        }
      },
    },
    snapshot: () => copyPlain({
      ...state,
      written: Object.fromEntries(files.filter((f) => f.onWrite !== undefined).map((f) => [f.name, [...f.data]])),
    }),
    restore(saved) {
      const written = Object.fromEntries(files.filter((f) => f.onWrite !== undefined).map((f) => [f.name, [...f.data]]))
      restorePlain('fw_cfg', { ...copyPlain(state), written }, saved)
      state.selected = saved.selected
      state.offset = saved.offset
      state.dmaHigh = saved.dmaHigh
      for (const file of files) if (file.onWrite !== undefined) file.data.set(saved.written[file.name])
    },
  }
}
