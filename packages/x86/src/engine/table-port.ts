/** How walks reach page tables. */
import { FRAME_ABSENT, FRAME_WATCHED } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import type { PageTablePort } from '@cofferdam/paging'
import type { AccessPolicy } from './mmu-types.ts'

const PAGE = 4096

/** The key of a guest's own table, as `PageTablePort` asks for it: the policy's say where there is one. */
const guestTableOf = (
  policy: () => AccessPolicy | null, refuse: (reason: number) => void,
): NonNullable<PageTablePort['guestTable']> => (page, gpa, shift, key, nestedKey) => {
  const present = policy()
  if (present === null) return key !== 0 ? key : nestedKey
  const answer = present.guestTable(page, gpa, shift, key, nestedKey)
  if (answer < 0) refuse(present.refused)
  return answer
}

/** Page tables in physical memory, under whatever keys `policy` says. */
export function createTablePort(memory: PhysicalMemory, policy: () => AccessPolicy | null): PageTablePort {
  const { u32 } = memory.views
  const low = memory.lowFrames
  /** Index of the word at `pa`, −1 where no frame is. */
  const word = (pa: number, key: number): number => {
    const present = policy()
    if (present !== null && !enter(present, Math.floor(pa / PAGE), key)) return -1
    let frame = pa < 0x1_0000_0000 ? low[pa >>> 12] : memory.frameWord(Math.floor(pa / PAGE))
    if ((frame & FRAME_ABSENT) !== 0) frame = memory.frameWord(pa >>> 12)
    return frame < PAGE ? -1 : ((frame & ~0xfff) >>> 2) + ((pa >>> 2) & 0x3ff)
  }
  /** Makes a table's page what its key sees; false when it may not be looked at. */
  const enter = (present: AccessPolicy, page: number, key: number): boolean => {
    const refusal = present.table(page)
    if (refusal !== 0) {
      port.refused = refusal
      return false
    }
    memory.keys.enter(page, present.tableKey(key))
    return true
  }
  const port: PageTablePort = {
    high: 0,
    refused: 0,
    load64(pa, key) {
      const at = word(pa, key)
      if (at < 0) {
        port.high = 0
        return 0
      }
      port.high = u32[at + 1] | 0
      return u32[at] | 0
    },
    load32(pa, key) {
      const at = word(pa, key)
      return at < 0 ? 0 : u32[at] | 0
    },
    setBits(pa, key, bits) {
      const at = word(pa, key)
      if (port.refused === 0) port.refused = policy()?.setsFlag(key) ?? 0
      if (port.refused !== 0) return false
      if (at >= 0) {
        u32[at] |= bits
        const page = Math.floor(pa / PAGE)
        if ((memory.frameWord(page) & FRAME_WATCHED) !== 0) memory.notifyWrite(pa, 4)
      }
      return true
    },
    guestTable: guestTableOf(policy, (reason) => { port.refused = reason }),
  }
  return port
}

/**
 * Page tables as they are, without marking them accessed: whoever looks through this changes nothing, and needs nobody's
 * leave. The keys are those of `policy`.
 */
export function createQuietTablePort(memory: PhysicalMemory, policy: () => AccessPolicy | null): PageTablePort {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  const read = (pa: number, length: 4 | 8, key: number): number => {
    memory.read(pa, bytes.subarray(0, length), policy()?.tableKey(key) ?? 0)
    return view.getInt32(0, true)
  }
  const port: PageTablePort = {
    high: 0,
    refused: 0,
    load64(pa, key) {
      const low = read(pa, 8, key)
      port.high = view.getInt32(4, true)
      return low
    },
    load32: (pa, key) => read(pa, 4, key),
    setBits: () => true,
    guestTable: guestTableOf(policy, (reason) => { port.refused = reason }),
  }
  return port
}
