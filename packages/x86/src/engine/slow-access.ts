/**
 * The accesses that TLB entries cannot serve: device registers, accesses that cross a page, pages whose writes somebody
 * watches, alignment that is checked. All of an access is translated before any of it is done.
 */
import { FRAME_NONE, FRAME_ROM, FRAME_WATCHED } from '@cofferdam/memory'
import { ACCESS_IMPLICIT, ACCESS_USER, ACCESS_WRITE } from '@cofferdam/paging'
import { VECTOR, guestFault } from '../cpu.ts'
import { CPL, SCRATCH, TLB_BASE } from '../state.ts'
import type { Mmu, MmuOptions } from './mmu-types.ts'
import type { PageWalk } from './page-walk.ts'
import type { Tlb } from './tlb.ts'
import { TLB_WRITE } from './uop.ts'

const PAGE = 4096
/** Pages whose writes somebody must see. */
export const HEARD = FRAME_WATCHED | FRAME_ROM
const TWO_32 = 0x1_0000_0000

export type SlowAccess = Pick<Mmu, 'slow' | 'commit' | 'isAligned' | 'copyIn' | 'copyOut' | 'bytesBefore'>

interface Part {
  /** Physical address. */
  address: number
  length: number
}

export function createSlowAccess(options: MmuOptions, tlb: Tlb, walk: PageWalk, mmu: () => Mmu): SlowAccess {
  const { memory, breakpoints } = options
  const { u8, i32 } = memory.views
  /** What `split` found: one part, or two with `second.length` > 0. Kept from access to access. */
  const first: Part = { address: 0, length: 0 }
  const second: Part = { address: 0, length: 0 }
  /** Of the access that is being translated: bytes on the page before the one that is looked up. */
  let before = 0

  const userAccess = (): number => (i32[CPL >>> 2] === 3 ? ACCESS_USER : 0)

  /** The physical page to access: an entry for writing knows it without a walk. `whole`: no page is crossed. */
  const pageFor = (low: number, high: number, access: number, whole: boolean): number => {
    // Rings 0 to 2 and implicit supervisor accesses don't use user mode's TLB.
    const base = (access & ACCESS_IMPLICIT) !== 0 && i32[CPL >>> 2] === 3 ? tlb.base : i32[TLB_BASE >>> 2]
    const known = whole && (access & ACCESS_WRITE) !== 0 ? tlb.pageOf(base, low, high, true) : -1
    return known >= 0 ? known : walk.page(low, high, access)
  }

  /** Finds the physical parts of an access; false and `guestFault` when it faults. */
  const split = (low: number, high: number, size: number, access: number): boolean => {
    first.length = 0
    second.length = 0
    const length = Math.min(size, PAGE - (low & 0xfff))
    const page = pageFor(low, high, access, length === size)
    if (page < 0) return false
    if (length < size) {
      const nextLow = (low & ~0xfff) + PAGE
      const wraps = nextLow >= TWO_32 || (nextLow | 0) === 0
      before = length
      const next = walk.page(nextLow | 0, wraps ? (high + 1) | 0 : high, access)
      before = 0
      if (next < 0) return false
      second.address = next * PAGE
      second.length = size - length
    }
    first.address = page * PAGE + (low & 0xfff)
    first.length = length
    return true
  }

  const isAligned = (low: number, high: number, size: number): boolean => {
    if (i32[TLB_BASE >>> 2] !== tlb.unfilled || (low & (alignmentOf(size) - 1)) === 0) return true
    if (!walk.isCanonical(high)) return true
    guestFault.vector = VECTOR.AC
    guestFault.errorCode = 0
    return false
  }

  /** Tells the observer of what is about to be accessed. */
  const tellObserver = ({ address, length }: Part): void => {
    const { observer } = mmu()
    if (observer === null || length === 0 || !observer.sees(Math.floor(address / PAGE))) return
    options.beforeSeen()
    observer.accessed(address, length)
  }

  const isLocal = (address: number): boolean => Math.floor(address / PAGE) === mmu().local?.page

  const readPart = ({ address, length }: Part, to: number): void => {
    const page = Math.floor(address / PAGE)
    const word = memory.frameWord(page)
    if (word === FRAME_NONE || isLocal(address)) {
      readDevice(address, length, to)
      return
    }
    // Untouched RAM that was cleared at power-on reads as zero and stays without a frame.
    if (word < PAGE && !memory.filled) {
      u8.fill(0, to, to + length)
      return
    }
    const from = memory.backPage(page) + (address % PAGE)
    u8.copyWithin(to, from, from + length)
  }

  const readDevice = (address: number, length: number, to: number): void => {
    const local = isLocal(address) ? mmu().local : null
    options.beforeIo()
    for (let at = 0; at < length;) {
      const n = accessSize(address + at, length - at)
      const value = local === null ? memory.mmio.read(address + at, n) : local.handlers.read((address + at) % PAGE, n)
      for (let i = 0; i < n; i++) u8[to + at + i] = value >>> (8 * i)
      at += n
    }
    options.afterIo()
  }

  const writePart = ({ address, length }: Part, from: number): void => {
    const page = Math.floor(address / PAGE)
    const word = memory.frameWord(page)
    if (word === FRAME_NONE || (word & FRAME_ROM) !== 0 || isLocal(address)) {
      writeDevice(address, length, from)
      return
    }
    const to = memory.backPage(page) + (address % PAGE)
    for (let i = 0; i < length; i++) u8[to + i] = u8[from + i]
    if ((word & FRAME_WATCHED) !== 0) memory.notifyWrite(address, length)
  }

  const writeDevice = (address: number, length: number, from: number): void => {
    options.beforeIo()
    for (let at = 0; at < length;) {
      const n = accessSize(address + at, length - at)
      let value = 0
      for (let i = 0; i < n; i++) value |= u8[from + at + i] << (8 * i)
      // A write to its registers may move the local APIC.
      const local = isLocal(address) ? mmu().local : null
      if (local === null) memory.mmio.write(address + at, n, value >>> 0)
      else local.handlers.write((address + at) % PAGE, n, value >>> 0)
      at += n
    }
    options.afterIo()
  }

  /** The physical parts of linear memory from an address on, or null and `guestFault`. */
  const partsOf = (low: number, high: number, length: number, access: number): Part[] | null => {
    const parts: Part[] = []
    for (let at = 0; at < length;) {
      const l = (low + at) | 0
      const h = (low >>> 0) + at >= TWO_32 ? (high + 1) | 0 : high
      const n = Math.min(length - at, PAGE - (l & 0xfff))
      const page = pageFor(l, h, access, n === length)
      if (page < 0) return null
      parts.push({ address: page * PAGE + (l & 0xfff), length: n })
      at += n
    }
    return parts
  }

  const copy = (low: number, high: number, bytes: Uint8Array, access: number): boolean => {
    const out = (access & ACCESS_WRITE) !== 0
    // Accesses of the processor itself may lie anywhere.
    if ((access & ACCESS_IMPLICIT) === 0 && !isAligned(low, high, bytes.length)) return false
    const parts = partsOf(low, high, bytes.length, access)
    if (parts === null) return false
    if (breakpoints.data !== 0) breakpoints.accessed(low, high, bytes.length, out)
    parts.forEach(tellObserver)
    let at = 0
    for (const part of parts) {
      for (let done = 0; done < part.length; done += 64) {
        const piece = { address: part.address + done, length: Math.min(64, part.length - done) }
        if (out) {
          u8.set(bytes.subarray(at, at + piece.length), SCRATCH)
          writePart(piece, SCRATCH)
        } else {
          readPart(piece, SCRATCH)
          bytes.set(u8.subarray(SCRATCH, SCRATCH + piece.length), at)
        }
        at += piece.length
      }
    }
    return true
  }

  /** Host address of what `split` found, if it is one part that can be accessed directly; −1 else. */
  const directly = (want: number): number => {
    if (second.length !== 0) return -1
    const { address } = first
    const word = memory.frameWord(Math.floor(address / PAGE))
    if (word < PAGE || ((word & HEARD) !== 0 && want !== 1) || isLocal(address)) return -1
    return word - (word % PAGE) + (address % PAGE)
  }

  return {
    isAligned,
    bytesBefore: () => before,
    copyIn: (low, high, bytes, access) => copy(low, high, bytes, access),
    copyOut: (low, high, bytes, access) => copy(low, high, bytes, access | ACCESS_WRITE),
    slow(low, high, info) {
      if (mmu().miss(low, high, info) === 1) {
        const entry = tlb.entryOf(low) + ((info & 0x200) !== 0 ? TLB_WRITE : 0)
        return (low + i32[(entry + 8) >>> 2]) >>> 0
      }
      const size = info & 0xff
      const want = info >>> 8
      const access = userAccess() | ((want & 2) !== 0 ? ACCESS_WRITE : 0)
      if (!isAligned(low, high, size) || !split(low, high, size, access)) return 0
      if (breakpoints.data !== 0) breakpoints.accessed(low, high, size, (want & 2) !== 0)
      tellObserver(first)
      tellObserver(second)
      const host = directly(want)
      if (host >= 0) return host
      if ((want & 1) !== 0) {
        readPart(first, SCRATCH)
        if (second.length !== 0) readPart(second, SCRATCH + first.length)
      }
      return SCRATCH
    },
    commit() {
      // Nothing is left: a device or a listener may have accesses of its own, and a write is done once.
      const { length } = first
      const { address, length: more } = second
      first.length = 0
      second.length = 0
      if (length !== 0) writePart({ address: first.address, length }, SCRATCH)
      if (more !== 0) writePart({ address, length: more }, SCRATCH + length)
    },
  }
}

/**
 * Alignment that #AC asks of an access of `size` bytes (SDM vol. 3, table 6-7). Vectors of 16 and 32 bytes may lie
 * anywhere where their instructions don't say otherwise by #GP; page faults come after #AC (both observed on Intel
 * processors).
 */
const alignmentOf = (size: number): number => (size === 10 ? 8 : size === 2 || size === 4 || size === 8 ? size : 1)

const accessSize = (address: number, left: number): 1 | 2 | 4 =>
  left >= 4 && address % 4 === 0 ? 4 : left >= 2 && address % 2 === 0 ? 2 : 1
