/**
 * ACPI fixed hardware as the ICH9 has it: PM1a event and control blocks, PM timer, GPE0. Sources: ACPI 6.5, section 4.8
 * "ACPI hardware features"; Intel ICH9 data sheet (316972), section 13.8.3 for the places in the block.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { merge, wordHandlers } from './byte-ports.ts'
import type { Clock, IrqLine, Timer } from './clock.ts'
import { copyPlain, restorePlain } from './snapshot.ts'
import { PM_TIMER_RATE, ticksAt, timeOfTick } from './ticks.ts'

/** Offsets in the 128-byte block at PMBASE, for the FADT. */
export const ACPI_PM = {
  LENGTH: 128, PM1_EVENT: 0x00, PM1_EVENT_LENGTH: 4, PM1_CONTROL: 0x04, PM1_CONTROL_LENGTH: 2, PM_TIMER: 0x08,
  PM_TIMER_LENGTH: 4, GPE0: 0x20, GPE0_LENGTH: 16, SMI_ENABLE: 0x30, SMI_STATUS: 0x34,
} as const

/** Values written to port B2h that switch ACPI mode on and off, for the FADT. */
export const ACPI_COMMAND = { ENABLE: 0x02, DISABLE: 0x03 } as const

/** PM1 status and enable bits (ACPI 6.5 tables 4.14 and 4.15). */
export const PM1 = { TIMER: 1 << 0, GLOBAL: 1 << 5, POWER_BUTTON: 1 << 8, SLEEP_BUTTON: 1 << 9, RTC: 1 << 10 } as const
const PM1_EVENTS = PM1.TIMER | PM1.GLOBAL | PM1.POWER_BUTTON | PM1.SLEEP_BUTTON | PM1.RTC
/** Status bits that only report: bus master and wake. */
const PM1_STATUS_ONLY = 1 << 4 | 1 << 15
/** PM1 control (ACPI 6.5 table 4.16). */
const CONTROL = { SCI_EN: 1 << 0, SLP_TYP: 10, SLP_EN: 1 << 13, KEPT: 0x1c03 } as const

/**
 * SMI_EN: software SMIs by port B2h. There is no SMM; the bit is set from the beginning, by which firmware sees that
 * handlers are not for it to set up, as QEMU has it on machines without SMM.
 */
const SMI_APMC_ENABLE: number = 1 << 5

/** Options of {@link createAcpiPm}. */
export interface AcpiPmOptions {
  readonly clock: Clock
  /** The system control interrupt, level triggered (IRQ 9). */
  readonly sci: IrqLine
  /** Called for a sleep state of {@link AcpiPmOptions.offTypes}. */
  readonly onPowerOff: () => void
  /** Called for the other sleep types, which do nothing here. */
  readonly onSleep?: (type: number) => void
  /** SLP_TYP values that power off: 0, as QEMU's tables and OVMF have it, and 7, the ICH9's S5, by default. */
  readonly offTypes?: readonly number[]
  /** Width of the PM timer, default 24. The FADT must say the same (TMR_VAL_EXT). */
  readonly timerBits?: 24 | 32
  /** ACPI mode after reset, default true: for a FADT without an SMI command port. */
  readonly acpiMode?: boolean
}

const initialState = (acpiMode: boolean) => ({
  status: 0, enable: 0, control: acpiMode ? CONTROL.SCI_EN : 0,
  /** GPE0 status and enable, 64 bits each in two words. */
  gpeStatus: [0, 0], gpeEnable: [0, 0],
  smiEnable: SMI_APMC_ENABLE, apmControl: 0, apmStatus: 0,
  /** The timer's carry periods that status has taken note of. */
  carries: 0,
})

/** State of the power-management block. */
export type AcpiPmSnapshot = ReturnType<typeof initialState>

/** The power-management block. */
export interface AcpiPm {
  /** {@link ACPI_PM}.LENGTH ports at PMBASE. */
  readonly handlers: IoHandlers
  /** Ports B2h and B3h: APM control and status, by which ACPI mode is switched. */
  readonly apm: IoHandlers
  /** The button is pressed: the operating system is asked to shut down. */
  pressPowerButton(): void
  /** Sets a fixed event of {@link PM1}. */
  raiseEvent(bit: number): void
  /** Raises general-purpose event 0–63. */
  raiseGpe(event: number): void
  snapshot(): AcpiPmSnapshot
  restore(saved: AcpiPmSnapshot): void
}

