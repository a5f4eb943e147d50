/** Extended page tables (SDM vol. 3, §29.3). */
import { ACCESS_FETCH, ACCESS_WRITE, MODE_EPT_AD, MODE_EPT_MBEC, PERM_DIRTY, PERM_EXEC, PERM_NESTED_EXEC,
  PERM_NESTED_WRITE, PERM_USER, PERM_WRITE } from './access.ts'
import { FORMAT_EPT_5, type WalkContext } from './context.ts'
import type { PageTablePort } from './port.ts'
import { STAGE_FINAL, WALK_EPT_MISCONFIGURATION, WALK_EPT_VIOLATION, WALK_OK, type WalkResult } from './result.ts'
import { refused } from './walk-64.ts'

/**
 * Translates guest physical address `gpa`, which carries the guest's `key` bits apart. `perms` are those that the
 * guest's own tables gave the address: mode-based execute control asks whether it is a user-mode address.
 */
export type EptWalk = (
  ctx: WalkContext, gpa: number, key: number, access: number, stage: number, perms: number, out: WalkResult,
) => void

const R = 0x1
const W = 0x2
const X = 0x4
const PS = 0x80
const A = 0x100
const D = 0x200
const XU = 0x400

/** Reserved bits of the lower half (§29.3.2, tables 29-1 to 29-7), by level. */
const RESERVED_PAGE = Int32Array.of(0, 0, 0x001f_f000, 0x3fff_f000)
const RESERVED_TABLE = Int32Array.of(0, 0, 0x78, 0x78, 0xf8, 0xf8)

/** Exit qualification (SDM vol. 3, table 28-7). */
const QUAL_LINEAR_VALID = 0x080
const QUAL_FINAL = 0x100

function qualification(ctx: WalkContext, access: number, stage: number, all: number): number {
  let q = (access & ACCESS_FETCH) !== 0 ? X : (access & ACCESS_WRITE) !== 0 ? W : R
  // With accessed and dirty flags a guest's table is read and written; without, only read.
  if (stage !== STAGE_FINAL) q = (ctx.mode & MODE_EPT_AD) !== 0 ? R | W : R
  q |= (all & (R | W | X)) << 3
  if ((ctx.mode & MODE_EPT_MBEC) !== 0 && (all & XU) !== 0) q |= 0x40
  return q | QUAL_LINEAR_VALID | (stage === STAGE_FINAL ? QUAL_FINAL : 0)
}

/** §29.3.3.1: what no entry may look like. */
function misconfigured(ctx: WalkContext, low: number, high: number, level: number, leaf: boolean): boolean {
  if ((low & (R | W)) === W) return true
  if ((high & ctx.reservedHigh) !== 0) return true
  if (!leaf) return (low & RESERVED_TABLE[level]) !== 0
  const type = (low >>> 3) & 7
  return (low & RESERVED_PAGE[level]) !== 0 || type === 2 || type === 3 || type === 7
}

function permsOf(all: number, executable: number, dirty: boolean): number {
  return ((all & W) !== 0 ? PERM_WRITE : 0) | ((all & executable) !== 0 ? PERM_EXEC : 0) | PERM_USER
    | (dirty ? PERM_DIRTY : 0) | PERM_NESTED_WRITE | PERM_NESTED_EXEC
}

/** Creates the walk over `port`. */
export function createWalkEpt(port: PageTablePort): EptWalk {
  return function walkEpt(ctx, gpa, key, access, stage, perms, out) {
    const mbec = (ctx.mode & MODE_EPT_MBEC) !== 0
    const withFlags = (ctx.mode & MODE_EPT_AD) !== 0
    const presentMask = mbec ? R | W | X | XU : R | W | X
    // §29.3.3.2: which execute bit governs this address.
    const executable = mbec && (perms & PERM_USER) !== 0 ? XU : X
    const high32 = Math.floor(gpa / 0x1_0000_0000)
    const low32 = gpa | 0
    let level = ctx.format === FORMAT_EPT_5 ? 5 : 4
    let table = key !== 0 && ctx.keyedRoot >= 0 ? ctx.keyedRoot : ctx.root
    let all = R | W | X | XU
    out.status = WALK_EPT_VIOLATION
    if (level === 4 && high32 > 0xffff) { out.level = 4; out.errorCode = qualification(ctx, access, stage, 0); return }
    for (;;) {
      const shift = 12 + 9 * (level - 1)
      const index = shift < 32 ? (high32 << (32 - shift)) | (low32 >>> shift) : high32 >>> (shift - 32)
      const entry = table + (index & 0x1ff) * 8
      const low = port.load64(entry, 0) | 0
      const high = port.high | 0
      out.level = level
      if (port.refused !== 0) { refused(port, out, level, entry); return }
      all &= low
      if ((low & presentMask) === 0) { out.errorCode = qualification(ctx, access, stage, all); return }
      const leaf = level === 1 || (level < 4 && (low & PS) !== 0)
      if (misconfigured(ctx, low, high, level, leaf)) { out.status = WALK_EPT_MISCONFIGURATION; return }
      if (!leaf) {
        if (withFlags && (low & A) === 0 && !port.setBits(entry, 0, A)) { refused(port, out, level, entry); return }
        table = (high & ctx.addressHigh) * 0x1_0000_0000 + ((low & ~0xfff) >>> 0)
        level--
        continue
      }
      const forTable = stage !== STAGE_FINAL
      const write = forTable ? withFlags : (access & ACCESS_WRITE) !== 0
      const wanted = !forTable && (access & ACCESS_FETCH) !== 0 ? executable : write ? R | W : R
      if ((all & wanted) !== wanted) { out.errorCode = qualification(ctx, access, stage, all); return }
      const set = write ? A | D : A
      if (withFlags && (low & set) !== set && !port.setBits(entry, 0, set)) { refused(port, out, level, entry); return }
      const inside = RESERVED_PAGE[level]
      const frame = level === 1 ? low & ~0xfff : (low & ~inside & ~0xfff) | (low32 & inside)
      out.status = WALK_OK
      out.page = (high & ctx.addressHigh) * 0x1_0000_0000 + (frame >>> 0)
      out.shift = level === 1 ? 12 : level === 2 ? 21 : 30
      out.perms = permsOf(all, executable, !withFlags || ((low | set) & D) !== 0)
      out.key = (high & ctx.keyHigh) >>> ctx.keyShift
      out.pat = ((low >>> 3) & 7) | ((low >>> 3) & 8)
      return
    }
  }
}
