/**
 * The mailbox of the PSP: the registers by which software gives commands to the SEV firmware, which is behind a port.
 * Sources: AMD 55766, SEV API r0.24, chapter 4; where the registers are, and what drivers expect of them: Linux
 * drivers/crypto/ccp/{sp-pci,psp-dev,sev-dev}.c.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { PspCapability, PspInterrupt, PspMailboxCommand, PspMailboxResponse, PspRegister } from '@cofferdam/spec'
import { merge, wordHandlers } from '../byte-ports.ts'
import type { Clock, Timer } from '../clock.ts'
import { COST } from '../costs.ts'
import { copyPlain, restorePlain, SnapshotError } from '../snapshot.ts'

/** The firmware behind the mailbox. */
export interface PspFirmware {
  /**
   * Carries out a command.
   * @param id bits 26:16 of the command register
   * @param buffer what the two address registers held: any 64-bit number, rounded where it is beyond 2^53
   * @returns its status, 16 bits
   */
  command(id: number, buffer: number): number
  /** Version of the PSP's boot loader: four bytes, the highest first. All ones where software may not see it. */
  readonly bootLoader?: number
}

/** Options of {@link createPspMailbox}. */
export interface PspMailboxOptions {
  readonly clock: Clock
  readonly firmware: PspFirmware
  /** Sends the PSP's interrupt, which is a message. */
  readonly interrupt: () => void
}

/** State of the mailbox. */
export interface PspMailboxSnapshot {
  /** Command/response register. */
  readonly response: number
  readonly bufferLow: number
  readonly bufferHigh: number
  readonly interruptEnable: number
  readonly interruptStatus: number
  /** The command that the firmware works on, as it was given. */
  readonly busy: boolean
  readonly given: number
  readonly givenLow: number
  readonly givenHigh: number
  /** When it will be done, nanoseconds. */
  readonly due: number
}

/** The mailbox as a register core. */
export interface PspMailbox {
  /** Registers at the offsets of `PspRegister`; what lies between them reads as 0 and takes no writes. */
  readonly handlers: IoHandlers
  reset(): void
  snapshot(): PspMailboxSnapshot
  /** @throws SnapshotError */
  restore(saved: PspMailboxSnapshot): void
}

const WHOLE = 0xffff_ffff
const CAPABILITY = PspCapability.pack({ SEV: 1 })

const initialState = () => ({
  response: PspMailboxResponse.mask.RESPONSE, bufferLow: 0, bufferHigh: 0, interruptEnable: 0, interruptStatus: 0,
  busy: false, given: 0, givenLow: 0, givenHigh: 0, due: 0,
})

/**
 * Creates the mailbox, ready for a command. A command that is given while another is being carried out is lost, as is
 * one with the response bit set; software may rely on neither. The firmware works `COST.pspCommand` nanoseconds, and
 * reads the buffer at the end of that time.
 */
export function createPspMailbox(options: PspMailboxOptions): PspMailbox {
  const { clock, firmware, interrupt } = options
  const state = initialState()
  let timer: Timer | undefined

  /** Runs a change of the interrupt registers; what asks for an interrupt since sends one. */
  const changing = (change: () => void): void => {
    const before = state.interruptEnable & state.interruptStatus
    change()
    if ((state.interruptEnable & state.interruptStatus & ~before) !== 0) interrupt()
  }

  const finish = (): void => {
    timer = undefined
    const id = PspMailboxCommand.get(state.given, 'command')
    const status = firmware.command(id, state.givenLow + state.givenHigh * 2 ** 32)
    state.busy = false
    state.response = PspMailboxResponse.pack({ status: status & 0xffff, command: id, RESPONSE: 1 })
    if (PspMailboxCommand.get(state.given, 'INTERRUPT') === 0) return
    changing(() => { state.interruptStatus = (state.interruptStatus | PspInterrupt.mask.SEV_COMPLETE) >>> 0 })
  }
  const arm = (): void => { timer = clock.at(state.due, finish) }

  const give = (value: number): void => {
    if (state.busy || PspMailboxCommand.get(value, 'RESPONSE') !== 0) return
    Object.assign(state, {
      busy: true, response: value, given: value, givenLow: state.bufferLow, givenHigh: state.bufferHigh,
      due: clock.now() + COST.pspCommand,
    })
    arm()
  }

  const read = (offset: number): number => {
    switch (offset) {
      case PspRegister.SEV_COMMAND: return state.response
      case PspRegister.SEV_BUFFER_LOW: return state.bufferLow
      case PspRegister.SEV_BUFFER_HIGH: return state.bufferHigh
      case PspRegister.INTERRUPT_ENABLE: return state.interruptEnable
      case PspRegister.INTERRUPT_STATUS: return state.interruptStatus
      case PspRegister.CAPABILITY: return CAPABILITY
      case PspRegister.BOOT_LOADER_VERSION: return firmware.bootLoader ?? WHOLE
      // There is no TEE: its mailbox is never ready, and its version hidden.
      case PspRegister.TEE_VERSION: return WHOLE
      default: return 0
    }
  }
  const write = (offset: number, value: number, mask: number): void => {
    switch (offset) {
      case PspRegister.SEV_COMMAND:
        // Half a command is none.
        if (mask === WHOLE) give(value)
        break
      case PspRegister.SEV_BUFFER_LOW: state.bufferLow = merge(state.bufferLow, value, mask); break
      case PspRegister.SEV_BUFFER_HIGH: state.bufferHigh = merge(state.bufferHigh, value, mask); break
      case PspRegister.INTERRUPT_ENABLE:
        changing(() => { state.interruptEnable = merge(state.interruptEnable, value, mask) })
        break
      case PspRegister.INTERRUPT_STATUS:
        state.interruptStatus = (state.interruptStatus & ~(value & mask)) >>> 0
        break
    }
  }
  const stop = (): void => {
    timer?.cancel()
    timer = undefined
  }

  return {
    handlers: wordHandlers({ read, write }),
    reset() {
      stop()
      Object.assign(state, initialState())
    },
    snapshot: () => copyPlain(state),
    restore(saved) {
      const checked = initialState()
      restorePlain('PSP mailbox', checked, saved)
      const { due, busy: _busy, ...words } = checked
      const bad = Object.entries(words).find(([, word]) => word < 0 || word > WHOLE)
      if (bad !== undefined) throw new SnapshotError('PSP mailbox', bad[0], 'a word of 32 bits')
      if (due < 0) throw new SnapshotError('PSP mailbox', 'due', 'a time')
      stop()
      Object.assign(state, checked)
      if (state.busy) arm()
    },
  }
}
