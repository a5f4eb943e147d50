/** A DHCP server (RFC 2131, options of RFC 2132) with an address for each of a few hardware addresses. */
import { formatMac, LIMITED_BROADCAST, parseMac, viewOf } from './addresses.ts'

/** Ports of server and client. */
export const DHCP_PORT = { SERVER: 67, CLIENT: 68 } as const

const OPTION = {
  PAD: 0, MASK: 1, ROUTER: 3, DNS: 6, DOMAIN: 15, MTU: 26, BROADCAST: 28, ADDRESS: 50, LEASE: 51, TYPE: 53, SERVER: 54,
  END: 255,
} as const
const TYPE = { DISCOVER: 1, OFFER: 2, REQUEST: 3, DECLINE: 4, ACK: 5, NAK: 6, RELEASE: 7, INFORM: 8 } as const

/** Fixed part of a message with the magic cookie. */
const FIXED = 240
const COOKIE = 0x6382_5363
/** A day; nothing else wants the address. */
const LEASE_SECONDS = 86_400
/** RFC 1542, section 2.1: relays may want so many bytes. */
const SMALLEST = 300

/** What the server hands out. */
export interface DhcpOptions {
  readonly server: number
  readonly mask: number
  /** The first client's address; the next ones follow it. */
  readonly first: number
  /** How many addresses there are. */
  readonly count: number
  readonly domain: string
  readonly mtu: number
}

/** A reply and where it goes. */
export interface DhcpReply {
  readonly mac: string
  readonly address: number
  readonly data: Uint8Array
}

/** The server. */
export interface DhcpServer {
  /** The reply to a message from a frame of that source; undefined when none is due. */
  serve(message: Uint8Array): DhcpReply | undefined
  /** Hardware addresses in the order of their addresses. */
  leases(): readonly string[]
  clear(): void
  /** Answers whether the data was a list of hardware addresses. */
  restore(saved: unknown): boolean
}

interface Request {
  readonly type: number
  readonly mac: string
  readonly header: Uint8Array
  readonly clientAddress: number
  readonly wantsBroadcast: boolean
  readonly requested: number | undefined
  readonly server: number | undefined
}

/** Options by their code; undefined when they run over the end. */
function parseOptions(bytes: Uint8Array): Map<number, Uint8Array> | undefined {
  const options = new Map<number, Uint8Array>()
  for (let at = FIXED; at < bytes.length && bytes[at] !== OPTION.END;) {
    const code = bytes[at++]
    if (code === OPTION.PAD) continue
    const length = bytes.at(at) ?? Infinity
    if (at + 1 + length > bytes.length) return undefined
    options.set(code, bytes.subarray(at + 1, at + 1 + length))
    at += 1 + length
  }
  return options
}

function parseRequest(bytes: Uint8Array): Request | undefined {
  if (bytes.length < FIXED) return undefined
  const view = viewOf(bytes)
  const isRequest = bytes[0] === 1 && bytes[1] === 1 && bytes[2] === 6 && view.getUint32(236) === COOKIE
  const options = isRequest ? parseOptions(bytes) : undefined
  const type = options?.get(OPTION.TYPE)
  if (type?.length !== 1) return undefined
  const address = (code: number): number | undefined => {
    const value = options?.get(code)
    return value?.length === 4 ? viewOf(value).getUint32(0) : undefined
  }
  return {
    type: type[0], mac: formatMac(bytes.subarray(28)), header: bytes.subarray(0, 44),
    clientAddress: view.getUint32(12), wantsBroadcast: (view.getUint16(10) & 0x8000) !== 0,
    requested: address(OPTION.ADDRESS), server: address(OPTION.SERVER),
  }
}

const word = (value: number): number[] => [24, 16, 8, 0].map((shift) => value >>> shift & 0xff)
const option = (code: number, bytes: readonly number[]): number[] => [code, bytes.length, ...bytes]

/** Creates the server. */
export function createDhcpServer(config: DhcpOptions): DhcpServer {
  const { server, mask, first, count } = config
  const leases: string[] = []

  const addressOf = (mac: string): number | undefined => {
    const known = leases.indexOf(mac)
    if (known >= 0) return first + known
    if (leases.length >= count) return undefined
    return first + leases.push(mac) - 1
  }

  const network = (): number[] => [
    ...option(OPTION.MASK, word(mask)), ...option(OPTION.ROUTER, word(server)), ...option(OPTION.DNS, word(server)),
    ...option(OPTION.BROADCAST, word((server | ~mask) >>> 0)),
    ...option(OPTION.MTU, [config.mtu >>> 8, config.mtu & 0xff]),
    ...option(OPTION.DOMAIN, Array.from(config.domain, (char) => char.charCodeAt(0))),
  ]

  /** Table 3 of RFC 2131: fields and options of a reply. */
  const reply = (request: Request, type: number, address: number): DhcpReply => {
    const isNak = type === TYPE.NAK
    const isLease = !isNak && request.type !== TYPE.INFORM
    const options = [
      ...option(OPTION.TYPE, [type]), ...option(OPTION.SERVER, word(server)),
      ...(isLease ? option(OPTION.LEASE, word(LEASE_SECONDS)) : []), ...(isNak ? [] : network()), OPTION.END,
    ]
    const data = new Uint8Array(Math.max(SMALLEST, FIXED + options.length))
    const view = viewOf(data)
    data.set(request.header)
    data[0] = 2
    data[3] = 0
    view.setUint16(8, 0)
    view.setUint32(12, isNak ? 0 : request.clientAddress)
    view.setUint32(16, isLease ? address : 0)
    view.setUint32(20, isLease ? server : 0)
    view.setUint32(236, COOKIE)
    data.set(options, FIXED)
    // Section 4.1: to the address that the client has, or to the one that it gets, or to all
    const knows = request.clientAddress !== 0 && !isNak
    const toAll = isNak || (!knows && request.wantsBroadcast)
    const to = toAll ? LIMITED_BROADCAST : knows ? request.clientAddress : address
    return { mac: toAll ? 'ff:ff:ff:ff:ff:ff' : request.mac, address: to, data }
  }

  /** Section 4.3.2. */
  const onRequest = (request: Request): DhcpReply | undefined => {
    if (request.server !== undefined && request.server !== server) return undefined
    const wanted = request.requested ?? request.clientAddress
    const address = addressOf(request.mac)
    if (address === undefined) return undefined
    return wanted === address ? reply(request, TYPE.ACK, address) : reply(request, TYPE.NAK, 0)
  }

  return {
    serve(message) {
      const request = parseRequest(message)
      if (request === undefined || (parseMac(request.mac)?.[0] ?? 1) & 1) return undefined
      if (request.type === TYPE.REQUEST) return onRequest(request)
      if (request.type === TYPE.INFORM) return reply(request, TYPE.ACK, request.clientAddress)
      if (request.type !== TYPE.DISCOVER) return undefined
      const address = addressOf(request.mac)
      return address === undefined ? undefined : reply(request, TYPE.OFFER, address)
    },
    leases: () => [...leases],
    clear() { leases.length = 0 },
    restore(saved) {
      leases.length = 0
      if (!Array.isArray(saved) || saved.length > count) return false
      if (!saved.every((mac) => typeof mac === 'string' && parseMac(mac) !== undefined)) return false
      leases.push(...saved as string[])
      return true
    },
  }
}