/** Creates the block in its reset state. */
export function createAcpiPm(options: AcpiPmOptions): AcpiPm {
  const { clock, sci } = options
  const offTypes = options.offTypes ?? [0, 7]
  // The carry is a change of the top bit (ACPI 6.5 §4.8.3.3).
  const timerRange = 2 ** (options.timerBits ?? 24)
  const half = timerRange / 2
  const state = initialState(options.acpiMode ?? true)
  let timer: Timer | undefined

  const ticks = (): number => ticksAt(PM_TIMER_RATE, clock.now())

  /** Notes carries of the timer since the last look. */
  const settle = (): void => {
    const carries = Math.floor(ticks() / half)
    if (carries !== state.carries) state.status |= PM1.TIMER
    state.carries = carries
  }

  const update = (): void => {
    const events = state.status & state.enable & PM1_EVENTS
    const gpes = (state.gpeStatus[0] & state.gpeEnable[0]) | (state.gpeStatus[1] & state.gpeEnable[1])
    sci.set((state.control & CONTROL.SCI_EN) !== 0 && (events !== 0 || gpes !== 0))
  }

  /** Only an enabled timer event needs to happen by itself. */
  const arm = (): void => {
    timer?.cancel()
    timer = undefined
    if ((state.enable & PM1.TIMER) === 0) return
    timer = clock.at(timeOfTick(PM_TIMER_RATE, (Math.floor(ticks() / half) + 1) * half), () => {
      settle()
      update()
      arm()
    })
  }

  const writeControl = (value: number): void => {
    // SCI_EN is only switched by port B2h; GBL_RLS and SLP_EN read as 0.
    state.control = (value & CONTROL.KEPT & ~CONTROL.SCI_EN) | (state.control & CONTROL.SCI_EN)
    if ((value & CONTROL.SLP_EN) === 0) return
    const type = value >> CONTROL.SLP_TYP & 7
    if (offTypes.includes(type)) options.onPowerOff()
    else options.onSleep?.(type)
  }

  const read = (offset: number): number => {
    switch (offset) {
      case ACPI_PM.PM1_EVENT:
        settle()
        return (state.status | state.enable << 16) >>> 0
      case ACPI_PM.PM1_CONTROL: return state.control
      case ACPI_PM.PM_TIMER: return ticks() % timerRange
      case ACPI_PM.GPE0: return state.gpeStatus[0]
      case ACPI_PM.GPE0 + 4: return state.gpeStatus[1]
      case ACPI_PM.GPE0 + 8: return state.gpeEnable[0]
      case ACPI_PM.GPE0 + 12: return state.gpeEnable[1]
      case ACPI_PM.SMI_ENABLE: return state.smiEnable
      default: return 0
    }
  }

  const write = (offset: number, value: number, mask: number): void => {
    switch (offset) {
      case ACPI_PM.PM1_EVENT:
        settle()
        // Status bits are cleared by writing 1.
        state.status &= ~(value & mask & (PM1_EVENTS | PM1_STATUS_ONLY))
        state.enable = merge(state.enable, value >>> 16, mask >>> 16) & PM1_EVENTS
        arm()
        break
      case ACPI_PM.PM1_CONTROL: {
        // A byte write of the high half is the one that sleeps.
        if ((mask & 0xffff) !== 0) writeControl(merge(state.control, value, mask) & 0xffff)
        break
      }
      case ACPI_PM.GPE0:
      case ACPI_PM.GPE0 + 4: {
        const i = (offset - ACPI_PM.GPE0) >> 2
        state.gpeStatus[i] = (state.gpeStatus[i] & ~(value & mask)) >>> 0
        break
      }
      case ACPI_PM.GPE0 + 8:
      case ACPI_PM.GPE0 + 12: {
        const i = (offset - ACPI_PM.GPE0 - 8) >> 2
        state.gpeEnable[i] = merge(state.gpeEnable[i], value, mask)
        break
      }
      case ACPI_PM.SMI_ENABLE: state.smiEnable = merge(state.smiEnable, value, mask); break
      default: break // the timer is read-only, the rest is not there
    }
    update()
  }

  const raiseEvent = (bit: number): void => {
    state.status |= bit & PM1_EVENTS
    update()
  }

  return {
    handlers: wordHandlers({ read, write }),
    apm: {
      read: (offset, size) => (size === 1 ? (offset === 0 ? state.apmControl : state.apmStatus)
        : state.apmControl | state.apmStatus << 8),
      write(offset, size, value) {
        if (offset === 1 || size > 1) state.apmStatus = (size > 1 ? value >> 8 : value) & 0xff
        if (offset !== 0) return
        state.apmControl = value & 0xff
        // Firmware's SMI handler would do this; there is no SMM, so the port does.
        if (state.apmControl === ACPI_COMMAND.ENABLE) state.control |= CONTROL.SCI_EN
        if (state.apmControl === ACPI_COMMAND.DISABLE) state.control &= ~CONTROL.SCI_EN
        update()
      },
    },
    pressPowerButton: () => { raiseEvent(PM1.POWER_BUTTON) },
    raiseEvent,
    raiseGpe(event) {
      const i = event >> 5 & 1
      state.gpeStatus[i] = (state.gpeStatus[i] | 1 << (event & 31)) >>> 0
      update()
    },
    snapshot: () => copyPlain(state),
    restore(saved) {
      restorePlain('acpi-pm', state, saved)
      arm()
    },
  }
}
