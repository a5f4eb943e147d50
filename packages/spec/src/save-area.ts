/**
 * What the save areas of SVM share, at the same offsets (APM vol. 2, tables B-2 and B-4; the GHCB follows the
 * latter).
 */

/** State that both the VMCB's save area and the VMSA hold. */
export const saveArea = {
  es: [0x000, 16], cs: [0x010, 16], ss: [0x020, 16], ds: [0x030, 16], fs: [0x040, 16], gs: [0x050, 16],
  gdtr: [0x060, 16], ldtr: [0x070, 16], idtr: [0x080, 16], tr: [0x090, 16], cpl: [0x0cb, 1], efer: [0x0d0, 8],
  cr4: [0x148, 8], cr3: [0x150, 8], cr0: [0x158, 8], dr7: [0x160, 8], dr6: [0x168, 8], rflags: [0x170, 8],
  rip: [0x178, 8], rsp: [0x1d8, 8], sCet: [0x1e0, 8], ssp: [0x1e8, 8], isstAddr: [0x1f0, 8], rax: [0x1f8, 8],
  star: [0x200, 8], lstar: [0x208, 8], cstar: [0x210, 8], sfmask: [0x218, 8], kernelGsBase: [0x220, 8],
  sysenterCs: [0x228, 8], sysenterEsp: [0x230, 8], sysenterEip: [0x238, 8], cr2: [0x240, 8], gPat: [0x268, 8],
  dbgCtl: [0x270, 8], brFrom: [0x278, 8], brTo: [0x280, 8], lastExcpFrom: [0x288, 8], lastExcpTo: [0x290, 8],
  dbgExtnCfg: [0x298, 8], specCtrl: [0x2e0, 8],
} as const

/** Registers that the VMSA and the GHCB hold; with SVM alone the VMM keeps them itself. */
export const savedRegisters = {
  rcx: [0x308, 8], rdx: [0x310, 8], rbx: [0x318, 8], rbp: [0x328, 8], rsi: [0x330, 8], rdi: [0x338, 8],
  r8: [0x340, 8], r9: [0x348, 8], r10: [0x350, 8], r11: [0x358, 8], r12: [0x360, 8], r13: [0x368, 8], r14: [0x370, 8],
  r15: [0x378, 8],
} as const
