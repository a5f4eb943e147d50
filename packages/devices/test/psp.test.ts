/** The PSP's mailbox, register by register as Linux's ccp driver uses it, and its PCI function. */
import { type AccessSize, createIoBus } from '@cofferdam/memory'
import { PspCapability, PspInterrupt, PspRegister as R } from '@cofferdam/spec'
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  COST, createMapper, createPspMailbox, createPspPci, createVirtualClock, type PspFirmware, type PspMailbox,
  type PspMailboxSnapshot, PSP_PCI, SnapshotError, type VirtualClock,
} from '../src/index.ts'

const RESPONSE = 0x8000_0000
const { SEV_COMPLETE } = PspInterrupt.mask

let clock: VirtualClock
let given: [id: number, buffer: number][]
let interrupts: number
let status: number
let mailbox: PspMailbox

const firmware = (more: Partial<PspFirmware> = {}): PspFirmware => ({
  command(id, buffer) {
    given.push([id, buffer])
    return status
  },
  ...more,
})
const create = (more?: Partial<PspFirmware>): PspMailbox =>
  createPspMailbox({ clock, firmware: firmware(more), interrupt: () => { interrupts += 1 } })
const read = (register: number): number => mailbox.handlers.read(register, 4)
const write = (register: number, value: number): void => { mailbox.handlers.write(register, 4, value) }
const pass = (time: number): void => { clock.advanceTo(clock.now() + time) }
const copyOf = (): PspMailboxSnapshot => JSON.parse(JSON.stringify(mailbox.snapshot())) as PspMailboxSnapshot

beforeEach(() => {
  clock = createVirtualClock()
  given = []
  interrupts = 0
  status = 0
  mailbox = create()
})

describe('the command register', () => {
  it('starts ready, with the response bit set and no error', () => {
    expect(read(R.SEV_COMMAND)).toBe(RESPONSE)
  })

  it('gives bits 26:16 and the two halves of the address to the firmware, and answers with its status', () => {
    status = 0x16
    write(R.SEV_BUFFER_LOW, 0xffff_f008)
    write(R.SEV_BUFFER_HIGH, 0x12)
    write(R.SEV_COMMAND, 0x0004_0000)
    expect([read(R.SEV_COMMAND), given]).toEqual([0x0004_0000, []])
    pass(COST.pspCommand)
    expect(given).toEqual([[4, 0x12_ffff_f008]])
    expect(read(R.SEV_COMMAND)).toBe(RESPONSE + 0x0004_0016)
  })

  it('is busy for as long as the cost table says', () => {
    write(R.SEV_COMMAND, 0x0004_0000)
    pass(COST.pspCommand - 1)
    expect(read(R.SEV_COMMAND) & RESPONSE).toBe(0)
    pass(1)
    expect(read(R.SEV_COMMAND) & RESPONSE).not.toBe(0)
  })

  it('loses a command that is given while another is worked on, whose buffer stays what it was', () => {
    write(R.SEV_BUFFER_LOW, 0x1000)
    write(R.SEV_COMMAND, 0x0004_0000)
    write(R.SEV_BUFFER_LOW, 0x2000)
    write(R.SEV_COMMAND, 0x0001_0000)
    pass(10 * COST.pspCommand)
    expect([given, read(R.SEV_BUFFER_LOW)]).toEqual([[[4, 0x1000]], 0x2000])
  })

  it('takes no command with the response bit set, and no half of one', () => {
    write(R.SEV_COMMAND, RESPONSE + 0x0004_0000)
    mailbox.handlers.write(R.SEV_COMMAND + 2, 2, 4)
    mailbox.handlers.write(R.SEV_COMMAND + 3, 1, 0)
    pass(10 * COST.pspCommand)
    expect([given, read(R.SEV_COMMAND)]).toEqual([[], RESPONSE])
  })

  it('shows 16 bits of a status', () => {
    status = 0x1_0009
    write(R.SEV_COMMAND, 0x07ff_0000)
    pass(COST.pspCommand)
    expect([given[0][0], read(R.SEV_COMMAND)]).toEqual([0x7ff, RESPONSE + 0x07ff_0009])
  })
})

