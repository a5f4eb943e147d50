/** Attestation reports of SEV-SNP (AMD 56860 §7.3, table 23 and its versions 2 to 5). */
import { bits, bits64 } from './bits.ts'
import { layout } from './layout.ts'

/** The report. Version 3 adds `cpuid…`, version 4 nothing here, version 5 the mitigation vectors; they are 0 before. */
export const AttestationReport = layout(0x4a0, {
  version: [0x000, 4],
  guestSvn: [0x004, 4],
  policy: [0x008, 8],
  familyId: [0x010, 16],
  imageId: [0x020, 16],
  vmpl: [0x030, 4],
  signatureAlgorithm: [0x034, 4],
  currentTcb: [0x038, 8],
  platformInfo: [0x040, 8],
  keyInfo: [0x048, 4],
  reserved1: [0x04c, 4],
  reportData: [0x050, 64],
  measurement: [0x090, 48],
  hostData: [0x0c0, 32],
  idKeyDigest: [0x0e0, 48],
  authorKeyDigest: [0x110, 48],
  reportId: [0x140, 32],
  reportIdMa: [0x160, 32],
  reportedTcb: [0x180, 8],
  cpuidFamily: [0x188, 1],
  cpuidModel: [0x189, 1],
  cpuidStepping: [0x18a, 1],
  reserved2: [0x18b, 21],
  chipId: [0x1a0, 64],
  committedTcb: [0x1e0, 8],
  currentBuild: [0x1e8, 1],
  currentMinor: [0x1e9, 1],
  currentMajor: [0x1ea, 1],
  reserved3: [0x1eb, 1],
  committedBuild: [0x1ec, 1],
  committedMinor: [0x1ed, 1],
  committedMajor: [0x1ee, 1],
  reserved4: [0x1ef, 1],
  launchTcb: [0x1f0, 8],
  launchMitVector: [0x1f8, 8],
  currentMitVector: [0x200, 8],
  reserved5: [0x208, 152],
  signature: [0x2a0, 512],
})

/** Bytes of a report that its signature covers. */
export const REPORT_SIGNED_BYTES = 0x2a0

/** AttestationReport.platformInfo. */
export const ReportPlatformInfo = bits64({
  SMT_EN: 0, TSME_EN: 1, ECC_EN: 2, RAPL_DIS: 3, CIPHERTEXT_HIDING_DRAM_EN: 4, ALIAS_CHECK_COMPLETE: 5, TIO_EN: 7,
})

/** AttestationReport.keyInfo. */
export const ReportKeyInfo = bits({ AUTHOR_KEY_EN: 0, MASK_CHIP_KEY: 1, signingKey: [4, 2] })
/** Values of SIGNING_KEY in an attestation report. */
export const ReportSigningKey = { VCEK: 0, VLEK: 1, NONE: 7 } as const

/** TCB_VERSION of Milan and Genoa (56860 §2.2, table 3). */
export const TcbVersion = bits64({ bootLoader: [7, 0], tee: [15, 8], snp: [55, 48], microcode: [63, 56] })

/** TCB_VERSION of Turin. */
export const TcbVersionTurin = bits64({
  fmc: [7, 0], bootLoader: [15, 8], tee: [23, 16], snp: [31, 24], microcode: [63, 56],
})

/** Object identifiers of the extensions in VCEK and VLEK certificates (AMD 57230, table 9). */
export const VcekOid = {
  STRUCT_VERSION: '1.3.6.1.4.1.3704.1.1', PRODUCT_NAME: '1.3.6.1.4.1.3704.1.2', BL_SPL: '1.3.6.1.4.1.3704.1.3.1',
  TEE_SPL: '1.3.6.1.4.1.3704.1.3.2', SNP_SPL: '1.3.6.1.4.1.3704.1.3.3', SPL_4: '1.3.6.1.4.1.3704.1.3.4',
  SPL_5: '1.3.6.1.4.1.3704.1.3.5', SPL_6: '1.3.6.1.4.1.3704.1.3.6', SPL_7: '1.3.6.1.4.1.3704.1.3.7',
  UCODE_SPL: '1.3.6.1.4.1.3704.1.3.8', FMC_SPL: '1.3.6.1.4.1.3704.1.3.9', HWID: '1.3.6.1.4.1.3704.1.4',
  CSP_ID: '1.3.6.1.4.1.3704.1.5',
} as const
