/** The walker: one record per processor, whatever its paging mode. */
import { ACCESS_FETCH, ACCESS_WRITE, PERM_DIRTY, PERM_NESTED_EXEC, PERM_NESTED_WRITE, PERM_USER,
  rightsError } from './access.ts'
import { FORMAT_32, FORMAT_NONE, FORMAT_PAE, type WalkContext } from './context.ts'
import { createNestedStep, type NestedWalks, type Walk } from './nested.ts'
import type { PageTablePort } from './port.ts'
import type { WalkResult } from './result.ts'
import { createWalk32, createWalkNone } from './walk-32.ts'
import { createWalk64, PDPTE_RESERVED } from './walk-64.ts'
import { createWalkEpt } from './walk-ept.ts'

/** Walks page tables, alone or nested, as the processor does. */
export interface Walker {
  /**
   * Translates one linear address for one access, sets accessed and dirty flags, and fills `out`. Allocates nothing
   * and never throws. The caller has checked that the address is canonical; bits above the format's width are ignored.
   *
   * @param access ACCESS_ bits
   */
  walk(ctx: WalkContext, vaLow: number, vaHigh: number, access: number, out: WalkResult): void
  /**
   * Loads the PDPTEs of PAE paging from the table that CR3 names (SDM vol. 3, §4.4.1), as MOV to CR3 does. Answers
   * false, and changes nothing, when a present one has reserved bits (#GP) or the port refuses.
   */
  loadPdptes(ctx: WalkContext): boolean
}

/** Creates a walker that reaches memory through `port`. */
export function createWalker(port: PageTablePort): Walker {
  const ept = createWalkEpt(port)
  const walks: NestedWalks = { paging: unready, ept }
  const nested = createNestedStep(port, walks)
  const walk64 = createWalk64(port, nested)
  const walk32 = createWalk32(port, nested)
  const walkNone = createWalkNone(nested)

  const walk: Walk = (ctx, vaLow, vaHigh, access, out) => {
    if (ctx.format >= FORMAT_PAE) walk64(ctx, vaLow, vaHigh, access, out)
    else if (ctx.format === FORMAT_32) walk32(ctx, vaLow, vaHigh, access, out)
    else walkNone(ctx, vaLow, vaHigh, access, out)
  }
  walks.paging = walk

  return {
    walk(ctx, vaLow, vaHigh, access, out) {
      port.refused = 0
      out.stage = 0
      out.refusal = 0
      walk(ctx, vaLow, vaHigh, access, out)
    },
    loadPdptes(ctx) {
      port.refused = 0
      const fresh = new Int32Array(8)
      for (let i = 0; i < 4; i++) {
        fresh[2 * i] = port.load64(ctx.root + 8 * i, ctx.rootKey)
        fresh[2 * i + 1] = port.high
        if (port.refused !== 0) return false
        const present = (fresh[2 * i] & 1) !== 0
        const reserved = (fresh[2 * i] & PDPTE_RESERVED) | (fresh[2 * i + 1] & (ctx.reservedHigh | 0xfff0_0000))
        if (present && reserved !== 0) return false
      }
      ctx.pdptes.set(fresh)
      return true
    },
  }
}

const unready: Walk = () => { throw new Error('paging: nested walk before construction ended') }

/**
 * Whether a cached translation serves an access, without a walk: the rights of `ctx` as it is now, the nested tables'
 * permissions, and the dirty flag for writes. When false, walk again: that faults or sets the flag.
 */
export function permits(ctx: WalkContext, perms: number, pkey: number, access: number): boolean {
  const writable = PERM_DIRTY | PERM_NESTED_WRITE
  if ((access & ACCESS_WRITE) !== 0 && (perms & writable) !== writable) return false
  if ((access & ACCESS_FETCH) !== 0 && (perms & PERM_NESTED_EXEC) === 0) return false
  if (ctx.format === FORMAT_NONE) return true
  return rightsError(ctx.mode, perms, pkey, (perms & PERM_USER) !== 0 ? ctx.pkru : ctx.pkrs, access) === 0
}
