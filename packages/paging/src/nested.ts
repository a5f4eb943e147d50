/**
 * The second dimension: guest physical to system physical addresses (APM vol. 2, §15.25; SDM vol. 3, §29.3). Every
 * address that the guest's tables name, tables included, goes through here.
 */
import { ACCESS_FETCH, ACCESS_USER, ACCESS_WRITE, PERM_DIRTY, PERM_EXEC, PERM_NESTED_EXEC, PERM_NESTED_WRITE,
  PERM_USER, PERM_WRITE } from './access.ts'
import { FORMAT_32, FORMAT_4_LEVEL, FORMAT_EPT_4, FORMAT_PAE, type PagingFormat, type WalkContext } from './context.ts'
import type { PageTablePort } from './port.ts'
import { createWalkResult, STAGE_FINAL, STAGE_TABLE, WALK_NESTED_FAULT, WALK_OK, WALK_PAGE_FAULT, WALK_REFUSED,
  type WalkResult } from './result.ts'
import { pageFault } from './walk-64.ts'
import type { EptWalk } from './walk-ept.ts'

/** One dimension's walk. `vaHigh` and `vaLow` are the halves of the address. */
export type Walk = (ctx: WalkContext, vaLow: number, vaHigh: number, access: number, out: WalkResult) => void

export interface NestedStep {
  /** Set by `table`: the key to read the table with. */
  key: number
  /**
   * System physical address of the guest's table entry at `gpa`, or −1 with the fault in `out`.
   * The nested tables see a user write (APM vol. 2, §15.25.5: accessed flags may have to be set).
   */
  table(nested: WalkContext, gpa: number, key: number, out: WalkResult): number
  /** Translates the page that the guest's tables named (in `out.page`) and puts both dimensions together. */
  final(nested: WalkContext, access: number, out: WalkResult): void
}

/** `walk` is filled in after construction, because nested tables are walked by the walks that use this step. */
export interface NestedWalks {
  paging: Walk
  ept: EptWalk
}

/** Upper half of the highest address that a format translates. */
function reach(format: PagingFormat): number {
  if (format === FORMAT_32 || format === FORMAT_PAE) return 0
  return format === FORMAT_4_LEVEL ? 0xffff : 0xf_ffff
}

export function createNestedStep(port: PageTablePort, walks: NestedWalks): NestedStep {
  const inner = createWalkResult()

  /** Walks the nested tables for `gpa` into `inner`; answers whether that went well, else `out` has the fault. */
  const translate = (ctx: WalkContext, gpa: number, key: number, access: number, stage: number, out: WalkResult) => {
    if (ctx.format >= FORMAT_EPT_4) walks.ept(ctx, gpa, key, access, stage, out.perms, inner)
    else {
      const high = Math.floor(gpa / 0x1_0000_0000)
      const asUser = (access & (ACCESS_WRITE | ACCESS_FETCH)) | ACCESS_USER
      // A guest address past the width that the nested tables translate is not mapped.
      if (high > reach(ctx.format)) pageFault(ctx, inner, ctx.format, asUser, 0)
      else walks.paging(ctx, gpa | 0, high, asUser, inner)
    }
    if (inner.status === WALK_OK) return true
    out.status = inner.status === WALK_PAGE_FAULT ? WALK_NESTED_FAULT : inner.status
    out.errorCode = inner.errorCode
    out.stage = stage
    out.gpa = gpa
    out.level = inner.level
    out.refusal = inner.refusal
    out.entry = inner.entry
    return false
  }

  const step: NestedStep = {
    key: 0,
    table(nested, gpa, key, out) {
      // Only EPT looks at the guest's permissions, and only for the final access.
      out.perms = PERM_USER
      if (!translate(nested, gpa, key, ACCESS_WRITE, STAGE_TABLE, out)) return -1
      if (port.guestTable === undefined) {
        step.key = key !== 0 ? key : inner.key
      } else {
        step.key = port.guestTable(inner.page, gpa, inner.shift, key, inner.key)
        if (step.key < 0) {
          out.status = WALK_REFUSED
          out.refusal = port.refused
          out.stage = STAGE_TABLE
          out.gpa = gpa
          out.entry = inner.page + (gpa % 4096)
          return -1
        }
      }
      // The entry's flags may not be its walker's to set, which is a refusal at this address.
      out.gpa = gpa
      return inner.page + (gpa % 4096)
    },
    final(nested, access, out) {
      const gpa = out.page
      out.gpa = gpa
      if (!translate(nested, gpa, out.key, access, STAGE_FINAL, out)) return
      out.page = inner.page
      out.nestedKey = inner.key
      out.nestedPat = inner.pat
      out.guestShift = out.shift
      out.nestedShift = inner.shift
      if (inner.shift < out.shift) out.shift = inner.shift
      let perms = out.perms
      if ((inner.perms & PERM_WRITE) === 0) perms &= ~PERM_NESTED_WRITE
      if ((inner.perms & PERM_EXEC) === 0) perms &= ~PERM_NESTED_EXEC
      if ((inner.perms & PERM_DIRTY) === 0) perms &= ~PERM_DIRTY
      out.perms = perms
    },
  }
  return step
}
