/**
 * The part of the TDX module's and P-SEAMLDR's interfaces that a host's initialisation uses.
 * Sources: Intel TDX Module 1.5 ABI (leaf numbers, TDMR_INFO, metadata field ids: intel/tdx-module tdx_1.5,
 * include/tdx_api_defs.h and auto_gen/global_sys_fields_lookup.h); SEAM Loader Interface Specification (SEAMLDR_INFO);
 * dynamic PAMT: Linux host patches, TDH.SYS.CONFIG R8 bit 16 and PAMT_PAGE_BITMAP_ENTRY_BITS.
 */
import { layout } from '@cofferdam/spec'

/** SEAMCALL leaves by number (RAX 15:0; bit 63 set: P-SEAMLDR's). */
export const Leaf = {
  seamldrInfo: 0x8000_0000_0000_0000n,
  tdhPhymemPageRdmd: 24n,
  tdhSysKeyConfig: 31n,
  tdhSysInit: 33n,
  tdhSysRd: 34n,
  tdhSysLpInit: 35n,
  tdhSysTdmrInit: 36n,
  tdhSysConfig: 45n,
} as const

/** Names of {@link Leaf}s as documents spell them. */
export const LEAF_NAMES: ReadonlyMap<bigint, string> = new Map([
  [Leaf.seamldrInfo, 'SEAMLDR.INFO'], [Leaf.tdhPhymemPageRdmd, 'TDH.PHYMEM.PAGE.RDMD'],
  [Leaf.tdhSysKeyConfig, 'TDH.SYS.KEY.CONFIG'], [Leaf.tdhSysInit, 'TDH.SYS.INIT'], [Leaf.tdhSysRd, 'TDH.SYS.RD'],
  [Leaf.tdhSysLpInit, 'TDH.SYS.LP.INIT'], [Leaf.tdhSysTdmrInit, 'TDH.SYS.TDMR.INIT'],
  [Leaf.tdhSysConfig, 'TDH.SYS.CONFIG'],
])

/** TDMR_INFO without its reserved areas, which follow as pairs of offset and size. */
export const TdmrInfo = layout(64, {
  base: [0x00, 8], size: [0x08, 8],
  pamt1gBase: [0x10, 8], pamt1gSize: [0x18, 8],
  pamt2mBase: [0x20, 8], pamt2mSize: [0x28, 8],
  pamt4kBase: [0x30, 8], pamt4kSize: [0x38, 8],
})

/** One reserved area of a TDMR_INFO; size 0 ends the list. */
export const TdmrReservedArea = layout(16, { offset: [0, 8], size: [8, 8] })

/** TDMR_INFO structures and the array of their addresses are aligned to this. */
export const TDMR_INFO_ALIGNMENT = 512

/** SEAMLDR_INFO, 256 bytes, aligned to as much. */
export const SeamldrInfo = layout(256, {
  version: [0, 4], attributes: [4, 4], vendorId: [8, 4], buildDate: [12, 4],
  buildNum: [16, 2], minorVersion: [18, 2], majorVersion: [20, 2], updateVersion: [22, 2],
  acmX2apicid: [24, 4], numRemainingUpdates: [28, 4],
  seamInfo: [32, 128, 'bytes'], seamReady: [160, 1], seamDebug: [161, 1], pSeamReady: [162, 1],
})

/** Global metadata fields (MD_FIELD_ID). Arrays: the id of the first element; the next ones follow it. */
export const Metadata = {
  minorVersion: 0x0800_0001_0000_0003n,
  majorVersion: 0x0800_0001_0000_0004n,
  updateVersion: 0x0800_0001_0000_0005n,
  tdxFeatures0: 0x0a00_0003_0000_0008n,
  numCmrs: 0x9000_0001_0000_0000n,
  cmrBase: 0x9000_0003_0000_0080n,
  cmrSize: 0x9000_0003_0000_0100n,
  maxTdmrs: 0x9100_0001_0000_0008n,
  maxReservedPerTdmr: 0x9100_0001_0000_0009n,
  pamt4kEntrySize: 0x9100_0001_0000_0010n,
  pamt2mEntrySize: 0x9100_0001_0000_0011n,
  pamt1gEntrySize: 0x9100_0001_0000_0012n,
  pamtPageBitmapEntryBits: 0x9100_0001_0000_0013n,
} as const

/** Names of {@link Metadata} fields as the ABI's tables have them. */
export const METADATA_NAMES: ReadonlyMap<bigint, string> = new Map([
  [Metadata.minorVersion, 'MINOR_VERSION'], [Metadata.majorVersion, 'MAJOR_VERSION'],
  [Metadata.updateVersion, 'UPDATE_VERSION'], [Metadata.tdxFeatures0, 'TDX_FEATURES0'],
  [Metadata.numCmrs, 'NUM_CMRS'], [Metadata.cmrBase, 'CMR_BASE'], [Metadata.cmrSize, 'CMR_SIZE'],
  [Metadata.maxTdmrs, 'MAX_TDMRS'], [Metadata.maxReservedPerTdmr, 'MAX_RESERVED_PER_TDMR'],
  [Metadata.pamt4kEntrySize, 'PAMT_4K_ENTRY_SIZE'], [Metadata.pamt2mEntrySize, 'PAMT_2M_ENTRY_SIZE'],
  [Metadata.pamt1gEntrySize, 'PAMT_1G_ENTRY_SIZE'],
  [Metadata.pamtPageBitmapEntryBits, 'PAMT_PAGE_BITMAP_ENTRY_BITS'],
])

/** TDX_FEATURES0 bit 36: PAMTs of 4 KiB pages can be added as they are needed. */
export const FEATURES0_DYNAMIC_PAMT = 1n << 36n
/** TDH.SYS.CONFIG R8 bit 16: use it. */
export const SYS_CONFIG_DYNAMIC_PAMT = 1n << 16n

/** Page types that TDH.PHYMEM.PAGE.RDMD returns in RCX. */
export const PT_NAMES = [
  'PT_NDA', 'PT_RSVD', undefined, 'PT_REG', 'PT_TDR', 'PT_TDCX', 'PT_TDVPR', undefined, 'PT_EPT',
] as const
