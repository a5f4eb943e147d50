/**
 * Accesses, permissions and their rules. Numbers, not enums: a walk runs about a million times during a kernel's boot.
 * Access bits stand where the page-fault error code has them (SDM vol. 3, §4.7), so that a fault's code is the access
 * plus what went wrong.
 */
import { PageFaultError } from '@cofferdam/spec'

/** The access writes; without this bit and ACCESS_FETCH it reads. */
export const ACCESS_WRITE = 0x02
/** A user-mode access (CPL 3 and not implicit). */
export const ACCESS_USER = 0x04
/** An instruction fetch. */
export const ACCESS_FETCH = 0x10
/** An implicit supervisor access (descriptor tables, TSS …): EFLAGS.AC does not help it past SMAP (SDM §4.6.1). */
export const ACCESS_IMPLICIT = 0x100

/** Error-code bits that a walk adds. */
export const ERROR_PRESENT = PageFaultError.mask.P
/** Page-fault error code: a reserved bit was set in an entry (RSVD). */
export const ERROR_RESERVED = PageFaultError.mask.RSVD
/** Page-fault error code: a protection key refused the access (PK). */
export const ERROR_KEY = PageFaultError.mask.PK

/** Permissions of a translation, together over all levels (and both dimensions), as a TLB may keep them. */
export const PERM_EXEC = 0x001
/** R/W is set in every entry. */
export const PERM_WRITE = 0x002
/** U/S is set in every entry: a user-mode address. */
export const PERM_USER = 0x004
/** The page's dirty flag (in two dimensions: both) is set; until then a cached entry must not serve writes. */
export const PERM_DIRTY = 0x040
/** Global (G with CR4.PGE). */
export const PERM_GLOBAL = 0x100
/** The nested tables let the guest write and execute; always set in one dimension. CR0.WP does not reach them. */
export const PERM_NESTED_WRITE = 0x200
/** Nested tables allow instruction fetches. */
export const PERM_NESTED_EXEC = 0x400

/** Mode bits of a walk; `configureWalk` sets them from the registers. */
export const MODE_WP = 0x001
/** EFER.NXE: bit 63 of an entry forbids fetches. */
export const MODE_NXE = 0x002
/** CR4.SMEP: the supervisor fetches nothing from user pages. */
export const MODE_SMEP = 0x004
/** CR4.SMAP: the supervisor touches user pages only with EFLAGS.AC. */
export const MODE_SMAP = 0x008
/** CR4.PKE: PKRU governs user-mode addresses. */
export const MODE_PKE = 0x010
/** CR4.PKS: PKRS governs supervisor-mode addresses. */
export const MODE_PKS = 0x020
/** EFLAGS.AC. */
export const MODE_AC = 0x040
/** CR4.PSE: 32-bit tables may map pages of 4 MiB. */
export const MODE_PSE = 0x080
/** CR4.PGE: the G bit of an entry makes its translation global. */
export const MODE_PGE = 0x100
/** Nested tables with EPT: set accessed and dirty flags (EPTP bit 6). */
export const MODE_EPT_AD = 0x200
/** EPT: separate execute permission for user-mode addresses (mode-based execute control). */
export const MODE_EPT_MBEC = 0x400

/**
 * Access rights (SDM vol. 3, §4.6 and §4.6.2; APM vol. 2, §5.6). Answers 0 when the access is allowed, else the bits
 * for the error code: P, and PK when a protection key alone or with others forbids it.
 *
 * @param mode MODE_ bits
 * @param perms PERM_ bits of the translation
 * @param keyRights PKRU (user-mode address) or PKRS (supervisor-mode address)
 */
export function rightsError(mode: number, perms: number, pkey: number, keyRights: number, access: number): number {
  const userPage = (perms & PERM_USER) !== 0
  if ((access & ACCESS_FETCH) !== 0) {
    // SDM §4.6.1, instruction fetches: NX; SMEP keeps the supervisor off user-mode addresses.
    if ((perms & PERM_EXEC) === 0) return ERROR_PRESENT
    if ((access & ACCESS_USER) !== 0) return userPage ? 0 : ERROR_PRESENT
    return userPage && (mode & MODE_SMEP) !== 0 ? ERROR_PRESENT : 0
  }
  const write = (access & ACCESS_WRITE) !== 0
  const user = (access & ACCESS_USER) !== 0
  let error = 0
  if (user) {
    if (!userPage) error = ERROR_PRESENT
    if (write && (perms & PERM_WRITE) === 0) error = ERROR_PRESENT
  } else {
    if (write && (perms & PERM_WRITE) === 0 && (mode & MODE_WP) !== 0) error = ERROR_PRESENT
    // SMAP: an explicit access passes with EFLAGS.AC, an implicit one never.
    if (userPage && (mode & MODE_SMAP) !== 0 && ((mode & MODE_AC) === 0 || (access & ACCESS_IMPLICIT) !== 0)) {
      error = ERROR_PRESENT
    }
  }
  // §4.6.2: keys govern data accesses only; WD binds the supervisor only with CR0.WP.
  if ((mode & (userPage ? MODE_PKE : MODE_PKS)) !== 0) {
    const rights = (keyRights >>> (pkey * 2)) & 3
    if ((rights & 1) !== 0 || ((rights & 2) !== 0 && write && (user || (mode & MODE_WP) !== 0))) {
      error |= ERROR_PRESENT | ERROR_KEY
    }
  }
  return error
}
