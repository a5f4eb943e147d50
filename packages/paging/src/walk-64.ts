/**
 * Walks of tables with 8-byte entries: PAE, 4-level and 5-level paging (SDM vol. 3, §4.4 and §4.5; APM vol. 2, §5.2
 * and §5.3), and nested tables in those formats. Halves of 32 bits throughout: BigInt would cost ten times as much.
 */
import { ACCESS_FETCH, ACCESS_USER, ACCESS_WRITE, ERROR_PRESENT, ERROR_RESERVED, MODE_NXE, MODE_PGE, MODE_SMEP,
  PERM_DIRTY, PERM_EXEC, PERM_GLOBAL, PERM_NESTED_EXEC, PERM_NESTED_WRITE, PERM_USER, rightsError } from './access.ts'
import { FORMAT_PAE, type WalkContext } from './context.ts'
import type { NestedStep, Walk } from './nested.ts'
import type { PageTablePort } from './port.ts'
import { WALK_OK, WALK_PAGE_FAULT, WALK_REFUSED, type WalkResult } from './result.ts'

// Lower half of an entry; `spec`'s PageEntry is the declaration, and a test holds these to it.
export const ENTRY_P = 0x01
export const ENTRY_RW_US = 0x06
export const ENTRY_A = 0x20
export const ENTRY_D = 0x40
export const ENTRY_PS = 0x80
export const ENTRY_G = 0x100
export const ENTRY_PAT = 0x1000

/** Reserved bits of a PDPTE's lower half in PAE paging: 8:5 and 2:1 (SDM vol. 3, table 4-8). */
export const PDPTE_RESERVED = 0x1e6

/** Records a page fault; `found` has P and RSVD as far as the walk came (SDM vol. 3, §4.7). */
export function pageFault(ctx: WalkContext, out: WalkResult, level: number, access: number, found: number): void {
  out.status = WALK_PAGE_FAULT
  out.level = level
  let code = found | (access & (ACCESS_WRITE | ACCESS_USER))
  // The I/D flag exists with NXE (in PAE and 64-bit formats) or SMEP.
  if ((access & ACCESS_FETCH) !== 0 && (ctx.mode & (MODE_NXE | MODE_SMEP)) !== 0) code |= ACCESS_FETCH
  out.errorCode = code
}

/** Records that the port refused the entry at `pa`. */
export function refused(port: PageTablePort, out: WalkResult, level: number, pa: number): void {
  out.status = WALK_REFUSED
  out.level = level
  out.refusal = port.refused
  out.entry = pa
}

/** The table index of a level: nine bits of the linear address, from bit 12 + 9 · (level − 1) up. */
function tableIndex(level: number, vaLow: number, vaHigh: number): number {
  if (level === 1) return (vaLow >>> 12) & 0x1ff
  if (level === 2) return (vaLow >>> 21) & 0x1ff
  if (level === 3) return ((vaHigh << 2) | (vaLow >>> 30)) & 0x1ff
  if (level === 4) return (vaHigh >>> 7) & 0x1ff
  return (vaHigh >>> 16) & 0x1ff
}

/** Address bits of the linear address that lie inside a page of this level, without the lowest twelve. */
const OFFSET_IN_PAGE = Int32Array.of(0, 0, 0x001f_f000, 0x3fff_f000)

