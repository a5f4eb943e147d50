/** What a walk needs to know of the processor: filled once when a register changes, read by every walk. */
import { Cr0, Cr4, Efer } from '@cofferdam/spec'
import {
  MODE_AC, MODE_EPT_AD, MODE_EPT_MBEC, MODE_NXE, MODE_PGE, MODE_PKE, MODE_PKS, MODE_PSE, MODE_SMAP, MODE_SMEP, MODE_WP,
} from './access.ts'

/** CR0.PG = 0: linear addresses are physical. */
export const FORMAT_NONE = 0
/** 32-bit paging: two levels, 4 MiB pages with CR4.PSE. */
export const FORMAT_32 = 1
/** PAE: the PDPTEs are registers, then two levels. */
export const FORMAT_PAE = 2
/** 4-level tables of 64-bit mode. */
export const FORMAT_4_LEVEL = 4
/** 5-level tables of 64-bit mode (CR4.LA57). */
export const FORMAT_5_LEVEL = 5
/** Extended page tables of 4 and 5 levels (only as `nested`). */
export const FORMAT_EPT_4 = 8
/** Extended page tables of 5 levels (only as `nested`). */
export const FORMAT_EPT_5 = 9

/** One of the FORMAT_ numbers. */
export type PagingFormat = 0 | 1 | 2 | 4 | 5 | 8 | 9

/** Where an encryption key lies in entries and in CR3: the C-bit (1 bit), a KeyID, or the shared bit of TDX. */
export interface KeyField {
  /** Lowest bit, 32 to 51. */
  readonly position: number
  /** Bits wide. */
  readonly width: number
}

/** Properties of the processor model; they don't change while it runs. */
export interface WalkContextOptions {
  /** MAXPHYADDR, 32 to 52. Address bits from here to 51 are reserved. */
  readonly physicalBits: number
  /** Key bits are no part of the address and never reserved. */
  readonly key?: KeyField
  /** 1 GiB pages exist (CPUID 8000_0001 EDX bit 26). Without, PS is reserved in a PDPTE. Default true. */
  readonly gigabytePages?: boolean
  /** Bit 8 is reserved in PML4Es and in PDPTEs that name a table, as on AMD. Default false. */
  readonly upperGlobalReserved?: boolean
}

/** State of one dimension of address translation. Make it with `createWalkContext`; numbers only, for speed. */
export interface WalkContext {
  format: PagingFormat
  /** Physical address of the topmost table. */
  root: number
  /** Key that CR3 names. */
  rootKey: number
  /** MODE_ bits. */
  mode: number
  pkru: number
  pkrs: number
  /** The four PDPTEs of PAE paging as low and high halves. */
  readonly pdptes: Int32Array
  /** Tables of the second dimension: NPT (a paging format) or EPT; null in one dimension. */
  nested: WalkContext | null
  /** Only in `nested`: root for guest addresses that carry key bits (the shared EPT of TDX), or −1: the same root. */
  keyedRoot: number
  readonly physicalBits: number
  /** Derived: bits of an entry's upper half that hold the address and the key, and that are reserved. */
  addressHigh: number
  keyHigh: number
  keyShift: number
  reservedHigh: number
  /** Derived: reserved bits of the lower half by level, in entries that map a page and that name a table. */
  readonly reservedPage: Int32Array
  readonly reservedTable: Int32Array
  /** Derived: reserved bits of a 4 MiB page's PDE (SDM vol. 3, table 4-4: bit 21, and bits 20:13 past MAXPHYADDR). */
  readonly reserved4M: number
}

/** Registers that decide how to walk. Upper halves of 64-bit registers are given apart. */
export interface PagingRegisters {
  readonly cr0: number
  readonly cr3Low: number
  readonly cr3High: number
  readonly cr4: number
  readonly efer: number
  /** EFLAGS.AC. */
  readonly ac: boolean
  readonly pkru: number
  readonly pkrs?: number
}

