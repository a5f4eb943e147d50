/**
 * The pair of 8259A interrupt controllers of a PC. Sources: Intel 8259A data sheet (231468-003); Intel ICH9 data sheet
 * (316972), section 5.8 and 13.4 for the edge/level control registers.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { byteHandlers } from './byte-ports.ts'
import type { IrqLine } from './clock.ts'
import { copyPlain, restorePlain } from './snapshot.ts'

/** The master's input that the slave drives. */
const CASCADE = 2
/** ICH9 §13.4.10: inputs 0, 1, 2 (master) and 8, 13 (slave) are always edge triggered. */
const ELCR_MASK = [0xf8, 0xde] as const

const initialChip = () => ({
  /** Levels of the inputs. */
  lines: 0,
  irr: 0, isr: 0, imr: 0, elcr: 0,
  /** ICW2 bits 7:3. */
  base: 0,
  /** The input of lowest priority; 7 after initialisation. */
  lowest: 7,
  /** Initialisation word expected next: 0 none, 2, 3 or 4. */
  expect: 0,
  icw4: false, single: false, autoEoi: false, rotateOnAutoEoi: false, specialMask: false, specialNested: false,
  readIsr: false, poll: false,
})

type Chip = ReturnType<typeof initialChip>

/** State of the pair. */
export interface PicSnapshot {
  readonly chips: readonly [Chip, Chip]
}

/** Options of {@link createPicPair}. */
export interface PicOptions {
  /** The master's INT output, to the processor or to LINT0 and the I/O APIC's pin 0. */
  readonly output: IrqLine
}

/** Two cascaded 8259As. */
export interface PicPair {
  /** Ports 20h and 21h. */
  readonly master: IoHandlers
  /** Ports A0h and A1h. */
  readonly slave: IoHandlers
  /** Ports 4D0h and 4D1h: the edge/level control registers. */
  readonly elcr: IoHandlers
  /** Input 0–15 (2 is the cascade and does nothing). */
  readonly line: (input: number) => IrqLine
  /** Whether INT is asserted. */
  pending(): boolean
  /** The processor's interrupt acknowledge: the vector; input 7's of the chip when the request is gone (spurious). */
  acknowledge(): number
  snapshot(): PicSnapshot
  restore(saved: PicSnapshot): void
}

/** The request of highest priority in `requests`, as an input number, or −1. */
const highest = (chip: Chip, requests: number): number => {
  for (let i = 1; i <= 8; i++) {
    const input = (chip.lowest + i) & 7
    if ((requests >> input & 1) !== 0) return input
  }
  return -1
}

/** How far `input` is from the top: 0 is the highest priority. */
const distance = (chip: Chip, input: number): number => (input - chip.lowest - 1) & 7

/** The input that the chip requests service for, or −1 (data sheet, "Fully nested mode", "Special mask mode"). */
const candidate = (chip: Chip, isMaster: boolean): number => {
  const input = highest(chip, chip.irr & ~chip.imr)
  if (input < 0) return -1
  // In special mask mode a masked level in service does not hold the others back.
  let inService = chip.specialMask ? chip.isr & ~chip.imr : chip.isr
  // Special fully nested: the slave may interrupt again while its level is in service.
  if (chip.specialNested && isMaster) inService &= ~(1 << CASCADE)
  const serving = highest(chip, inService)
  return serving >= 0 && distance(chip, serving) <= distance(chip, input) ? -1 : input
}

const setLine = (chip: Chip, input: number, level: boolean): void => {
  const bit = 1 << input
  const rising = level && (chip.lines & bit) === 0
  chip.lines = level ? chip.lines | bit : chip.lines & ~bit
  // A request must stay until it is acknowledged; one that falls earlier is forgotten, edge or level.
  if (!level) chip.irr &= ~bit
  else if (rising || (chip.elcr & bit) !== 0) chip.irr |= bit
}

const endOfInterrupt = (chip: Chip, input: number): void => { chip.isr &= ~(1 << input) }

/** OCW2: end of interrupt and rotation (data sheet, figure 8). */
const writeOcw2 = (chip: Chip, value: number): void => {
  const level = value & 7
  // A non-specific EOI in special mask mode does not see masked levels.
  const top = highest(chip, chip.specialMask ? chip.isr & ~chip.imr : chip.isr)
  switch (value >> 5) {
    case 0: chip.rotateOnAutoEoi = false; break
    case 4: chip.rotateOnAutoEoi = true; break
    case 1: if (top >= 0) endOfInterrupt(chip, top); break
    case 5:
      if (top >= 0) {
        endOfInterrupt(chip, top)
        chip.lowest = top
      }
      break
    case 3: endOfInterrupt(chip, level); break
    case 7: endOfInterrupt(chip, level); chip.lowest = level; break
    case 6: chip.lowest = level; break
    default: break // 2: no operation
  }
}

