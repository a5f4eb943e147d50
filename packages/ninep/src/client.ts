/** The client's side of a message: requests by name, replies as records. For tests, tools and whoever has no kernel. */
import { fail, failed, type Answer } from './errno.ts'
import type { Message } from './message.ts'
import { messages } from './messages/table.ts'
import { decode, encode, HEADER, type Fields, type Values } from './wire.ts'

const byName: ReadonlyMap<string, Message> = new Map([...messages.values()].map((row) => [row.name, row]))

/**
 * The bytes of a request.
 * @param name - e.g. `Twalk`; its fields are those of the table
 * @throws Error for a name that is no message
 */
export function encodeRequest(name: string, values: Values<Fields>, tag = 1): Uint8Array {
  const row = byName.get(name)
  const bytes = row && encode({ type: row.type, tag, fields: row.request, values, room: 2 ** 32 })
  if (bytes === undefined || failed(bytes)) throw new Error(`9p: no message '${name}'`)
  return bytes
}

/** What a reply to `name` says; an Rlerror is a failure, and what can't be read is EPROTO. */
export function decodeReply(name: string, bytes: Uint8Array): Answer<Values<Fields>> {
  const row = byName.get(name)
  if (row === undefined || bytes.length < HEADER) return fail('EPROTO')
  const body = bytes.subarray(HEADER)
  if (bytes[4] === 7) {
    const error = decode({ ecode: 'u32' }, body)
    return failed(error) ? error : { errno: error.ecode }
  }
  return bytes[4] === row.type + 1 ? decode(row.reply, body) : fail('EPROTO')
}
