/**
 * The ways in which software resets a PC: the reset control register CF9h (ICH9 data sheet §13.7.5), the keyboard
 * controller's pulse (port 64h), and port 92h (ICH9 §13.7.3).
 *
 * There is no keyboard: the controller answers its self test and says that nothing is attached to either port, or, at
 * the machine's choice, is itself absent (ports 60h and 64h read FFh, and only the reset pulse works). Absent is
 * kinder: drivers give up at once instead of waiting for a keyboard. The FADT should say the same (IAPC_BOOT_ARCH,
 * bit 1).
 */
import type { IoHandlers } from '@cofferdam/memory'
import { byteHandlers } from './byte-ports.ts'
import { copyPlain, restorePlain } from './snapshot.ts'

/** Who reset the machine, for the event stream. */
export type ResetSource = 'cf9' | 'keyboard-controller' | 'port-92'

/** Options of {@link createResetControl}. */
export interface ResetOptions {
  readonly onReset: (source: ResetSource) => void
  /** Default `no-keyboard`. */
  readonly keyboardController?: 'no-keyboard' | 'absent'
}

const initialState = () => ({
  cf9: 0,
  /** Port 92h; bit 1 (A20) starts set: the gate is open for good. */
  port92: 0x02,
  /** Controller command byte: translation, keyboard and mouse disabled. */
  command: 0x70,
  /** Command that waits for a data byte, 0 when none. */
  waiting: 0,
  /** The byte in the output buffer, −1 when empty. */
  output: -1,
})

/** State of the reset logic. */
export type ResetSnapshot = ReturnType<typeof initialState>

/** Reset logic and keyboard controller. */
export interface ResetControl {
  /** Port CF9h. It lies inside the PCI address port's range; see `createPciHost`'s `resetPort`. */
  readonly cf9: IoHandlers
  /** Port 60h. */
  readonly data: IoHandlers
  /** Port 64h. */
  readonly command: IoHandlers
  /** Port 92h. */
  readonly port92: IoHandlers
  snapshot(): ResetSnapshot
  restore(saved: ResetSnapshot): void
}

const CF9 = { SYSTEM: 0x02, CPU: 0x04, KEPT: 0x0e } as const
/** Status register of the controller: output full, system flag, keyboard not locked. */
const STATUS = { full: 0x01, base: 0x14 } as const

/** Creates the reset logic. */
export function createResetControl(options: ResetOptions): ResetControl {
  const state = initialState()
  const absent = options.keyboardController === 'absent'

  /** Commands of the 8042 to which "no keyboard, no mouse" is an answer. */
  const keyboardCommand = (value: number): void => {
    state.waiting = 0
    if (value >= 0xf0) {
      // Pulses the output lines whose bit is 0; line 0 is the processor's reset.
      if ((value & 1) === 0) options.onReset('keyboard-controller')
      return
    }
    if (absent) return
    switch (value) {
      case 0x20: state.output = state.command; break
      case 0xaa: state.output = 0x55; break // self test passed
      case 0xab: // interface test: keyboard clock stuck low
      case 0xa9: state.output = 0x01; break
      case 0xa7: state.command |= 0x20; break
      case 0xa8: state.command &= ~0x20; break
      case 0xad: state.command |= 0x10; break
      case 0xae: state.command &= ~0x10; break
      case 0xd0: state.output = 0x01 | state.port92 & 0x02; break
      case 0x60: case 0xd1: case 0xd2: case 0xd3: case 0xd4: state.waiting = value; break
      default: break
    }
  }

  const keyboardData = (value: number): void => {
    const command = state.waiting
    state.waiting = 0
    if (command === 0x60) state.command = value
    else if (command === 0xd1) {
      state.port92 = (state.port92 & ~0x02) | (value & 0x02)
      if ((value & 1) === 0) options.onReset('keyboard-controller')
    } else if (command === 0xd2) state.output = value
    // The loop over the mouse port answers wrongly: there is none.
    else if (command === 0xd3) state.output = value ^ 0xff
    // Anything else is meant for a device that is not there: it never answers.
  }

  return {
    cf9: byteHandlers({
      read: () => state.cf9,
      write(_offset, value) {
        // A reset happens when RST_CPU rises; SYS_RST and FULL_RST only choose how hard, which is all one here.
        const rises = (value & CF9.CPU) !== 0 && (state.cf9 & CF9.CPU) === 0
        state.cf9 = value & CF9.KEPT
        if (rises) options.onReset('cf9')
      },
    }),
    data: byteHandlers({
      read() {
        if (absent) return 0xff
        const value = state.output
        state.output = -1
        return value < 0 ? 0 : value
      },
      write(_offset, value) { if (!absent) keyboardData(value) },
    }),
    command: byteHandlers({
      read: () => absent ? 0xff : STATUS.base | (state.output >= 0 ? STATUS.full : 0),
      write(_offset, value) { keyboardCommand(value) },
    }),
    port92: byteHandlers({
      read: () => state.port92,
      write(_offset, value) {
        const rises = (value & 1) !== 0 && (state.port92 & 1) === 0
        state.port92 = value & 0x03
        if (rises) options.onReset('port-92')
      },
    }),
    snapshot: () => copyPlain(state),
    restore(saved) { restorePlain('reset', state, saved) },
  }
}