describe('interrupts of the PSP', () => {
  const command = (interrupt: boolean): void => {
    write(R.SEV_COMMAND, 0x0004_0000 + (interrupt ? 1 : 0))
    pass(COST.pspCommand)
  }

  it('come once for a command that asks for one, with bit 1 of the status', () => {
    write(R.INTERRUPT_ENABLE, 0xffff_ffff)
    command(true)
    expect([interrupts, read(R.INTERRUPT_STATUS)]).toEqual([1, SEV_COMPLETE])
  })

  it('do not come for a command that asks for none', () => {
    write(R.INTERRUPT_ENABLE, 0xffff_ffff)
    command(false)
    expect([interrupts, read(R.INTERRUPT_STATUS)]).toEqual([0, 0])
  })

  it('wait in the status until they are enabled', () => {
    command(true)
    expect([interrupts, read(R.INTERRUPT_STATUS)]).toEqual([0, SEV_COMPLETE])
    write(R.INTERRUPT_ENABLE, SEV_COMPLETE)
    expect(interrupts).toBe(1)
    write(R.INTERRUPT_ENABLE, 0xffff_ffff)
    expect(interrupts).toBe(1)
  })

  it('are cleared by writing ones, which lets the next one come', () => {
    write(R.INTERRUPT_ENABLE, SEV_COMPLETE)
    command(true)
    command(true)
    expect(interrupts).toBe(1)
    write(R.INTERRUPT_STATUS, ~SEV_COMPLETE >>> 0)
    expect(read(R.INTERRUPT_STATUS)).toBe(SEV_COMPLETE)
    write(R.INTERRUPT_STATUS, 0xffff_ffff)
    expect(read(R.INTERRUPT_STATUS)).toBe(0)
    command(true)
    expect(interrupts).toBe(2)
  })
})

describe('what the PSP says of itself', () => {
  it('is SEV and nothing else, whatever is written there', () => {
    write(R.CAPABILITY, 0)
    expect(read(R.CAPABILITY)).toBe(PspCapability.mask.SEV)
  })

  it('is the version of its boot loader, or all ones where that is hidden', () => {
    expect(read(R.BOOT_LOADER_VERSION)).toBe(0xffff_ffff)
    mailbox = create({ bootLoader: 0x0004_0102 })
    expect(read(R.BOOT_LOADER_VERSION)).toBe(0x0004_0102)
  })

  it('is no TEE: its mailbox is never ready, and its version hidden', () => {
    write(R.TEE_COMMAND, 0x0001_0000)
    pass(10 * COST.pspCommand)
    expect([read(R.TEE_COMMAND), read(R.TEE_VERSION), given]).toEqual([0, 0xffff_ffff, []])
  })
})

describe('a snapshot of the mailbox', () => {
  it('holds a command that is being worked on', () => {
    write(R.SEV_BUFFER_LOW, 0x3000)
    write(R.INTERRUPT_ENABLE, SEV_COMPLETE)
    write(R.SEV_COMMAND, 0x0004_0001)
    pass(COST.pspCommand - 5)
    const saved = copyOf()
    mailbox.reset()
    mailbox = create()
    mailbox.restore(saved)
    pass(4)
    expect(given).toEqual([])
    pass(1)
    expect([given, interrupts, read(R.SEV_COMMAND)]).toEqual([[[4, 0x3000]], 1, RESPONSE + 0x0004_0000])
  })

  it.each([
    ['response', -1], ['givenHigh', 2 ** 32], ['due', -1], ['busy', 1],
  ])('is refused with %s of %d', (field, bad) => {
    expect(() => { mailbox.restore({ ...copyOf(), [field]: bad }) }).toThrow(SnapshotError)
  })
})