/** Creates the walk over `port`. `nested` serves contexts with a second dimension. */
export function createWalk64(port: PageTablePort, nested: NestedStep): Walk {
  return function walk64(ctx, vaLow, vaHigh, access, out) {
    const second = ctx.nested
    const keyHigh = ctx.keyHigh
    const addressHigh = ctx.addressHigh
    const reservedHigh = ctx.reservedHigh
    let level: number = ctx.format
    let table = ctx.root
    let key = ctx.rootKey
    // R/W and U/S count when every level has them, NX when any has it (SDM vol. 3, §4.6). They keep their places as
    // PERM_WRITE and PERM_USER.
    let all = ENTRY_RW_US
    let any = 0

    if (level === FORMAT_PAE) {
      // SDM vol. 3, §4.4.1: the PDPTE comes from a register, bits 31:30 choose; it has no permissions.
      const i = (vaLow >>> 30) * 2
      let low = ctx.pdptes[i]
      let high = ctx.pdptes[i + 1]
      if (second !== null) {
        // With nested paging it is read by each walk (APM vol. 2, §15.25.10).
        const entry = nested.table(second, table + i * 4, key, out)
        if (entry < 0) return
        low = port.load64(entry, nested.key) | 0
        high = port.high | 0
        if (port.refused !== 0) { refused(port, out, 3, entry); return }
        if ((low & ENTRY_P) !== 0 && ((low & PDPTE_RESERVED) | (high & (reservedHigh | 0xfff0_0000))) !== 0) {
          pageFault(ctx, out, 3, access, ERROR_PRESENT | ERROR_RESERVED)
          return
        }
      }
      if ((low & ENTRY_P) === 0) { pageFault(ctx, out, 3, access, 0); return }
      table = (high & addressHigh) * 0x1_0000_0000 + ((low & ~0xfff) >>> 0)
      key = (high & keyHigh) >>> ctx.keyShift
    }

    for (;;) {
      // Step: locate the entry, in two dimensions through the nested tables.
      let entry = table + tableIndex(level, vaLow, vaHigh) * 8
      let entryKey = key
      if (second !== null) {
        entry = nested.table(second, entry, key, out)
        if (entry < 0) return
        entryKey = nested.key
      }
      const low = port.load64(entry, entryKey) | 0
      const high = port.high | 0
      if (port.refused !== 0) { refused(port, out, level, entry); return }

      // Step: not present, then reserved bits (SDM vol. 3, §4.7: RSVD only with P).
      if ((low & ENTRY_P) === 0) { pageFault(ctx, out, level, access, 0); return }
      const leaf = level === 1 || ((low & ENTRY_PS) !== 0 && level < 4)
      if (((high & reservedHigh) | (low & (leaf ? ctx.reservedPage[level] : ctx.reservedTable[level]))) !== 0) {
        pageFault(ctx, out, level, access, ERROR_PRESENT | ERROR_RESERVED)
        return
      }
      all &= low
      any |= high

      if (!leaf) {
        // Step: mark the table's entry as accessed (§4.8) and go one level down.
        if ((low & ENTRY_A) === 0 && !port.setBits(entry, entryKey, ENTRY_A)) {
          refused(port, out, level, entry)
          return
        }
        table = (high & addressHigh) * 0x1_0000_0000 + ((low & ~0xfff) >>> 0)
        key = (high & keyHigh) >>> ctx.keyShift
        level--
        continue
      }

      // Step: access rights (§4.6), over all levels.
      let perms = (all & ENTRY_RW_US) | (any < 0 ? 0 : PERM_EXEC) | PERM_NESTED_WRITE | PERM_NESTED_EXEC
      const pkey = (high >>> 27) & 0xf
      const keyRights = (perms & PERM_USER) !== 0 ? ctx.pkru : ctx.pkrs
      const denied = rightsError(ctx.mode, perms, pkey, keyRights, access)
      if (denied !== 0) { pageFault(ctx, out, level, access, denied); return }

      // Step: accessed, and dirty for a write (§4.8).
      const want = (access & ACCESS_WRITE) !== 0 ? ENTRY_A | ENTRY_D : ENTRY_A
      if ((low & want) !== want && !port.setBits(entry, entryKey, want)) {
        refused(port, out, level, entry)
        return
      }
      if (((low | want) & ENTRY_D) !== 0) perms |= PERM_DIRTY
      if ((low & ENTRY_G) !== 0 && (ctx.mode & MODE_PGE) !== 0) perms |= PERM_GLOBAL

      let patBit = low & ENTRY_PS
      let frame = low & ~0xfff
      let shift = 12
      if (level !== 1) {
        patBit = low & ENTRY_PAT
        const inside = OFFSET_IN_PAGE[level]
        frame = (low & ~inside & ~0xfff) | (vaLow & inside)
        shift = level === 2 ? 21 : 30
      }
      out.status = WALK_OK
      out.page = (high & addressHigh) * 0x1_0000_0000 + (frame >>> 0)
      out.shift = shift
      out.perms = perms
      out.pkey = pkey
      out.key = (high & keyHigh) >>> ctx.keyShift
      out.pat = (patBit !== 0 ? 4 : 0) | ((low >>> 3) & 3)
      out.level = level
      if (second !== null) nested.final(second, access, out)
      return
    }
  }
}
