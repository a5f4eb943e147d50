/** Hardware addresses of the guest's addresses, and packets that wait for one. */
import { parseMac } from './addresses.ts'

/** Options of {@link createNeighbours}. */
export interface NeighbourOptions {
  readonly send: (mac: string, packet: Uint8Array) => void
  /** Asks who has an address. */
  readonly ask: (address: number) => void
}

/** The neighbours of the gateway. */
export interface Neighbours {
  learn(address: number, mac: string): void
  /** Sends a packet, or keeps it and asks; one that waits too long gives way to later ones. */
  send(address: number, packet: Uint8Array): void
  clear(): void
  snapshot(): readonly (readonly [address: number, mac: string])[]
  /** Answers whether the data was of that form. */
  restore(saved: unknown): boolean
}

/** One guest has few addresses. */
const MOST = 32
/** Packets that wait for an answer, of all addresses together. */
const MOST_WAITING = 16

const isEntry = (entry: unknown): entry is readonly [number, string] =>
  Array.isArray(entry) && Number.isSafeInteger(entry[0])
  && typeof entry[1] === 'string' && parseMac(entry[1]) !== undefined

/** Creates an empty table. */
export function createNeighbours({ send, ask }: NeighbourOptions): Neighbours {
  const known = new Map<number, string>()
  let waiting: { readonly address: number, readonly packet: Uint8Array }[] = []
  return {
    learn(address, mac) {
      if (known.get(address) === mac) return
      known.delete(address)
      const oldest = known.keys().next()
      if (known.size >= MOST && oldest.done !== true) known.delete(oldest.value)
      known.set(address, mac)
      const ready = waiting.filter((one) => one.address === address)
      waiting = waiting.filter((one) => one.address !== address)
      for (const { packet } of ready) send(mac, packet)
    },
    send(address, packet) {
      const mac = known.get(address)
      if (mac !== undefined) {
        send(mac, packet)
        return
      }
      waiting = [...waiting.slice(-(MOST_WAITING - 1)), { address, packet }]
      ask(address)
    },
    clear() {
      known.clear()
      waiting = []
    },
    snapshot: () => [...known],
    restore(saved) {
      known.clear()
      waiting = []
      if (!Array.isArray(saved) || saved.length > MOST || !saved.every(isEntry)) return false
      for (const [address, mac] of saved as readonly (readonly [number, string])[]) known.set(address, mac)
      return true
    },
  }
}
