/** Registers of the local APIC. Source: Intel SDM vol. 3A (325384), chapter 11 "APIC", tables 11-1 and 11-6. */
import { ApicBase, Msr } from '@cofferdam/spec'

/** Offsets of the xAPIC page; the x2APIC MSR is `X2APIC_MSR + offset / 16`. */
export const APIC = {
  ID: 0x020, VERSION: 0x030, TPR: 0x080, APR: 0x090, PPR: 0x0a0, EOI: 0x0b0, RRD: 0x0c0, LDR: 0x0d0, DFR: 0x0e0,
  SVR: 0x0f0, ISR: 0x100, TMR: 0x180, IRR: 0x200, ESR: 0x280, ICR: 0x300, ICR_HIGH: 0x310, LVT_TIMER: 0x320,
  LVT_THERMAL: 0x330, LVT_PERF: 0x340, LVT_LINT0: 0x350, LVT_LINT1: 0x360, LVT_ERROR: 0x370, INITIAL_COUNT: 0x380,
  CURRENT_COUNT: 0x390, DIVIDE: 0x3e0, SELF_IPI: 0x3f0,
} as const

/** First x2APIC MSR. */
export const X2APIC_MSR = Msr.X2APIC_BASE
/** IA32_APIC_BASE. */
export const MSR_APIC_BASE = Msr.APIC_BASE
/** IA32_TSC_DEADLINE: the time-stamp counter at which the timer fires; 0 disarms it. */
export const MSR_TSC_DEADLINE = Msr.TSC_DEADLINE

const { BSP, EXTD, EN } = ApicBase.mask
/** IA32_APIC_BASE (figure 11-26), without the page's address. */
export const APIC_BASE = { BSP: Number(BSP), EXTD: Number(EXTD), EN: Number(EN) } as const

/** Delivery modes of the ICR, of LVT entries, of I/O APIC entries and of MSI data (figure 11-12). */
export const DELIVERY = { FIXED: 0, LOWEST: 1, SMI: 2, NMI: 4, INIT: 5, STARTUP: 6, EXTINT: 7 } as const

/** Fields of the LVT entries (figure 11-8). */
export const LVT = { VECTOR: 0xff, ACTIVE_LOW: 1 << 13, REMOTE_IRR: 1 << 14, LEVEL: 1 << 15, MASKED: 1 << 16 } as const

/** Bits of each LVT entry that software may write; index is (offset − LVT_TIMER) / 16. */
export const LVT_WRITABLE = [0x0007_00ff, 0x0001_07ff, 0x0001_07ff, 0x0001_a7ff, 0x0001_a7ff, 0x0001_00ff] as const

/** Timer modes: LVT timer bits 18:17. */
export const TIMER = { ONE_SHOT: 0, PERIODIC: 1, DEADLINE: 2 } as const

/** Spurious-interrupt vector register. */
export const SVR = { VECTOR: 0xff, ENABLED: 1 << 8, FOCUS: 1 << 9 } as const

/** Error status register (figure 11-9). */
export const ESR = { SEND_ILLEGAL: 1 << 5, RECEIVE_ILLEGAL: 1 << 6, REGISTER: 1 << 7 } as const

/** Interrupt command register, low half (figure 11-12). */
export const ICR = { LOGICAL: 1 << 11, BUSY: 1 << 12, ASSERT: 1 << 14, LEVEL: 1 << 15, WRITABLE: 0x000c_cfff } as const

/** Version 14h, six LVT entries, no suppression of EOI broadcasts. */
export const VERSION_VALUE = 0x0005_0014

/** A #GP(0) as a value. */
export const GP_FAULT = 'gp'
