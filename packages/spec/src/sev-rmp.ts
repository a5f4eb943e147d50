/**
 * The reverse map of SEV-SNP: entries, permissions, the operands and return codes of its instructions (APM vol. 2,
 * §15.36; APM vol. 3, PVALIDATE … RMPREAD; PPR for family 19h model 01h B1, RMP entry format).
 */
import { bits, bits64 } from './bits.ts'
import { layout } from './layout.ts'

/** Bytes at RMP_BASE that belong to the processor; entries (or the segment table) follow. */
export const RMP_BOOKKEEPING_BYTES = 0x4000

/** Bytes of an RMP entry. */
export const RMP_ENTRY_BYTES = 16

/**
 * Low half of an RMP entry as Zen 3 keeps it in memory; newer processors hide the format behind RMPREAD. `gpa` is a
 * guest page number.
 */
export const RmpEntryLow = bits64({
  assigned: 0, pageSize: 1, immutable: 2, gpa: [50, 12], asid: [60, 51], vmsa: 61, validated: 62,
})

/**
 * High half of an RMP entry. The manuals name its contents (APM vol. 2, table 15-38) and leave their places to the
 * processor; these places are ours. `subpages` counts, in the entry of a 2 MiB region's first page, the other pages of
 * the region that are assigned as 4 KiB pages; `inUse` marks a page that a processor runs from.
 */
export const RmpEntryHigh = bits64({
  vmpl0: [7, 0], vmpl1: [15, 8], vmpl2: [23, 16], vmpl3: [31, 24], subpages: [41, 32], inUse: 42,
})

/** RMP entry in memory: two qwords. */
export const RmpEntry = layout(RMP_ENTRY_BYTES, { low: [0, 8], high: [8, 8] })

/** Permissions of a VMPL in an RMP entry (APM vol. 2, table 15-39). */
export const VmplPermission = bits({ read: 0, write: 1, userExecute: 2, supervisorExecute: 3, shadowStack: 4 })

/** Every permission but shadow stack; VMPL0 always has it. */
export const VMPL_ALL = 0x0f

/** Sizes in RMP entries and instruction operands. */
export const RmpPageSize = { SIZE_4K: 0, SIZE_2M: 1 } as const

/** Operand of RMPUPDATE at RCX, and the first 16 bytes that RMPREAD stores there (Linux `struct rmp_state`). */
export const RmpState = layout(16, {
  gpa: [0, 8], assigned: [8, 1], pageSize: [9, 1], immutable: [10, 1], reserved: [11, 1], asid: [12, 4],
})

/** RmpState.pageSize as RMPREAD stores it: bit 1 says that some page of the 2 MiB region is assigned. */
export const RmpReadPageSize = bits({ pageSize: 0, hpageRegionStatus: 1 })

/** RDX of RMPADJUST (APM vol. 3, RMPADJUST). */
export const RmpAdjustAttributes = bits64({ targetVmpl: [7, 0], permissions: [15, 8], vmsa: 16 })

/** RDX that RMPQUERY returns (APM vol. 3, RMPQUERY). */
export const RmpQueryAttributes = bits64({ permissions: [7, 0], vmsa: 8 })

/** EAX after an RMP instruction (APM vol. 3). Not every instruction returns every code. */
export const RmpStatus = {
  SUCCESS: 0, FAIL_INPUT: 1, FAIL_PERMISSION: 2, FAIL_INUSE: 3, FAIL_OVERLAP: 4, FAIL_SIZEMISMATCH: 6,
} as const

/** PSMASH has a code of its own where RMPUPDATE says FAIL_OVERLAP. */
export const PSMASH_FAIL_BADADDR = 4

/** An entry of the RMP segment table (Linux arch/x86/virt/svm/sev.c): size in GiB and bits 51:20 of the address. */
export const RstEntry = bits64({ mappedGiB: [19, 0], base: [51, 20] })

/** Entries of the RMP segment table: one page of 8 bytes each. */
export const RST_ENTRIES = 512

/** RMP_CFG, MSR C001_0136. `segmentShift` is log2 of the bytes that a segment covers. */
export const RmpCfg = bits64({ SEGMENTED_RMP_EN: 0, segmentShift: [13, 8] })

/** CPUID 8000_0025 EAX and EBX: limits of the segmented RMP. */
export const Cpuid80000025Eax = bits({ minSegmentShift: [5, 0], maxSegmentShift: [11, 6] })
/** CPUID 8000_0025 EBX: segments of the RMP that are cached, and whether that is a hard limit. */
export const Cpuid80000025Ebx = bits({ cachedSegments: [9, 0], HARD_LIMIT: 10 })

/** #VC error code of an access to a private page that the guest has not validated (APM vol. 2, §15.36.10). */
export const VC_PAGE_NOT_VALIDATED = 0x404
