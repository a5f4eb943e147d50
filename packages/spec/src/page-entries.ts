import { bits, bits64 } from './bits.ts'

/**
 * Entries of 4- and 5-level and PAE paging (SDM vol. 3, tables 4-14 to 4-20; APM vol. 2, §5.3). `PS` is the PAT bit
 * in a PTE; bit 12 is that of a 2 MiB or 1 GiB page. Bits above MAXPHYADDR in `address` are reserved; the C-bit or
 * the KeyID lies among the address bits.
 */
export const PageEntry = bits64({
  P: 0, RW: 1, US: 2, PWT: 3, PCD: 4, A: 5, D: 6, PS: 7, G: 8, address: [51, 12], pkey: [62, 59], NX: 63,
})

/** Entries of 32-bit paging (SDM vol. 3, tables 4-4 to 4-6). `PS` is the PAT bit in a PTE. */
export const PageEntry32 = bits({
  P: 0, RW: 1, US: 2, PWT: 3, PCD: 4, A: 5, D: 6, PS: 7, G: 8, address: [31, 12],
})

/** A 4 MiB page of 32-bit paging with PSE-36 (SDM vol. 3, table 4-4): bits 20:13 are address bits 39:32. */
export const PageEntryPse36 = bits({
  P: 0, RW: 1, US: 2, PWT: 3, PCD: 4, A: 5, D: 6, PS: 7, G: 8, PAT: 12, addressHigh: [20, 13], address: [31, 22],
})

/** Entries of extended page tables (SDM vol. 3, §29.3.2). The type and IPAT fields are those of leaves. */
export const EptEntry = bits64({
  R: 0, W: 1, X: 2, memoryType: [5, 3], IPAT: 6, PS: 7, A: 8, D: 9, XU: 10, address: [51, 12], VGP: 57, PW: 58,
  SSS: 60, SVE: 63,
})

/** EPT pointer (SDM vol. 3, §25.6.11). `levels` is the walk length minus 1. */
export const EptPointer = bits64({ memoryType: [2, 0], levels: [5, 3], AD: 6, SSS: 7, address: [51, 12] })

/**
 * Error code of #PF (SDM vol. 3, §4.7; APM vol. 2, §8.4.2): `SGX` is Intel's bit 15, `RMP` AMD's bit 31.
 */
export const PageFaultError = bits({ P: 0, W: 1, U: 2, RSVD: 3, I: 4, PK: 5, SS: 6, HLAT: 7, SGX: 15, RMP: 31 })

/** EXITINFO1 of a nested page fault (APM vol. 2, §15.25.6 and §15.36.10). */
export const NestedFaultInfo = bits64({
  P: 0, W: 1, U: 2, RSVD: 3, I: 4, SS: 6, RMP: 31, final: 32, table: 33, ENC: 34, SIZEM: 35, VMPL: 36, SSS: 37,
})

/** Exit qualification of an EPT violation (SDM vol. 3, table 28-7). */
export const EptViolation = bits({
  read: 0, write: 1, fetch: 2, readable: 3, writable: 4, executable: 5, userExecutable: 6, linearValid: 7, final: 8,
  userPage: 9, writablePage: 10, executeDisable: 11, nmiUnblocking: 12, shadowStack: 13,
})
