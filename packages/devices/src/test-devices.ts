/**
 * The two devices by which test kernels written for QEMU poke a machine: pc-testdev and pci-testdev. Sources: QEMU
 * docs/specs/pci-testdev.rst, and the registers that hw/misc/pc-testdev.c places.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { byteHandlers } from './byte-ports.ts'
import type { IrqLine } from './clock.ts'
import { createPciFunction, littleEndian, type PciFunctionCore, type PciFunctionSnapshot } from './pci/function.ts'
import type { Mapper } from './pci/mapper.ts'
import { copyPlain, restorePlain, SnapshotError } from './snapshot.ts'

/** A test device of a machine. */
export type TestDevice =
  /** Writing to the ports ends the run; QEMU's own default is 501h, 2 ports. */
  | { readonly kind: 'isa-debug-exit', readonly port: number, readonly length: number }
  | { readonly kind: 'pc-testdev' }
  | { readonly kind: 'pci-testdev' }

/** Ports and addresses of pc-testdev. */
export const PC_TESTDEV = {
  ports: { start: 0xe0, length: 4 },
  flush: { start: 0xe4, length: 4 },
  bytePorts: { start: 0xe8, length: 1 },
  irqLines: { start: 0x2000, length: 24 },
  memory: { start: 0xff00_0000, length: 0x1_0000 },
} as const

/** State of pc-testdev. */
export interface PcTestdevSnapshot {
  readonly word: readonly number[]
  /** The 64 KiB buffer in hexadecimal, up to its last byte that is not 0. */
  readonly buffer: string
}

/**
 * pc-testdev: a 32-bit word in ports (E0h; bytewise E8h, of which one port is left beside the debug console at E9h), a
 * page flush that needs nothing here, 24 interrupt lines at 2000h, and 64 KiB of device memory.
 */
export function createPcTestdev(options: { readonly line: (irq: number) => IrqLine }) {
  const word = [0, 0, 0, 0]
  const buffer = new Uint8Array(PC_TESTDEV.memory.length)
  const ports = byteHandlers({
    read: (offset) => word[offset & 3],
    write(offset, value) { word[offset & 3] = value },
  })
  const irqLines: IoHandlers = {
    read: () => 0,
    write(offset, _size, value) { options.line(offset).set(value !== 0) },
  }
  const flush: IoHandlers = { read: () => 0, write: () => undefined }
  return {
    ports,
    flush,
    irqLines,
    memory: byteHandlers({
      read: (offset) => buffer[offset],
      write(offset, value) { buffer[offset] = value },
    }),
    snapshot(): PcTestdevSnapshot {
      const used = buffer.findLastIndex((byte) => byte !== 0) + 1
      return {
        word: copyPlain(word),
        buffer: Array.from(buffer.subarray(0, used), (byte) => byte.toString(16).padStart(2, '0')).join(''),
      }
    },
    restore(saved: PcTestdevSnapshot) {
      restorePlain('pc-testdev', { word: [0, 0, 0, 0], buffer: '' }, saved)
      if (!/^([0-9a-f]{2}){0,65536}$/.test(saved.buffer)) {
        throw new SnapshotError('pc-testdev', 'buffer', 'at most 65536 bytes in hexadecimal')
      }
      saved.word.forEach((byte, i) => { word[i] = byte & 0xff })
      buffer.fill(0)
      for (let i = 0; 2 * i < saved.buffer.length; i++) buffer[i] = parseInt(saved.buffer.slice(2 * i, 2 * i + 2), 16)
    },
  }
}

const TESTS = ['no-eventfd', 'wildcard-eventfd', 'datamatch-eventfd'] as const
const BARS = [{ type: 'mmio', half: 2048 }, { type: 'portio', half: 128 }] as const

/** The header of one test as the guest reads it: number, width, offset, data, count, name. */
function headerOf(bar: 0 | 1, test: number, count: number): number[] {
  const { type, half } = BARS[bar]
  const number = bar * TESTS.length + test
  const name = Array.from(`${type}-${TESTS[test]}`, (c) => c.charCodeAt(0))
  const offset = littleEndian(half + number, 4)
  return [number, 1, 0, 0, ...offset, dataOf(test), 0, 0, 0, ...littleEndian(count, 4), ...name, 0]
}

/** FAh must be written to count; the wildcard test counts any value. */
const isWildcard = (test: number): boolean => TESTS[test] === 'wildcard-eventfd'
const dataOf = (test: number): number => (isWildcard(test) ? 0xce : 0xfa)

/**
 * pci-testdev (1B36:0005): BAR 0 in memory, BAR 1 in ports. Writing a test's number to offset 0 starts it; writes of
 * its data to its offset are counted.
 */
export function createPciTestdev(options: { readonly mapper: Mapper }): PciFunctionCore {
  const state = { bar: 0, test: -1, count: 0 }
  const registers = (bar: 0 | 1): IoHandlers => byteHandlers({
    read(offset) {
      if (state.test < 0) return 0
      return headerOf(state.bar === 0 ? 0 : 1, state.test, state.count).at(offset) ?? 0
    },
    write(offset, value) {
      if (offset === 0) {
        Object.assign(state, { bar, test: value < TESTS.length ? value : -1, count: 0 })
        return
      }
      if (state.test < 0) return
      const wanted = BARS[state.bar].half + state.bar * TESTS.length + state.test
      if (offset !== wanted || (!isWildcard(state.test) && value !== dataOf(state.test))) return
      state.count = (state.count + 1) % 2 ** 32
    },
  })
  const core = createPciFunction({
    name: 'pci-testdev',
    vendor: 0x1b36,
    device: 0x0005,
    classCode: 0x00_ff00,
    mapper: options.mapper,
    bars: [
      { index: 0, kind: 'memory32', size: 4096, handlers: registers(0) },
      { index: 1, kind: 'io', size: 256, handlers: registers(1) },
    ],
  })
  return {
    ...core,
    reset() {
      Object.assign(state, { bar: 0, test: -1, count: 0 })
      core.reset()
    },
    snapshot: (): PciFunctionSnapshot => ({ ...core.snapshot(), capabilities: [copyPlain(state)] }),
    restore(saved: PciFunctionSnapshot) {
      const inRange = { bar: 0, test: 0, count: 0 }
      restorePlain('pci-testdev', inRange, saved.capabilities[0])
      if (inRange.bar >> 1 !== 0 || inRange.test < -1 || inRange.test >= TESTS.length) {
        throw new SnapshotError('pci-testdev', 'test', 'a test that exists')
      }
      core.restore({ ...saved, capabilities: [] })
      Object.assign(state, inRange)
    },
  }
}
