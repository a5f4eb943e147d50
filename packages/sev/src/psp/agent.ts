/**
 * The PSP's firmware as an agent: it takes commands by number and buffer address, as they come through the mailbox,
 * and works on physical memory and the RMP as the PSP does, past all guards. All its randomness is from the machine's
 * seed.
 */
import type { Plain } from '@cofferdam/devices'
import type { PhysicalMemory } from '@cofferdam/memory'
import { PspStatus, SevPlatformState, SnpPlatformState, SysCfg } from '@cofferdam/spec'
import { viewOf } from '../bytes.ts'
import type { SevIdentity } from '../identity/machine.ts'
import { encodeTcb } from '../identity/tcb.ts'
import type { RmpTable } from '../rmp/table.ts'
import { PSP_COMMANDS } from './commands/index.ts'
import { emptyContext } from './commands/snp-guest.ts'
import { createPspMemory } from './memory.ts'
import { isRam } from './pages.ts'
import { restorePsp, savePsp } from './snapshot.ts'
import type { Firmware, PspFacts, PspPlatform, PspState } from './types.ts'
import { VLEK_SEED_BYTES } from './vlek.ts'

/** The memory, RMP and secrets that the firmware works with. */
export interface PspOptions {
  readonly memory: PhysicalMemory
  readonly rmp: RmpTable
  readonly platform: PspPlatform
  readonly identity: SevIdentity
  /** Position of the C-bit: addresses that have it name what the host's own key sees, once SYSCFG has it. */
  readonly cBit?: number
  /** What differs from `DEFAULT_FACTS`. */
  readonly facts?: Partial<PspFacts>
  /** Every processor has to forget translations to these system pages. */
  readonly forget?: (page: number, pages: number) => void
}

/** A Milan with firmware 1.55 and reports of version 3. */
export const DEFAULT_FACTS: PspFacts = {
  maxAsid: 509, minSevAsid: 100, major: 1, minor: 55, build: 39, signature: 0x00a0_0f11,
  tcb: { fmc: 0, bootLoader: 4, tee: 0, snp: 24, microcode: 219 }, smt: true, tscKhz: 2_000_000, tscFactor: 0,
  reportVersion: 3, mitigations: 0n,
}

/** The firmware. */
export interface Psp {
  /**
   * Carries out a command.
   * @param buffer system physical address of its buffer
   * @returns a code of `PspStatus`
   */
  command(id: number, buffer: number): number
  /** A processor has written back and invalidated its caches (WBINVD). */
  wbinvd(processor: number): void
  /** What lasts between commands, for those who look. */
  readonly state: PspState
  readonly facts: PspFacts
  /** The state as JSON carries it, and back. @throws SnapshotError when it does not fit */
  snapshot(): Plain
  restore(saved: Plain): void
}

function initialState(tcb: bigint): PspState {
  return {
    sev: SevPlatformState.UNINIT, sevEs: false, snp: SnpPlatformState.UNINIT, rmpInitialised: false, maxSnpAsid: 0,
    currentTcb: tcb, committedTcb: tcb, reportedTcb: tcb, maskChipId: false, maskChipKey: false, vlek: null,
    guests: new Map(), allAsidsDirty: true, dirtyAsids: new Set(), unflushed: new Set(), draws: 0,
  }
}

/** The name of a command, as the ABI has it. */
export const pspCommandName = (id: number): string => PSP_COMMANDS.get(id)?.name ?? `command 0x${id.toString(16)}`

/** Creates the firmware of a machine, nothing initialised. */
export function createPsp(options: PspOptions): Psp {
  const { rmp, platform, identity } = options
  const memory = createPspMemory(options.memory, () =>
    ((platform.syscfg(0) & SysCfg.mask.MemEncryptionModeEn) === 0n ? undefined : options.cBit))
  const facts = { ...DEFAULT_FACTS, ...options.facts }
  const state = initialState(encodeTcb(identity.product, facts.tcb))
  const firmware: Firmware = {
    memory, rmp, platform, facts, identity, state,
    random: (length) => identity.derive(`random ${state.draws++}`, length),
    forget: (page, pages) => { options.forget?.(page, pages) },
  }
  return {
    state, facts,
    snapshot: () => savePsp(state),
    restore(saved) { restorePsp(state, saved, emptyContext(0), VLEK_SEED_BYTES) },
    wbinvd(processor) { state.unflushed.delete(processor) },
    command(id, address) {
      const handler = PSP_COMMANDS.get(id)
      if (handler === undefined) return PspStatus.INVALID_COMMAND
      if (handler.snp?.includes(state.snp) === false || handler.sev?.includes(state.sev) === false) {
        return PspStatus.INVALID_PLATFORM_STATE
      }
      const buffer = new Uint8Array(handler.bytes)
      if (handler.bytes > 0) {
        const aligned = Number.isSafeInteger(address) && address >= 0 && address % 8 === 0
        if (!aligned || !isRam(firmware, BigInt(address), handler.bytes)) return PspStatus.INVALID_ADDRESS
        // Read once: the host may write to it meanwhile.
        memory.read(address, buffer)
      }
      return handler.run(firmware, viewOf(buffer), address)
    },
  }
}
