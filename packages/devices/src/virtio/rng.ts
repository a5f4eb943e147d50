/**
 * Entropy device. Source: VIRTIO 1.2, section 5.4. Its numbers follow from a seed, as everything in a machine does:
 * sfc32 of PractRand (Doty-Humphrey), which is no cryptographic generator.
 */
import { copyPlain, restorePlain } from '../snapshot.ts'
import { VIRTIO_TYPE } from './constants.ts'
import type { VirtioDevice, VirtioPort } from './device.ts'

/** Options of {@link createVirtioRng}. */
export interface VirtioRngOptions {
  /** A safe integer; the same seed gives the same bytes. */
  readonly seed: number
}

/** Most bytes for one request; a driver that wants more asks again (section 5.4.6.1 lets the device give fewer). */
const MOST = 4096

const warmUp = (seed: number) => {
  const state = { a: seed | 0, b: Math.floor(seed / 2 ** 32) | 0, c: 0, counter: 1 }
  for (let i = 0; i < 12; i++) step(state)
  return state
}

function step(state: { a: number, b: number, c: number, counter: number }): number {
  const value = state.a + state.b + state.counter | 0
  state.counter = state.counter + 1 | 0
  state.a = state.b ^ state.b >>> 9
  state.b = state.c + (state.c << 3) | 0
  state.c = (state.c << 21 | state.c >>> 11) + value | 0
  return value
}

/** Creates the device. Its stream goes on over resets, so that a second driver gets other bytes. */
export function createVirtioRng(options: VirtioRngOptions): VirtioDevice {
  const state = warmUp(options.seed)
  let port: VirtioPort | undefined

  const random = (length: number): Uint8Array => {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += 4) {
      const value = step(state)
      for (let i = 0; i < 4 && at + i < length; i++) bytes[at + i] = value >>> 8 * i
    }
    return bytes
  }

  return {
    name: 'virtio-rng', type: VIRTIO_TYPE.ENTROPY, classCode: 0xff_0000, features: 0n, queueSizes: [8], latency: 10_000,
    configSize: 0,
    attach(given) { port = given },
    readConfig: () => 0,
    writeConfig: () => undefined,
    notify(index) {
      const queue = port?.queue(index)
      for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
        if (chain.readable > 0 || chain.writable === 0) {
          port?.fail('a request for entropy has a buffer to read, or none to write (5.4.6)')
          return
        }
        queue?.push(chain, chain.write(random(Math.min(MOST, chain.writable))))
      }
    },
    reset: () => undefined,
    snapshot: () => copyPlain(state),
    restore(saved) { restorePlain('virtio-rng', state, saved) },
  }
}
