/**
 * Console device with one port. Source: VIRTIO 1.2, section 5.3. Output is taken as it comes; input waits here, up to
 * {@link INPUT_LIMIT} bytes, until the driver offers buffers.
 */
import { layout } from '@cofferdam/spec'
import { SnapshotError } from '../snapshot.ts'
import { VIRTIO_TYPE } from './constants.ts'
import type { VirtioDevice, VirtioPort } from './device.ts'

/** Feature bits (section 5.3.3), those that are offered. */
export const CONSOLE_FEATURE = { SIZE: 1n << 0n, EMERG_WRITE: 1n << 2n } as const

/** `struct virtio_console_config` (section 5.3.4). */
const ConsoleConfig = layout(12, { cols: [0, 2], rows: [2, 2], maxPorts: [4, 4], emergencyWrite: [8, 4] })

/** Options of {@link createVirtioConsole}. */
export interface VirtioConsoleOptions {
  /** Takes what the guest sends; the bytes are valid during the call only. */
  readonly onOutput: (bytes: Uint8Array) => void
  /** Characters across and down, 80 and 25 unless told. */
  readonly columns?: number
  readonly rows?: number
}

/** A console, and the host's side of it. */
export interface VirtioConsole extends VirtioDevice {
  /** Offers input; answers how many bytes were taken. Offer the rest again when the guest has read some. */
  receive(bytes: Uint8Array): number
}

const RECEIVE = 0
const TRANSMIT = 1
const LATENCY = 5_000
/** Bytes of input that wait at most. */
export const INPUT_LIMIT = 4096
/** Most bytes of one request; drivers send some pages at a time. */
const REQUEST_LIMIT = 2 ** 20
const CHUNK = 4096

/** Creates a console. */
export function createVirtioConsole(options: VirtioConsoleOptions): VirtioConsole {
  const config = new DataView(ConsoleConfig.create({
    cols: options.columns ?? 80, rows: options.rows ?? 25, maxPorts: 1,
  }).buffer)
  const chunk = new Uint8Array(CHUNK)
  let input: number[] = []
  let port: VirtioPort | undefined

  const transmit = (): void => {
    const queue = port?.queue(TRANSMIT)
    let sent = 0
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      if (chain.writable > 0 || chain.readable > REQUEST_LIMIT) {
        port?.fail(`output of ${chain.readable} bytes, and ${chain.writable} to write (5.3.6)`)
        return
      }
      for (let at = 0; at < chain.readable; at += CHUNK) {
        const length = chain.read(chunk.subarray(0, Math.min(CHUNK, chain.readable - at)), at)
        if (length === 0) return
        options.onOutput(chunk.subarray(0, length))
      }
      queue?.push(chain, 0)
      sent += chain.readable
      if (sent >= REQUEST_LIMIT) {
        port?.notifyLater(TRANSMIT, LATENCY)
        return
      }
    }
  }
  const deliver = (): void => {
    const queue = port?.queue(RECEIVE)
    while (input.length > 0) {
      const chain = queue?.pop()
      if (chain === undefined) return
      const length = chain.write(Uint8Array.from(input.slice(0, Math.min(input.length, chain.writable))))
      if (length === 0) {
        port?.fail('a buffer for input that takes none (5.3.6)')
        return
      }
      input = input.slice(length)
      queue?.push(chain, length)
    }
  }

  return {
    name: 'virtio-console', type: VIRTIO_TYPE.CONSOLE, classCode: 0x07_8000,
    features: CONSOLE_FEATURE.SIZE | CONSOLE_FEATURE.EMERG_WRITE,
    queueSizes: [64, 64], latency: LATENCY, configSize: ConsoleConfig.size,
    attach(given) { port = given },
    readConfig: (offset) => config.getUint8(offset),
    writeConfig(offset, value) {
      // Section 5.3.4: works at any time, before the driver has negotiated too.
      if (offset === ConsoleConfig.offset.emergencyWrite) options.onOutput(Uint8Array.of(value))
    },
    start() { if (input.length > 0) port?.notifyLater(RECEIVE, LATENCY) },
    notify(index) {
      if (index === TRANSMIT) transmit()
      else deliver()
    },
    receive(bytes) {
      const taken = Math.min(bytes.length, INPUT_LIMIT - input.length)
      for (let i = 0; i < taken; i++) input.push(bytes[i])
      if (taken > 0) port?.notifyLater(RECEIVE, LATENCY)
      return taken
    },
    reset() { input = [] },
    snapshot: () => input.slice(),
    restore(saved) {
      const bytes: unknown = saved
      const isByte = (value: unknown): boolean => typeof value === 'number' && value === (value & 0xff)
      if (!Array.isArray(bytes) || bytes.length > INPUT_LIMIT || !bytes.every(isByte)) {
        throw new SnapshotError('virtio-console', 'input', `at most ${INPUT_LIMIT} bytes`)
      }
      input = bytes.slice() as number[]
    },
  }
}
