/**
 * Registers of a whole machine: code that reads and writes ports, memory-mapped registers and PCI configuration space
 * in random widths, moves BARs over whatever there is, has fw_cfg copy anywhere, and lets timers and interrupts come.
 */
import { Q35_MMIO, Q35_PORTS } from '@cofferdam/devices'
import type { Random } from '@cofferdam/oracle'
import type { Survivor } from '../processor.ts'
import { createSeries } from '../series.ts'
import { AT, CODE_LIMIT, createBench, MEMORY } from './bench.ts'

/** Cases that one machine sees. */
const CASES = 40
const PORTS: readonly number[] = Object.values(Q35_PORTS).flatMap(
  ({ start, length }) => Array.from({ length: Math.min(length, 64) }, (_, i) => start + i)
)
/** Those that end a machine; now and then only. */
const FINAL = new Set([0x64, 0x92, 0xf4, 0xf5, 0xf6, 0xf7, 0x604, 0x605, 0xcf9])
const PLACES: readonly number[] = [
  ...Object.values(Q35_MMIO).map(({ start }) => start), Q35_MMIO.pciWindow.start, Q35_MMIO.pciWindow.start,
  0xfffe_0000, 0xffff_f000, 0xf_0000, 0xa_0000, 0, AT.code, AT.data, MEMORY, MEMORY - 0x1000, 0x8000_0000, 0xff00_0000,
]
const HLT = [0xfb, 0xf4, 0xfa]


const four = (value: number): number[] => [value & 0xff, value >>> 8 & 0xff, value >>> 16 & 0xff, value >>> 24]

/** A value for a register: single bits, edges, places, anything. */
function anyValue(random: Random): number {
  switch (random.below(7)) {
    case 0: return 0
    case 1: return 2 ** random.below(32)
    case 2: return 0xffff_ffff
    case 3: return random.below(256)
    case 4: return (random.pick(PLACES) | random.below(2) * random.below(16)) >>> 0
    case 5: return 2 ** random.below(33) - 1
    default: return random.u32()
  }
}

const anyPort = (random: Random): number => {
  const port = random.below(12) === 0 ? random.below(0x1_0000) : random.pick(PORTS)
  return FINAL.has(port) && random.below(40) !== 0 ? 0x80 : port
}
const anyPlace = (random: Random): number => (random.below(10) === 0 ? random.u32()
  : random.pick(PLACES)
    + random.pick([random.below(0x40), random.below(0x400), 4 * random.below(0x400), random.below(0x1_0000)])) >>> 0

/** EAX to a port that is named, in a width. */
const out = (port: number, value: number, width: number): number[] =>
  [
    0x66, 0xba, port & 0xff, port >>> 8, 0xb8, ...four(value),
    ...width === 1 ? [0xee] : width === 2 ? [0x66, 0xef] : [0xef],
  ]
const input = (port: number, width: number): number[] =>
  [0x66, 0xba, port & 0xff, port >>> 8, ...width === 1 ? [0xec] : width === 2 ? [0x66, 0xed] : [0xed]]
const anyWidth = (random: Random): number => random.pick([1, 2, 4])

function viaPort(random: Random): number[] {
  const port = anyPort(random)
  const width = anyWidth(random)
  switch (random.below(8)) {
    case 0: return input(port, width)
    // REP OUTS and INS: from and to data.
    case 1: return [
      0x66, 0xba, port & 0xff, port >>> 8, 0xbe, ...four(anyPlace(random)), 0xb9, ...four(random.below(40)), 0xf3,
      width === 1 ? 0x6e : 0x6f,
    ]
    case 2: return [
      0x66, 0xba, port & 0xff, port >>> 8, 0xbf, ...four(anyPlace(random)), 0xb9, ...four(random.below(40)), 0xf3,
      width === 1 ? 0x6c : 0x6d,
    ]
    default: return out(port, anyValue(random), width)
  }
}

/** A memory operand [disp32] after an opcode with its ModRM /digit. */
const at = (place: number, opcode: readonly number[], digit = 0): number[] =>
  [...opcode, digit << 3 | 5, ...four(place)]

function viaMemory(random: Random): number[] {
  const place = anyPlace(random)
  const value = four(anyValue(random))
  switch (random.below(14)) {
    case 0: return at(place, [0x8a])
    case 1: return at(place, [0x66, 0x8b])
    case 2: return at(place, [0x8b])
    case 3: return [...at(place, [0xc6]), value[0]]
    case 4: return [...at(place, [0x66, 0xc7]), value[0], value[1]]
    case 5: return at(place, [0xf0, 0x0f, 0xc1])
    case 6: return at(place, [0x87])
    // Eight and ten bytes, by x87.
    case 7: return [...at(place, [0xdd]), ...at(place, [0xdb], 7)]
    case 8: return at(place, [0xf0, 0x0f, 0xc7], 1)
    case 9: return [
      0xbe, ...four(place), 0xbf, ...four(anyPlace(random)), 0xb9, ...four(random.below(64)), 0xf3,
      random.pick([0xa4, 0xa5]),
    ]
    case 10: return [...at(place, [0x81], random.below(8)), ...value]
    default: return [...at(place, [0xc7]), ...value]
  }
}

