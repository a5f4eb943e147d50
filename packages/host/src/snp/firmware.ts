/** Commands to the PSP's firmware, as a host gives them: a buffer in memory and the command's number. */
import { PspCommand, PspStatus, RmpStatus, SnpAddress } from '@cofferdam/spec'
import { HostError, hex } from '../errors.ts'
import type { RmpInstructions } from '../memory/guest-memory.ts'
import type { HostMemory } from '../memory/words.ts'

/** The firmware: carries out a command whose buffer is at a system physical address. */
export interface Psp {
  /** Answers a code of `PspStatus`. */
  command(command: number, buffer: number): number
}

/** The PSP's firmware as a driver sees it: commands with a buffer. */
export interface Firmware {
  /** The page that commands' buffers go to. */
  readonly bufferPage: number
  /** Gives a command, and answers its status and the buffer as the firmware left it. */
  tryCommand(command: keyof typeof PspCommand, buffer: Uint8Array): {
    readonly status: number, readonly buffer: Uint8Array
  }
  /** Gives a command that must succeed. @throws HostError with the firmware's status by its name */
  run(command: keyof typeof PspCommand, buffer: Uint8Array): Uint8Array
  /** A page for the firmware to own: its system page number. */
  firmwarePage(): number
  /** Takes back a page that a command left with the firmware: the host may read it again. */
  takeBack(page: number): void
  /** Takes such a page back from the firmware and frees it. */
  reclaim(page: number): void
}

/** Where commands go, and the page that their buffers are put in. */
export interface FirmwareOptions {
  readonly psp: Psp
  readonly memory: HostMemory
  readonly rmp: RmpInstructions
  readonly allocatePage: () => number
  readonly freePage: (page: number) => void
  /** A command was given: what it costs in virtual time. */
  readonly charge: (command: number) => void
  /** The page of a snapshot's; otherwise one is taken. */
  readonly bufferPage?: number | undefined
}

const PAGE = 4096

/** `INVALID_ADDRESS (9)`. */
export function statusName(status: number): string {
  const name = Object.entries(PspStatus).find(([, code]) => code === status)?.[0] ?? 'unknown status'
  return `${name} (${hex(status)})`
}

/** A driver for commands of the PSP: one page of the host's holds the buffer of each. */
export function createFirmware(options: FirmwareOptions): Firmware {
  const { psp, memory, rmp, charge } = options
  const bufferPage = options.bufferPage ?? options.allocatePage()

  const tryCommand: Firmware['tryCommand'] = (command, buffer) => {
    const address = bufferPage * PAGE
    memory.write(address, buffer)
    charge(PspCommand[command])
    const status = psp.command(PspCommand[command], address)
    const after = new Uint8Array(buffer.length)
    memory.read(address, after)
    return { status, buffer: after }
  }

  const run: Firmware['run'] = (command, buffer) => {
    const { status, buffer: after } = tryCommand(command, buffer)
    if (status !== PspStatus.SUCCESS) throw new HostError('SEV firmware', command, `failed with ${statusName(status)}`)
    return after
  }

  const setOwner = (page: number, assigned: boolean): void => {
    const status = rmp.rmpupdate(page, { assigned, guestPage: 0, large: false, asid: 0, immutable: assigned })
    if (status !== RmpStatus.SUCCESS) {
      throw new HostError('RMPUPDATE', `page ${hex(page)}`, `failed with ${status}, expected a page of the host's`)
    }
  }

  const takeBack = (page: number): void => {
    run('SNP_PAGE_RECLAIM', SnpAddress.create({ address: BigInt(page) * 4096n }))
    setOwner(page, false)
  }

  return {
    bufferPage, tryCommand, run, takeBack,
    firmwarePage() {
      const page = options.allocatePage()
      memory.fill(page * PAGE, PAGE, 0)
      setOwner(page, true)
      return page
    },
    reclaim(page) {
      takeBack(page)
      options.freePage(page)
    },
  }
}
