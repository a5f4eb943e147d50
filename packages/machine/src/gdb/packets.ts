/**
 * Packets of gdb's remote protocol ("Debugging with GDB", appendix E): `$data#checksum`, with `}` before escaped bytes
 * and `+` or `-` as acknowledgement, until both sides agree to do without.
 */

/** What may come in: a packet's text, or the interrupt character. */
export type Incoming = { readonly kind: 'packet'; readonly text: string } | { readonly kind: 'interrupt' }

/** Longest packet that is taken, in bytes; gdb is told of it. */
export const PACKET_SIZE = 0x4000

const code = (character: string): number => character.charCodeAt(0)
const START = code('$')
const END = code('#')
const ESCAPE = code('}')
const INTERRUPT = 3

const checksum = (text: string): number => {
  let sum = 0
  for (let i = 0; i < text.length; i++) sum = (sum + text.charCodeAt(i)) & 0xff
  return sum
}
const hex2 = (n: number): string => n.toString(16).padStart(2, '0')

/** A packet as it is sent. Characters are bytes. */
export function framePacket(text: string): string {
  const escaped = text.replace(/[#$}*]/g, (c) => `}${String.fromCharCode(code(c) ^ 0x20)}`)
  return `$${escaped}#${hex2(checksum(escaped))}`
}

export interface PacketReader {
  /** Takes bytes as they come; answers what is complete. `reply` gets acknowledgements. */
  take(bytes: Uint8Array): Incoming[]
  /** Acknowledgements end here. */
  stopAcknowledging(): void
}

/** Reads packets out of a stream of bytes. What is damaged is asked for again; what is too long is dropped. */
export function createPacketReader(acknowledge: (sign: '+' | '-') => void): PacketReader {
  let body: number[] | null = null
  let tail = ''
  let inTail = false
  let acknowledges = true

  const finish = (raw: readonly number[]): Incoming | null => {
    const escaped = String.fromCharCode(...raw)
    const good = raw.length <= PACKET_SIZE && checksum(escaped) === Number.parseInt(tail, 16)
    if (acknowledges) acknowledge(good ? '+' : '-')
    if (!good) return null
    let text = ''
    for (let i = 0; i < raw.length; i++) text += String.fromCharCode(raw[i] === ESCAPE ? raw[++i] ^ 0x20 : raw[i])
    return { kind: 'packet', text }
  }

  return {
    take(bytes) {
      const found: Incoming[] = []
      for (const byte of bytes) {
        if (byte === START && !inTail) {
          body = []
        } else if (body === null) {
          if (byte === INTERRUPT) found.push({ kind: 'interrupt' })
        } else if (inTail) {
          tail += String.fromCharCode(byte)
          if (tail.length < 2) continue
          const packet = finish(body)
          if (packet !== null) found.push(packet)
          body = null
          inTail = false
        } else if (byte === END) {
          inTail = true
          tail = ''
        } else if (body.length <= PACKET_SIZE) {
          body.push(byte)
        }
      }
      return found
    },
    stopAcknowledging() { acknowledges = false },
  }
}
