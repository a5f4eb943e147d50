/** Whole machines for cases to be run on, one after the other until one ends. */
import { flatGdt, flatSegments } from '@cofferdam/boot'
import { createMemoryDisk, createMemoryOverlay } from '@cofferdam/devices'
import {
  createMachine, type DeviceOption, type DiskOption, type Machine, type MachineOptions, type Snapshot,
} from '@cofferdam/machine'
import { createMemoryFiles } from '@cofferdam/ninep'
import type { Random } from '@cofferdam/oracle'
import { loadState } from '@cofferdam/x86'
import { flatKernel } from '../../inside.ts'

/** Where things lie in a case's memory. */
export const AT = {
  gdt: 0x1000, idt: 0x2000, handlers: 0x3000, stack: 0x9_0000, code: 0x10_0000, data: 0x20_0000,
} as const
export const MEMORY = 16 * 2 ** 20
/** Bytes of code that a case may have. */
export const CODE_LIMIT = 0x1_0000

/** Instructions of a run, and runs until a case is over. */
const SLICE = 5_000
const SLICES = 4
/** One of each disk and device; virtio devices come in this order, from slot 1 of the root bus on. */
export function everyDevice(): { disks: DiskOption[]; devices: DeviceOption[] } {
  const disk = createMemoryDisk({ bytes: new Uint8Array(64 * 512) })
  return {
    disks: [
      { backend: createMemoryOverlay(disk, { limit: 20_000 }) },
      { backend: createMemoryDisk({ bytes: new Uint8Array(512), readOnly: true }) },
    ],
    devices: [
      { kind: 'virtio-rng' }, { kind: 'virtio-console', onOutput: () => undefined },
      {
        kind: 'virtio-9p', tag: 'share',
        files: () =>
          createMemoryFiles({ entries: { file: 'text', 'folder/empty': '' }, writable: true, capacity: 2 ** 20 }),
      },
      { kind: 'virtio-net' },
      { kind: 'isa-debug-exit', port: 0xf4, length: 4 }, { kind: 'pc-testdev' }, { kind: 'pci-testdev' },
    ],
  }
}

/** Firmware that spins, in flash. */
export function spinningFirmware(): { name: string; bytes: Uint8Array } {
  const bytes = new Uint8Array(0x2_0000).fill(0x90)
  bytes.set([0xeb, 0xfe], bytes.length - 16)
  return { name: 'spinning', bytes }
}

export interface Bench {
  readonly machine: Machine
  /** Writes to the RAM of the machine. */
  put(address: number, bytes: Uint8Array): void
  /** Runs 32-bit code with flat segments, interrupts off, handlers that return; answers how it ended. */
  run(code: Uint8Array): string
  /** Lets time pass; answers how it ended. */
  idle(): string
}

const OPTIONS: MachineOptions = { memory: MEMORY, vcpus: 1, seed: 1, engine: 'auto', cpu: 'intel', append: '' }

/** Exceptions give the case up; interrupts are acknowledged to APIC and PIC, or not. */
const handlerBytes = (random: Random): { exception: number[]; interrupt: number[] } => ({
  exception: [0xfb, 0xf4, 0xeb, 0xfd],
  interrupt: [
    0x50, ...random.below(4) === 0 ? [] : [0xc7, 0x05, 0xb0, 0, 0xe0, 0xfe, 0, 0, 0, 0],
    ...random.below(4) === 0 ? [] : [0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20], 0x58, 0xcf,
  ],
})

function interruptTable(random: Random): { idt: Uint8Array; handlers: Uint8Array } {
  const { exception, interrupt } = handlerBytes(random)
  const handlers = Uint8Array.from([
    ...exception, ...Array.from({ length: 16 - exception.length }, () => 0x90), ...interrupt
  ])
  const idt = new Uint8Array(256 * 8)
  const view = new DataView(idt.buffer)
  for (let vector = 0; vector < 256; vector++) {
    view.setUint32(8 * vector, 0x10 << 16 | AT.handlers + (vector < 32 ? 0 : 16), true)
    view.setUint32(8 * vector + 4, 0x8e00, true)
  }
  return { idt, handlers }
}

/** Machines at power-on, by what they are: each is made once, and forked from then on. */
const made = new Map<string, Snapshot>()

function createForked(vcpus: number, cpu: 'intel' | 'amd', firmware: boolean): Machine {
  const key = `${vcpus} ${cpu} ${firmware}`
  let snapshot = made.get(key)
  if (snapshot === undefined) {
    made.set(key, snapshot = createMachine({
      ...OPTIONS, ...everyDevice(), vcpus, cpu,
      ...firmware ? { firmware: spinningFirmware() } : { kernel: flatKernel('ebfe') },
    }).snapshot())
  }
  return snapshot.fork({ ...everyDevice(), engine: OPTIONS.engine })
}

/**
 * A machine with every device, as `random` decides: with firmware or without, Intel or AMD, one to three processors.
 */
export function createBench(random: Random, firmware = random.below(3) === 0): Bench {
  const machine = createForked(1 + random.below(3), random.pick(['intel', 'amd']), firmware)
  const { processor } = machine.processors.seats[0]
  const segments = flatSegments(0x10, 0x18, false)
  const { idt, handlers } = interruptTable(random)
  const put = (address: number, bytes: Uint8Array): void => { machine.memory.write(address, bytes) }

  const idle = (): string => {
    for (let i = 0; i < SLICES; i++) {
      const result = machine.run({ instructions: SLICE })
      if (result.reason !== 'budget' && result.reason !== 'idle') return result.reason
      if (result.reason === 'idle' && result.idleUntil === undefined) return 'waits for ever'
    }
    return 'goes on'
  }

  return {
    machine, put, idle,
    run(code) {
      put(AT.gdt, flatGdt(segments))
      put(AT.idt, idt)
      put(AT.handlers, handlers)
      put(AT.code, code)
      loadState(processor, {
        registers: { rsp: BigInt(AT.stack) }, rip: BigInt(AT.code), rflags: 2n, cr0: 0x11n, cr3: 0n, cr4: 0n, efer: 0n,
        gdtr: { base: BigInt(AT.gdt), limit: 0x1f }, idtr: { base: BigInt(AT.idt), limit: 0x7ff }, segments,
      })
      processor.halted = false
      return idle()
    },
  }
}
