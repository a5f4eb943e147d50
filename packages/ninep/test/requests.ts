/** Random requests: most are sound and hit something, some are mutated. The same seed gives the same requests. */
import { ninePMessages, type FieldTypes, type NinePServer } from '../src/index.ts'
import { readReply, requestBytes } from './client.ts'

/** xorshift32: numbers from 0 to `limit` − 1. */
export const createRandom = (seed: number): ((limit: number) => number) => {
  let state = seed | 1
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
}

type Random = ReturnType<typeof createRandom>

const names = ['a', 'b', 'dir', 'link', 'file', 'ä', 'x'.repeat(255)]
const badNames = ['', '.', '..', '/', 'a/b', '../a', 'a\0', 'y'.repeat(256), '\u{1f600}'.repeat(64)]
const targets = ['a', '..', '../../../../etc/passwd', '/etc/passwd', '/', '.', 'dir/../..']
const offsets = [0n, 1n, 2n, 3n, 100n, 4095n, 2n ** 31n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]
const words = [0, 1, 2, 4, 8, 0o101, 0o102, 0o1001, 0o1002, 0o2001, 0o200000, 0x200, 0x1ff, 0o755, 0o100644, 0o020666,
  0o7777, 4096, 65_536, 0x7fff_ffff, 0xffff_ffff]

const fieldOf = (random: Random): { readonly [K in keyof FieldTypes]: (field: string) => FieldTypes[K] } => {
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]
  const name = (): string => (random(12) === 0 ? pick(badNames) : pick(names))
  const qid = () => ({ type: random(256), version: random(2 ** 31), path: pick(offsets) })
  return {
    u8: () => random(256),
    u16: () => random(65_536),
    u32: (field) => (/fid|dirfd/i.test(field) ? random(10) : pick(words)),
    u64: () => pick(offsets),
    text: (field) =>
      (field === 'version' ? pick(['9P2000.L', '9P2000.L', '9P2000', '']) : field === 'aname' ? '' : pick(targets)),
    name,
    names: () => Array.from({ length: random(4) }, name),
    data: () => new Uint8Array(random(300)).fill(random(256)),
    qid,
    qids: () => [qid()],
  }
}

const rows = [...ninePMessages.values()]
// sessions that start anew all the time would never come far
const rare = new Set(['Tversion', 'Tremove', 'Tclunk', 'Tunlinkat'])

/** One request: a sound message, or what a few changed bytes make of one. */
export const randomRequest = (random: Random): { readonly name: string; readonly bytes: Uint8Array } => {
  let row = rows[random(rows.length)]
  if (rare.has(row.name) && random(8) > 0) row = rows[random(rows.length)]
  const make = fieldOf(random)
  const values = Object.fromEntries(Object.entries(row.request).map(([field, kind]) => [field, make[kind](field)]))
  if (row.name === 'Tattach') values.afid = 0xffff_ffff
  if (row.name === 'Tversion') values.msize = 8192
  const bytes = requestBytes(row.name, values, random(65_536))
  if (random(4) > 0) return { name: row.name, bytes }
  const mutated = random(3) === 0 ? bytes.slice(0, random(bytes.length + 1)) : bytes
  for (let i = random(4); i > 0 && mutated.length > 0; i--) mutated[random(mutated.length)] = random(256)
  if (mutated.length >= 4 && random(2) === 0) new DataView(mutated.buffer).setUint32(0, mutated.length, true)
  return { name: row.name, bytes: mutated }
}

/** What a reply to any bytes must be: whole, of the type and tag of the request, not longer than there is room. */
export const replyFault = (request: Uint8Array, reply: Uint8Array, room: number): string | undefined => {
  if (reply.length === 0) return room < 11 ? undefined : 'no reply'
  if (reply.length > room) return 'longer than the room'
  const view = new DataView(reply.buffer, reply.byteOffset, reply.length)
  if (view.getUint32(0, true) !== reply.length) return 'a wrong size'
  const row = ninePMessages.get(request[4])
  const type = reply[4]
  if (type === 7) {
    const errno = view.getUint32(7, true)
    return reply.length === 11 && errno > 0 && errno < 4096 ? undefined : 'a wrong Rlerror'
  }
  if (row === undefined || type !== row.type + 1) return `type ${type}`
  if (reply[5] !== request[5] || reply[6] !== request[6]) return 'a wrong tag'
  return readReply(row.name, reply).errno === undefined ? undefined : 'fields that do not decode'
}

/** Serves random requests; answers what was wrong with the first reply that was. Exceptions pass. */
export const fuzzServer = (server: NinePServer, cases: number, seed: number): string | undefined => {
  const random = createRandom(seed)
  const start = (): void => {
    server.serve(requestBytes('Tversion', { msize: 8192, version: '9P2000.L' }), 8192)
    server.serve(requestBytes('Tattach', { fid: 0, afid: 0xffff_ffff, uname: '', aname: '', uid: 0 }), 8192)
    for (let newfid = 1; newfid < 6; newfid++) {
      server.serve(requestBytes('Twalk', { fid: 0, newfid, names: newfid % 2 === 0 ? ['dir'] : [] }), 8192)
    }
  }
  for (let i = 0; i < cases; i++) {
    if (i % 500 === 0) start()
    const { name, bytes } = randomRequest(random)
    const room = random(20) === 0 ? random(64) : 8192
    const fault = replyFault(bytes, server.serve(bytes, room), room)
    if (fault !== undefined) return `case ${i}, ${name} [${bytes.join(' ')}], room ${room}: ${fault}`
  }
  return undefined
}
