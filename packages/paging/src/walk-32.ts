/** 32-bit paging (SDM vol. 3, §4.3; APM vol. 2, §5.2.1), and no paging at all. */
import { ACCESS_WRITE, ERROR_PRESENT, ERROR_RESERVED, MODE_PGE, MODE_PSE, PERM_DIRTY, PERM_EXEC, PERM_GLOBAL,
  PERM_NESTED_EXEC, PERM_NESTED_WRITE, PERM_USER, PERM_WRITE, rightsError } from './access.ts'
import type { NestedStep, Walk } from './nested.ts'
import type { PageTablePort } from './port.ts'
import { WALK_OK } from './result.ts'
import { ENTRY_A, ENTRY_D, ENTRY_G, ENTRY_P, ENTRY_PAT, ENTRY_PS, ENTRY_RW_US, pageFault, refused } from './walk-64.ts'

/** Walks page directory and page table: 4 KiB pages, and 4 MiB pages with CR4.PSE. */
export function createWalk32(port: PageTablePort, nested: NestedStep): Walk {
  return function walk32(ctx, vaLow, _vaHigh, access, out) {
    const second = ctx.nested
    let level = 2
    let table = ctx.root
    let all = ENTRY_RW_US
    for (;;) {
      let entry = table + ((vaLow >>> (level === 2 ? 22 : 12)) & 0x3ff) * 4
      let key = ctx.rootKey
      if (second !== null) {
        entry = nested.table(second, entry, key, out)
        if (entry < 0) return
        key = nested.key
      }
      const low = port.load32(entry, key) | 0
      if (port.refused !== 0) { refused(port, out, level, entry); return }
      if ((low & ENTRY_P) === 0) { pageFault(ctx, out, level, access, 0); return }
      const large = level === 2 && (low & ENTRY_PS) !== 0 && (ctx.mode & MODE_PSE) !== 0
      if (large && (low & ctx.reserved4M) !== 0) {
        pageFault(ctx, out, level, access, ERROR_PRESENT | ERROR_RESERVED)
        return
      }
      all &= low
      if (level === 2 && !large) {
        if ((low & ENTRY_A) === 0 && !port.setBits(entry, key, ENTRY_A)) { refused(port, out, level, entry); return }
        table = (low & ~0xfff) >>> 0
        level = 1
        continue
      }
      let perms = (all & ENTRY_RW_US) | PERM_EXEC | PERM_NESTED_WRITE | PERM_NESTED_EXEC
      const denied = rightsError(ctx.mode, perms, 0, 0, access)
      if (denied !== 0) { pageFault(ctx, out, level, access, denied); return }
      const want = (access & ACCESS_WRITE) !== 0 ? ENTRY_A | ENTRY_D : ENTRY_A
      if ((low & want) !== want && !port.setBits(entry, key, want)) { refused(port, out, level, entry); return }
      if (((low | want) & ENTRY_D) !== 0) perms |= PERM_DIRTY
      if ((low & ENTRY_G) !== 0 && (ctx.mode & MODE_PGE) !== 0) perms |= PERM_GLOBAL
      out.status = WALK_OK
      // PSE-36: bits 20:13 of the PDE are address bits 39:32.
      out.page = large
        ? ((low >>> 13) & 0xff) * 0x1_0000_0000 + (((low & ~0x3f_ffff) | (vaLow & 0x3f_f000)) >>> 0)
        : (low & ~0xfff) >>> 0
      out.shift = large ? 22 : 12
      out.perms = perms
      out.pkey = 0
      out.key = 0
      out.pat = ((low & (large ? ENTRY_PAT : ENTRY_PS)) !== 0 ? 4 : 0) | ((low >>> 3) & 3)
      out.level = level
      if (second !== null) nested.final(second, access, out)
      return
    }
  }
}

/** CR0.PG = 0: the linear address is the physical one, everything is allowed. */
export function createWalkNone(nested: NestedStep): Walk {
  return function walkNone(ctx, vaLow, vaHigh, access, out) {
    out.status = WALK_OK
    out.page = vaHigh * 0x1_0000_0000 + ((vaLow & ~0xfff) >>> 0)
    out.shift = 12
    out.perms = PERM_EXEC | PERM_WRITE | PERM_USER | PERM_DIRTY | PERM_NESTED_WRITE | PERM_NESTED_EXEC
    out.pkey = 0
    out.key = 0
    out.pat = 0
    out.level = 0
    if (ctx.nested !== null) nested.final(ctx.nested, access, out)
  }
}