const writeOcw3 = (chip: Chip, value: number): void => {
  chip.poll = (value & 0x04) !== 0
  if ((value & 0x02) !== 0) chip.readIsr = (value & 0x01) !== 0
  if ((value & 0x40) !== 0) chip.specialMask = (value & 0x20) !== 0
}

/** ICW1 starts initialisation: the edge detectors, the mask and the priorities are reset. */
const writeIcw1 = (chip: Chip, value: number): void => {
  const { elcr, lines } = chip
  Object.assign(chip, initialChip(), { elcr, lines, base: chip.base })
  chip.irr = lines & elcr
  chip.expect = 2
  chip.icw4 = (value & 0x01) !== 0
  chip.single = (value & 0x02) !== 0
}

const writeData = (chip: Chip, value: number): void => {
  switch (chip.expect) {
    case 2:
      chip.base = value & 0xf8
      chip.expect = chip.single ? (chip.icw4 ? 4 : 0) : 3
      break
    case 3: // The cascade is wired: ICW3 tells nothing new.
      chip.expect = chip.icw4 ? 4 : 0
      break
    case 4:
      chip.specialNested = (value & 0x10) !== 0
      chip.autoEoi = (value & 0x02) !== 0
      chip.expect = 0
      break
    default: chip.imr = value
  }
}

/** What the chip does in an acknowledge cycle for `input`. */
const accept = (chip: Chip, input: number): void => {
  const bit = 1 << input
  if ((chip.elcr & bit) === 0) chip.irr &= ~bit
  if (!chip.autoEoi) chip.isr |= bit
  else if (chip.rotateOnAutoEoi) chip.lowest = input
}

/** Creates the pair, uninitialised, as after power-on. */
export function createPicPair(options: PicOptions): PicPair {
  const master = initialChip()
  const slave = initialChip()
  const chips = [master, slave] as const

  const update = (): void => {
    setLine(master, CASCADE, candidate(slave, false) >= 0)
    options.output.set(candidate(master, true) >= 0)
  }

  /** A poll read acknowledges like INTA and answers the level (data sheet, "Poll command"). */
  const poll = (chip: Chip): number => {
    const input = candidate(chip, chip === master)
    chip.poll = false
    if (input < 0) return 0
    accept(chip, input)
    return 0x80 | input
  }

  const ports = (chip: Chip): IoHandlers => byteHandlers({
    read(offset) {
      if (chip.poll) {
        const value = poll(chip)
        update()
        return value
      }
      return (offset & 1) === 1 ? chip.imr : chip.readIsr ? chip.isr : chip.irr
    },
    write(offset, value) {
      if ((offset & 1) === 1) writeData(chip, value)
      else if ((value & 0x10) !== 0) writeIcw1(chip, value)
      else if ((value & 0x08) !== 0) writeOcw3(chip, value)
      else writeOcw2(chip, value)
      update()
    },
  })

  const acknowledgeChip = (chip: Chip): number => {
    const input = candidate(chip, chip === master)
    if (input >= 0) accept(chip, input)
    // The default level 7 sets no in-service bit (data sheet, "Edge and level triggered modes").
    return input < 0 ? 7 : input
  }

  return {
    master: ports(master),
    slave: ports(slave),
    elcr: byteHandlers({
      read: (offset) => chips[offset & 1].elcr,
      write(offset, value) {
        const chip = chips[offset & 1]
        chip.elcr = value & ELCR_MASK[offset & 1]
        chip.irr |= chip.lines & chip.elcr
        update()
      },
    }),
    line: (input) => ({
      set(level) {
        if (input === CASCADE) return
        setLine(chips[input >> 3], input & 7, level)
        update()
      },
    }),
    pending: () => candidate(master, true) >= 0,
    acknowledge() {
      const input = acknowledgeChip(master)
      const cascaded = input === CASCADE
      const vector = cascaded ? slave.base | acknowledgeChip(slave) : master.base | input
      update()
      return vector
    },
    snapshot: () => copyPlain({ chips: [master, slave] as const }),
    restore(saved) {
      restorePlain('pic8259', { chips }, saved)
    },
  }
}