describe('the PCI function', () => {
  const BAR = 0xe000_0000
  const MESSAGES = 0xe010_0000
  const build = () => {
    const memory = createIoBus(2 ** 40)
    const sent: [number, number][] = []
    const fn = createPspPci({
      clock, firmware: firmware(), mapper: createMapper({ ports: createIoBus(0x1_0000), memory }),
      send: (address, data) => { sent.push([address, data]) },
    })
    fn.writeConfig(0x18, 4, BAR)
    fn.writeConfig(0x24, 4, MESSAGES)
    fn.writeConfig(4, 2, 6)
    const find = (id: number): number => {
      let at = fn.readConfig(0x34, 1)
      while (at !== 0 && fn.readConfig(at, 1) !== id) at = fn.readConfig(at + 1, 1)
      return at
    }
    const command = (): void => {
      memory.write(BAR + R.INTERRUPT_STATUS, 4, SEV_COMPLETE)
      memory.write(BAR + R.INTERRUPT_ENABLE, 4, 0xffff_ffff)
      memory.write(BAR + R.SEV_COMMAND, 4, 0x0004_0001)
      pass(COST.pspCommand)
    }
    return { fn, memory, sent, find, command }
  }

  it('is 1022:14CA, with 1 MiB of registers in BAR 2 and MSI-X in BAR 5', () => {
    const { fn, find } = build()
    expect([fn.readConfig(0, 4), fn.readConfig(8, 4) >>> 8]).toEqual([0x14ca_1022, PSP_PCI.classCode])
    fn.writeConfig(0x18, 4, 0xffff_ffff)
    expect([fn.readConfig(0x18, 4), fn.readConfig(find(0x11) + 4, 4)]).toEqual([0xfff0_0000, 5])
  })

  it('sends message 0 by MSI-X, or by MSI where that is on', () => {
    const { fn, memory, sent, find, command } = build()
    fn.writeConfig(find(5) + 4, 4, 0xfee0_0000)
    fn.writeConfig(find(5) + 12, 2, 0x40)
    fn.writeConfig(find(5) + 2, 2, 1)
    command()
    memory.write(MESSAGES, 4, 0xfee0_1000)
    memory.write(MESSAGES + 8, 4, 0x51)
    memory.write(MESSAGES + 12, 4, 0)
    fn.writeConfig(find(0x11) + 2, 2, 0x8000)
    command()
    expect(sent).toEqual([[0xfee0_0000, 0x40], [0xfee0_1000, 0x51]])
  })

  it('goes on from a snapshot in the middle of a command', () => {
    const { fn, memory } = build()
    memory.write(BAR + R.SEV_BUFFER_LOW, 4, 0x5000)
    memory.write(BAR + R.SEV_COMMAND, 4, 0x0004_0000)
    const saved = JSON.parse(JSON.stringify(fn.snapshot())) as ReturnType<typeof fn.snapshot>
    fn.reset()
    pass(COST.pspCommand)
    expect(given).toEqual([])
    fn.restore(saved)
    pass(COST.pspCommand)
    expect(given).toEqual([[4, 0x5000]])
  })

  it('survives whatever software does, and never works on two commands at once', () => {
    const registers = [...Object.values(R), 0, 0xf_fffc, R.SEV_COMMAND, R.SEV_COMMAND]
    const op = fc.record({
      place: fc.oneof(
        fc.constantFrom(...registers).map((at) => BAR + at), fc.nat(0xf_ffff).map((at) => BAR + at),
        fc.nat(0x1fff).map((at) => MESSAGES + at),
      ),
      size: fc.constantFrom<AccessSize>(1, 2, 4), write: fc.boolean(), wait: fc.nat(COST.pspCommand),
      value: fc.oneof(fc.nat(0xffff_ffff), fc.nat(0x7ff).map((id) => id * 0x1_0000 + 1)),
    })
    fc.assert(fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
      clock = createVirtualClock()
      given = []
      const { memory } = build()
      for (const { place, size, write: isWrite, value, wait } of ops) {
        const part = value % 2 ** (8 * size)
        if (isWrite) memory.write(place, size, part)
        else expect(memory.read(place, size)).toBeLessThan(2 ** (8 * size))
        pass(wait)
      }
      expect(given.length * COST.pspCommand).toBeLessThanOrEqual(clock.now())
      expect(clock.pending()).toBeLessThanOrEqual(1)
    }), { numRuns: 200 })
  })
})