/**
 * A context for `FORMAT_NONE`; `configureWalk` or the EPT and NPT setters bring it to life.
 * @throws RangeError for impossible widths
 */
export function createWalkContext(options: WalkContextOptions): WalkContext {
  const { physicalBits, key } = options
  if (!(physicalBits >= 32 && physicalBits <= 52)) throw new RangeError(`physicalBits ${physicalBits}: 32 to 52`)
  const keyHigh = keyBits(key)
  // Non-present levels stay 0. Level 1 is the PTE, 5 the PML5E (SDM vol. 3, tables 4-14 to 4-20).
  const amdGlobal = options.upperGlobalReserved === true ? 0x100 : 0
  return {
    format: FORMAT_NONE, root: 0, rootKey: 0, mode: 0, pkru: 0, pkrs: 0, pdptes: new Int32Array(8), nested: null,
    keyedRoot: -1, physicalBits,
    addressHigh: 0xf_ffff & ~keyHigh,
    keyHigh,
    keyShift: key === undefined ? 0 : key.position - 32,
    reservedHigh: reservedAddress(physicalBits, keyHigh),
    reservedPage: Int32Array.of(0, 0, 0x001f_e000, options.gigabytePages === false ? 0x80 : 0x3fff_e000, 0, 0),
    reservedTable: Int32Array.of(0, 0, 0, amdGlobal, 0x80 | amdGlobal, 0x80),
    reserved4M: 0x3f_e000 & ~((2 ** (Math.min(40, physicalBits) - 32) - 1) << 13),
  }
}

/** Bits of an upper half that hold the key. */
function keyBits(key: KeyField | undefined): number {
  if (key === undefined) return 0
  if (!(key.position >= 32 && key.width > 0 && key.position + key.width <= 52)) {
    throw new RangeError(`key bits ${key.position}+${key.width}: inside 32 to 51`)
  }
  return (2 ** key.width - 1) * 2 ** (key.position - 32)
}

/**
 * Gives entries a key, another one, or none: memory encryption was turned on, or a guest has a C-bit and its host none.
 * `configureWalk` must follow.
 * @throws RangeError for a field outside of bits 51:32
 */
export function setKeyField(ctx: WalkContext, key: KeyField | undefined): void {
  ctx.keyHigh = keyBits(key)
  ctx.keyShift = key === undefined ? 0 : key.position - 32
  ctx.addressHigh = 0xf_ffff & ~ctx.keyHigh
  ctx.reservedHigh = reservedAddress(ctx.physicalBits, ctx.keyHigh)
}

/** Address bits 51:MAXPHYADDR of an upper half, without key bits. */
function reservedAddress(physicalBits: number, keyHigh: number): number {
  return 0xf_ffff & ~(2 ** (physicalBits - 32) - 1) & ~keyHigh
}

function setRoot(ctx: WalkContext, low: number, high: number, lowMask: number): void {
  ctx.root = (high & ctx.addressHigh) * 0x1_0000_0000 + ((low & lowMask) >>> 0)
  ctx.rootKey = (high & ctx.keyHigh) >>> ctx.keyShift
}

function modeOf(regs: PagingRegisters): number {
  const on = (set: number | boolean, bit: number): number => (set === false || set === 0 ? 0 : bit)
  const { cr0, cr4, efer } = regs
  return on(cr0 & Cr0.mask.WP, MODE_WP) | on(efer & Efer.mask.NXE, MODE_NXE) | on(cr4 & Cr4.mask.SMEP, MODE_SMEP)
    | on(cr4 & Cr4.mask.SMAP, MODE_SMAP) | on(cr4 & Cr4.mask.PKE, MODE_PKE) | on(cr4 & Cr4.mask.PKS, MODE_PKS)
    | on(regs.ac, MODE_AC) | on(cr4 & Cr4.mask.PSE, MODE_PSE) | on(cr4 & Cr4.mask.PGE, MODE_PGE)
}

