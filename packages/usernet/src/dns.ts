/** A DNS server that knows the names of one network, and refuses all others (RFC 1035). */
import { formatIpv4, viewOf } from './addresses.ts'

export const DNS_PORT = 53

const HEADER = 12
const TYPE = { A: 1, PTR: 12, ANY: 255 } as const
const INTERNET = 1
const RCODE = { OK: 0, FORMAT: 1, NOT_IMPLEMENTED: 4, REFUSED: 5 } as const
/** Short: a name that means the machine beside you is asked for again cheaply. */
const TTL = 60
const LONGEST_NAME = 255

/** Names, lower case, and their addresses. */
export type DnsNames = ReadonlyMap<string, number>

interface Question {
  readonly name: string
  readonly type: number
  readonly inClass: number
  /** The bytes of the question, which the reply repeats. */
  readonly bytes: Uint8Array
}

/** The first question; undefined when it breaks a rule. There is nothing before it that it could point to (4.1.4). */
function parseQuestion(message: Uint8Array): Question | undefined {
  const labels: string[] = []
  let at = HEADER
  for (;;) {
    const length = message.at(at)
    if (length === undefined || length > 63 || at + length + 1 > message.length) return undefined
    at += 1
    if (length === 0) break
    labels.push(String.fromCharCode(...message.subarray(at, at + length)))
    at += length
    if (at - HEADER > LONGEST_NAME) return undefined
  }
  if (at + 4 > message.length) return undefined
  const view = viewOf(message)
  const name = labels.join('.').toLowerCase()
  return { name, type: view.getUint16(at), inClass: view.getUint16(at + 2), bytes: message.subarray(HEADER, at + 4) }
}

const encodeName = (name: string): number[] =>
  [...name.split('.').flatMap((label) => [label.length, ...Array.from(label, (char) => char.charCodeAt(0))]), 0]

const word16 = (value: number): number[] => [value >>> 8 & 0xff, value & 0xff]

/** A record for the name of the question, which a pointer stands for. */
const record = (type: number, data: readonly number[]): number[] =>
  [0xc0, HEADER, ...word16(type), ...word16(INTERNET), 0, 0, ...word16(TTL), ...word16(data.length), ...data]

const reverseName = (address: number): string =>
  `${formatIpv4(address).split('.').reverse().join('.')}.in-addr.arpa`

/** The answers to a question; undefined for a name that is not ours. */
function answersOf(names: DnsNames, { name, type, inClass }: Question): number[][] | undefined {
  if (inClass !== INTERNET) return undefined
  const address = names.get(name)
  const isAddress = type === TYPE.A || type === TYPE.ANY
  if (address !== undefined) {
    return isAddress ? [record(TYPE.A, [24, 16, 8, 0].map((shift) => address >>> shift & 0xff))] : []
  }
  const owner = [...names].find(([, its]) => reverseName(its) === name)?.[0]
  if (owner === undefined) return undefined
  return type === TYPE.PTR || type === TYPE.ANY ? [record(TYPE.PTR, encodeName(owner))] : []
}

function reply(message: Uint8Array, rcode: number, question: Uint8Array, answers: readonly number[][]): Uint8Array {
  const records = answers.flat()
  const bytes = new Uint8Array(HEADER + question.length + records.length)
  const view = viewOf(bytes)
  bytes.set(message.subarray(0, 2))
  // QR, the question's opcode and RD, AA where we have an answer; recursion is not available
  bytes[2] = 0x80 | message[2] & 0x79 | (rcode === RCODE.OK ? 4 : 0)
  bytes[3] = rcode
  view.setUint16(4, question.length > 0 ? 1 : 0)
  view.setUint16(6, answers.length)
  bytes.set(question, HEADER)
  bytes.set(records, HEADER + question.length)
  return bytes
}

/** The reply to a query: the address, the name of an address, or REFUSED; undefined for what is no query. */
export function answerDns(names: DnsNames, message: Uint8Array): Uint8Array | undefined {
  if (message.length < HEADER || (message[2] & 0x80) !== 0) return undefined
  const none = new Uint8Array()
  if ((message[2] & 0x78) !== 0) return reply(message, RCODE.NOT_IMPLEMENTED, none, [])
  const question = viewOf(message).getUint16(4) === 1 ? parseQuestion(message) : undefined
  if (question === undefined) return reply(message, RCODE.FORMAT, none, [])
  const answers = answersOf(names, question)
  return reply(message, answers === undefined ? RCODE.REFUSED : RCODE.OK, question.bytes, answers ?? [])
}
