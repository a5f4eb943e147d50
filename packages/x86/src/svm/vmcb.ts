/** Where a VMCB's fields are once its page is found in RAM. */
import type { MemoryViews, PhysicalMemory } from '@cofferdam/memory'
import { FRAME_NONE, FRAME_WATCHED } from '@cofferdam/memory'
import { VMCB_SAVE_OFFSET, VmcbControl, VmcbSave } from '@cofferdam/spec'

const PAGE = 4096

/** Offsets of the control area. */
export const CONTROL = VmcbControl.offset
/** Offsets of the save area inside its own structure. */
export const SAVE = VmcbSave.offset
/** Where the save area begins in a VMCB, and in the host save area. */
export const SAVE_AT = VMCB_SAVE_OFFSET

/** A page of RAM that holds a structure of SVM. */
export interface StatePage {
  /** System physical address. */
  readonly address: number
  /** Byte offset of the page in the WebAssembly memory. */
  readonly frame: number
}

/** Whether a physical address lies in RAM. */
export const isRam = (memory: PhysicalMemory, address: number): boolean =>
  memory.frameWord(Math.floor(address / PAGE)) !== FRAME_NONE

/**
 * The page at a 4 KiB aligned address in RAM, under a key. Frames stay where they are between slices only: look it up
 * each time.
 */
export function pageAt(memory: PhysicalMemory, address: number, key = 0): StatePage {
  const page = Math.floor(address / PAGE)
  memory.keys.enter(page, key)
  return { address, frame: memory.backPage(page) }
}

/** Tells who watches writes that the page was written. */
export function written(memory: PhysicalMemory, page: StatePage): void {
  const word = memory.frameWord(Math.floor(page.address / PAGE))
  if ((word & FRAME_WATCHED) !== 0) memory.notifyWrite(page.address, PAGE)
}

/** One byte of physical memory; 0 where there is no RAM, or nothing was written. */
export function byteAt(memory: PhysicalMemory, address: number): number {
  memory.keys.enter(Math.floor(address / PAGE), 0)
  const word = memory.frameWord(Math.floor(address / PAGE))
  return word < PAGE ? 0 : memory.views.u8[word - (word % PAGE) + (address % PAGE)]
}

export const read64 = (views: MemoryViews, at: number): bigint => views.u64[at >>> 3]
export const write64 = (views: MemoryViews, at: number, value: bigint): void => {
  views.u64[at >>> 3] = BigInt.asUintN(64, value)
}
