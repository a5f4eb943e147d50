/** The encrypted save area of SEV-ES and SEV-SNP guests (APM vol. 2, table B-4 and §15.36). */
import { bits64 } from './bits.ts'
import { layout } from './layout.ts'
import { savedRegisters, saveArea } from './save-area.ts'

/** A VMSA page; segments are `VmcbSegment`, `eventInj` and `guestExitIntInfo` are `EventInject`. */
export const Vmsa = layout(0x1000, {
  ...saveArea,
  ...savedRegisters,
  pl0Ssp: [0x0a0, 8],
  pl1Ssp: [0x0a8, 8],
  pl2Ssp: [0x0b0, 8],
  pl3Ssp: [0x0b8, 8],
  uCet: [0x0c0, 8],
  vmpl: [0x0ca, 1],
  xss: [0x140, 8],
  dr0: [0x180, 8],
  dr1: [0x188, 8],
  dr2: [0x190, 8],
  dr3: [0x198, 8],
  dr0AddrMask: [0x1a0, 8],
  dr1AddrMask: [0x1a8, 8],
  dr2AddrMask: [0x1b0, 8],
  dr3AddrMask: [0x1b8, 8],
  pkru: [0x2e8, 4],
  tscAux: [0x2ec, 4],
  guestTscScale: [0x2f0, 8],
  guestTscOffset: [0x2f8, 8],
  regProtNonce: [0x300, 8],
  secureAvicCtl: [0x320, 8],
  guestExitInfo1: [0x390, 8],
  guestExitInfo2: [0x398, 8],
  guestExitIntInfo: [0x3a0, 8],
  guestNrip: [0x3a8, 8],
  sevFeatures: [0x3b0, 8],
  vintrCtrl: [0x3b8, 8],
  guestExitCode: [0x3c0, 8],
  virtualTom: [0x3c8, 8],
  tlbId: [0x3d0, 8],
  pcpuId: [0x3d8, 8],
  eventInj: [0x3e0, 8],
  xcr0: [0x3e8, 8],
  x87Dp: [0x400, 8],
  mxcsr: [0x408, 4],
  x87Ftw: [0x40c, 2],
  x87Fsw: [0x40e, 2],
  x87Fcw: [0x410, 2],
  x87Fop: [0x412, 2],
  x87Ds: [0x414, 2],
  x87Cs: [0x416, 2],
  x87Rip: [0x418, 8],
  /** ST0–ST7, 10 bytes each. */
  fpregX87: [0x420, 80],
  /** XMM0–XMM15. */
  fpregXmm: [0x470, 256],
  /** Upper halves of YMM0–YMM15. */
  fpregYmm: [0x570, 256],
  lbrStack: [0x670, 256],
  lbrSelect: [0x770, 8],
  ibsFetchCtl: [0x778, 8],
  ibsFetchLinAddr: [0x780, 8],
  ibsOpCtl: [0x788, 8],
  ibsOpRip: [0x790, 8],
  ibsOpData: [0x798, 8],
  ibsOpData2: [0x7a0, 8],
  ibsOpData3: [0x7a8, 8],
  ibsDcLinAddr: [0x7b0, 8],
  bpIbsTgtRip: [0x7b8, 8],
  icIbsExtdCtl: [0x7c0, 8],
})

/** Vmsa.sevFeatures (APM vol. 2, table B-4). SEV_STATUS shows them two bits higher. */
export const SevFeatures = bits64({
  SNPActive: 0, vTOM: 1, ReflectVC: 2, RestrictedInjection: 3, AlternateInjection: 4, DebugSwap: 5, PreventHostIBS: 6,
  BTBIsolation: 7, VmplSSS: 8, SecureTSC: 9, VmgexitParameter: 10, PmcVirtualization: 11, IbsVirtualization: 12,
  VmsaRegProt: 14, SmtProtection: 15, SecureAvic: 16, IbpbOnEntry: 21,
})

/** Vmsa.vintrCtrl (APM vol. 2, table B-4 and §15.36.21). */
export const VmsaInterrupt = bits64({
  TPR: [7, 0], V_IRQ: 8, VGIF: 9, INT_SHADOW: 10, V_NMI: 11, V_NMI_MASK: 12, intrPrio: [19, 16], V_IGN_TPR: 20,
  V_NMI_ENABLE: 26, vector: [39, 32], BUSY: 63,
})