/** Configuration space by CF8h and CFCh or by the ECAM; mostly of functions that there are. */
function viaConfiguration(random: Random): number[] {
  const device = random.pick([0, 31, 1 + random.below(9), random.below(32)])
  const bus = random.below(8) === 0 ? random.below(256) : 0
  const register = random.pick([
    4, 0x10 + 4 * random.below(6), 0x3c, 0x34, 0x40 + random.below(0xc0), random.below(256), 0x60,
    0x90 + random.below(8),
  ])
  const fn = random.below(12) === 0 ? random.below(8) : 0
  const width = anyWidth(random)
  const value = register >= 0x10 && register < 0x28 ? random.pick([anyValue(random), random.pick(PLACES), 0xffff_ffff])
    : register === 4 ? random.pick([7, 0x407, 0, anyValue(random)])
    : anyValue(random)
  if (random.below(4) === 0) {
    return [...at(Q35_MMIO.ecam.start + (bus << 20 | device << 15 | fn << 12 | register) >>> 0, [0xc7]), ...four(value)]
  }
  const address = (0x8000_0000 | bus << 16 | device << 11 | fn << 8 | register & 0xfc) >>> 0
  return [
    ...out(0xcf8, address, 4),
    ...random.below(4) === 0 ? input(0xcfc + (register & 3), width) : out(0xcfc + (register & 3), value, width)
  ]
}

const swapped = (value: number): number => new DataView(Uint8Array.from(four(value)).buffer).getUint32(0)

/** A fw_cfg descriptor at AT.data, big-endian, and the doorbell. */
function viaFwCfg(random: Random): number[] {
  const control = random.pick([2, 4, 8, 16, 10, 24, 18, random.u32()]) | random.below(0x40) << 16
  const length = random.pick([0, 1, 16, 4096, random.below(0x10_0000), 0x7fff_ffff, 0xffff_ffff])
  const words = [control, length, random.below(8) === 0 ? random.u32() : 0, anyPlace(random)]
  const stores = words.flatMap((word, i) => [...at(AT.data + 4 * i, [0xc7]), ...four(swapped(word >>> 0))])
  const descriptor = random.below(8) === 0 ? anyPlace(random) : AT.data
  return [
    ...stores, ...random.below(6) === 0 ? out(0x514, anyValue(random), 4) : [], ...out(0x518, swapped(descriptor), 4)
  ]
}

/** Time, interrupts, other processors. */
function anyWait(random: Random): number[] {
  switch (random.below(6)) {
    case 0: return [0xfb]
    case 1: return [0xfa]
    case 2: return [0xb9, ...four(random.below(3000)), 0xe2, 0xfe]
    case 3: return [0xf3, 0x90]
    // An inter-processor interrupt of any kind to anybody; mostly no start-up.
    case 4: return [
      ...at(0xfee0_0310, [0xc7]), ...four(random.below(4) << 24), ...at(0xfee0_0300, [0xc7]),
      ...four(random.u32() & 0xcffff)
    ]
    default: return HLT
  }
}

/** Code of one case. */
export function registerCode(random: Random): Uint8Array {
  const bytes: number[] = []
  const steps = 5 + random.below(60)
  for (let i = 0; i < steps && bytes.length < CODE_LIMIT - 200; i++) {
    const kind = random.below(16)
    if (kind < 6) bytes.push(...viaPort(random))
    else if (kind < 10) bytes.push(...viaMemory(random))
    else if (kind < 13) bytes.push(...viaConfiguration(random))
    else if (kind < 14) bytes.push(...viaFwCfg(random))
    else bytes.push(...anyWait(random))
  }
  // Some leave for a register, to run what it reads as.
  if (random.below(30) === 0) bytes.push(0xb8, ...four(anyPlace(random)), 0xff, 0xe0)
  bytes.push(...random.below(3) === 0 ? [0xeb, 0xfe] : [0xfb, 0xf4, 0xeb, 0xfd])
  return Uint8Array.from(bytes)
}

/** Ends after which the machine goes on with the next case. */
const GOES_ON = new Set(['goes on', 'waits for ever'])

export const createRegisterSurvivor = (): Survivor => createSeries({
  length: CASES,
  begin: (random) => createBench(random),
  run(bench, random, again) {
    const ended = bench.run(registerCode(random))
    if (!GOES_ON.has(ended)) again()
    return ended
  },
})
