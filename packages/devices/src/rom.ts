/**
 * How flash and shadowed ROM lie in front of memory: processors read and execute them as they do RAM; writes, and reads
 * of flash that does not show its array, come to the device. Sources: Intel 3 Series Express Chipset Family data sheet
 * (316966), §5.1.17–23 for the programmable attribute map.
 */
import type { IoHandlers, PhysicalMemory } from '@cofferdam/memory'
import { createPflash, type FlashMode, type Pflash } from './pflash.ts'
import type { PamSegment } from './pci/pam.ts'

const PAGE = 4096

/** What is in front of memory needs of it. */
export type RomMemory = Pick<PhysicalMemory, 'backPage' | 'cover' | 'mmio' | 'reserve' | 'views'>

/** Bytes of the WebAssembly memory that a device of `bytes` takes: the memory's `overhead` must have room for them. */
export const romOverhead = (bytes: number): number => bytes + PAGE

/** Takes page-aligned room for `bytes`; answers where it begins. */
function reservePages(memory: RomMemory, bytes: number): number {
  return Math.ceil(memory.reserve(romOverhead(bytes)) / PAGE) * PAGE
}

/** Options of {@link mapFlash}. */
export interface MapFlashOptions {
  readonly memory: RomMemory
  readonly name: string
  /** A multiple of 4096 below 4 GiB. */
  readonly base: number
  /** Contents at power-on; they are copied. */
  readonly bytes: Uint8Array
  readonly readOnly?: boolean
  /** The flash shows something else from now on: processors forget translations. */
  readonly onRemap: () => void
  /** Wraps the handlers, for the time that accesses take. */
  readonly wrap?: (handlers: IoHandlers) => IoHandlers
}

/** A flash in its place. */
export interface MappedFlash {
  readonly flash: Pflash
  /** A copy of the contents as they are now. */
  contents(): Uint8Array
}

/** Puts a flash into the address space. */
export function mapFlash(options: MapFlashOptions): MappedFlash {
  const { memory, base, bytes } = options
  const at = reservePages(memory, bytes.length)
  const data = memory.views.u8.subarray(at, at + bytes.length)
  data.set(bytes)
  const show = (mode: FlashMode): void => {
    for (let offset = 0; offset < bytes.length; offset += PAGE) {
      memory.cover((base + offset) / PAGE, mode === 'array' ? at + offset : 0)
    }
  }
  const flash = createPflash({
    data, readOnly: options.readOnly,
    onMode(mode) {
      show(mode)
      options.onRemap()
    },
    // Programming happens while the array is hidden; only a restored snapshot changes what processors see.
    onChange() { if (flash.mode() === 'array') show('array') },
  })
  const handlers = options.wrap?.(flash.handlers) ?? flash.handlers
  memory.mmio.attach({ name: options.name, start: base, length: bytes.length, handlers })
  show('array')
  return { flash, contents: () => data.slice() }
}

/** Where the PAM registers reach: 256 KiB below 1 MiB. */
const SHADOW = { start: 0xc_0000, length: 0x4_0000 } as const
/** Bytes of ROM that show at the end of it. */
export const SHADOW_ROM = 0x2_0000

/** Options of {@link createRomShadow}. */
export interface RomShadowOptions {
  readonly memory: RomMemory
  /** The firmware; its last 128 KiB show below 1 MiB. */
  readonly rom: Uint8Array
  readonly onRemap: () => void
}

/** The ROM below 1 MiB, and RAM behind it. */
export interface RomShadow {
  /** Sends reads and writes of a segment to RAM or to the ROM; see `createQ35HostBridge`'s `onPam`. */
  set(segment: PamSegment): void
}

/** Puts the end of the firmware below 1 MiB, where processors in real mode look for it. All of it is ROM at first. */
export function createRomShadow(options: RomShadowOptions): RomShadow {
  const { memory, rom } = options
  const { u8 } = memory.views
  const end = SHADOW.start + SHADOW.length
  const at = reservePages(memory, SHADOW_ROM)
  const shown = rom.subarray(Math.max(0, rom.length - SHADOW_ROM))
  const romStart = end - SHADOW_ROM
  u8.fill(0xff, at, at + SHADOW_ROM)
  u8.set(shown, at + SHADOW_ROM - shown.length)
  /** Frames of RAM that is written but not read: what lies below a page while ROM is in front. */
  const written = new Map<number, number>()
  const segments = new Map<number, { readonly read: boolean, readonly write: boolean }>()

  /** Frame of the ROM for a page, 0 where there is none and the bus answers. */
  const romFrame = (address: number): number => (address < romStart ? 0 : at + address - romStart)

  const place = (address: number, read: boolean, write: boolean): void => {
    const page = address / PAGE
    memory.cover(page)
    written.delete(page)
    if (read && write) return
    if (read) memory.cover(page, memory.backPage(page))
    else if (write) {
      written.set(page, memory.backPage(page))
      memory.cover(page, 0)
    } else memory.cover(page, romFrame(address))
  }

  const readByte = (offset: number): number =>
    SHADOW.start + offset < romStart ? 0xff : u8[at + SHADOW.start + offset - romStart]

  memory.mmio.attach({
    name: 'ROM below 1 MiB', ...SHADOW,
    handlers: {
      read(offset, size) {
        let value = 0
        for (let i = 0; i < size; i++) value += readByte(offset + i) * 2 ** (8 * i)
        return value
      },
      write(offset, size, value) {
        for (let i = 0; i < size; i++) {
          const address = SHADOW.start + offset + i
          const frame = written.get(Math.floor(address / PAGE))
          if (frame !== undefined) u8[frame + address % PAGE] = value >>> (8 * i) & 0xff
        }
      },
    },
  })

  const set = ({ start, length, read, write }: PamSegment): void => {
    const now = segments.get(start)
    if (now?.read === read && now.write === write) return
    segments.set(start, { read, write })
    for (let address = start; address < start + length; address += PAGE) place(address, read, write)
    options.onRemap()
  }
  set({ ...SHADOW, read: false, write: false })
  return { set }
}