/** Which paging the registers select (SDM vol. 3, §4.1.1). */
export function formatOf(cr0: number, cr4: number, efer: number): PagingFormat {
  if ((cr0 & Cr0.mask.PG) === 0) return FORMAT_NONE
  if ((cr4 & Cr4.mask.PAE) === 0) return FORMAT_32
  if ((efer & Efer.mask.LMA) === 0) return FORMAT_PAE
  return (cr4 & Cr4.mask.LA57) === 0 ? FORMAT_4_LEVEL : FORMAT_5_LEVEL
}

/**
 * Takes the registers over into the context; to be called after any of them changed. PDPTEs are not loaded here: see
 * `loadPdptes`.
 */
export function configureWalk(ctx: WalkContext, regs: PagingRegisters): void {
  const format = formatOf(regs.cr0, regs.cr4, regs.efer)
  ctx.format = format
  ctx.pkru = regs.pkru
  ctx.pkrs = regs.pkrs ?? 0
  let mode = modeOf(regs)
  // Protection keys exist in 4- and 5-level paging only (§4.6.2); the NX bit from PAE on.
  if (format < FORMAT_4_LEVEL) mode &= ~(MODE_PKE | MODE_PKS)
  if (format < FORMAT_PAE) mode &= ~MODE_NXE
  // Without paging there are no pages of user or supervisor (§4.1.1).
  if (format === FORMAT_NONE) mode &= ~(MODE_SMEP | MODE_SMAP | MODE_WP)
  ctx.mode = mode
  let reserved = reservedAddress(ctx.physicalBits, ctx.keyHigh)
  if ((mode & MODE_NXE) === 0) reserved |= 1 << 31
  if (format === FORMAT_PAE) reserved |= 0x7ff0_0000
  ctx.reservedHigh = reserved
  if (format >= FORMAT_4_LEVEL) setRoot(ctx, regs.cr3Low, regs.cr3High, ~0xfff)
  else setRoot(ctx, regs.cr3Low, 0, format === FORMAT_PAE ? ~0x1f : ~0xfff)
}

/**
 * Makes `ctx` the nested tables of an SVM guest: the host's registers at VMRUN. Every nested access is a user access
 * (APM vol. 2, §15.25.5), so that only NX and the paging format count.
 */
export function configureNpt(ctx: WalkContext, host: PagingRegisters): void {
  configureWalk(ctx, host)
  ctx.mode &= MODE_NXE | MODE_PSE
}

/** EFLAGS.AC alone changed (STAC, CLAC, POPF). */
export function setAlignmentCheck(ctx: WalkContext, ac: boolean): void {
  ctx.mode = ac ? ctx.mode | MODE_AC : ctx.mode & ~MODE_AC
}

/** EPT settings of a virtual machine. */
export interface EptSettings {
  /** Physical address of the topmost table. */
  readonly root: number
  readonly levels: 4 | 5
  /** EPTP bit 6: accessed and dirty flags. */
  readonly accessedDirty: boolean
  /** Mode-based execute control. */
  readonly userExecute?: boolean
  /** Root for guest addresses that carry key bits (TDX: shared EPT). */
  readonly keyedRoot?: number
}

/** Makes `ctx` walk extended page tables; it can then be the `nested` of a guest's context. */
export function configureEpt(ctx: WalkContext, settings: EptSettings): void {
  ctx.format = settings.levels === 5 ? FORMAT_EPT_5 : FORMAT_EPT_4
  ctx.root = settings.root
  ctx.keyedRoot = settings.keyedRoot ?? -1
  ctx.mode = (settings.accessedDirty ? MODE_EPT_AD : 0) | (settings.userExecute === true ? MODE_EPT_MBEC : 0)
  ctx.reservedHigh = reservedAddress(ctx.physicalBits, ctx.keyHigh)
}
