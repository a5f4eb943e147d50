import { InvalidArgumentError } from 'commander'
import { parseIpv4, parseMac } from '@cofferdam/usernet'

/** What `--net` says. */
export interface NetArgument {
  /** The card's hardware address; from the seed when absent. */
  readonly mac?: string
}

const refuse = (expected: string): InvalidArgumentError => new InvalidArgumentError(`expected ${expected}`)

/** `user[,mac=ADDRESS]`. */
export const parseNet = (text: string): NetArgument => {
  const [kind, option, ...more] = text.split(',')
  if (kind !== 'user' || more.length > 0) throw refuse('user, or user,mac=52:54:00:12:34:56')
  if (option === undefined) return {}
  const mac = option.startsWith('mac=') ? option.slice('mac='.length) : ''
  const bytes = parseMac(mac)
  if (bytes === undefined || (bytes[0] ?? 1) % 2 === 1) {
    throw refuse('mac= and six bytes such as 52:54:00:12:34:56, the first one even')
  }
  return { mac }
}

/** What `--forward` says. */
export interface ForwardArgument {
  /** A loopback address. */
  readonly host: string
  /** 0: any that is free. */
  readonly port: number
  readonly guestPort: number
}

const portOf = (text: string | undefined, least: number): number | undefined => {
  const port = text !== undefined && /^\d{1,5}$/.test(text) ? Number(text) : NaN
  return port >= least && port <= 65_535 ? port : undefined
}

const isLoopback = (host: string): boolean => host === '::1' || (parseIpv4(host) ?? 0) >>> 24 === 127

/** `ADDRESS:PORT:GUESTPORT`, repeated. Only loopback addresses: nobody else is let in. */
export const parseForward = (text: string, before: readonly ForwardArgument[] = []): ForwardArgument[] => {
  const [, v6, v4, first, second] = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*):([^:]*)$/.exec(text) ?? []
  const host = v6 ?? v4
  const [port, guestPort] = [portOf(first, 0), portOf(second, 1)]
  if (host === undefined || port === undefined || guestPort === undefined) {
    throw refuse('ADDRESS:PORT:GUESTPORT, such as 127.0.0.1:8080:80')
  }
  if (!isLoopback(host)) throw refuse(`a loopback address, such as 127.0.0.1 or [::1]; '${host}' would let others in`)
  return [...before, { host, port, guestPort }]
}
