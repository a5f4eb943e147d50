/** A 9P2000.L server: requests in, replies out. Sources: plan 9 manual, section 5; the 9P2000.L protocol of diod. */
import { Errno, failed, type Answer } from './errno.ts'
import { createFidTable, defaultLimits, type FidLimits } from './fids.ts'
import type { NinePFiles } from './files.ts'
import type { Session } from './message.ts'
import { NOTAG, SMALLEST_MSIZE } from './messages/session.ts'
import { messages } from './messages/table.ts'
import { restoreFids, saveFids, type NinePSnapshot } from './snapshot.ts'
import { decode, encode, HEADER } from './wire.ts'

/** Options of {@link createNinePServer}. */
export interface NinePOptions {
  readonly files: NinePFiles
  /** Bytes of the longest message, 4096 to 2²⁴, default 2¹⁹. */
  readonly msize?: number
  readonly limits?: Partial<FidLimits>
}

/** A server for one client. */
export interface NinePServer {
  /**
   * Serves one request and answers the reply: always one, an error as Rlerror. `room` is how many bytes the client has
   * for it; a reply that fits nowhere is empty. The request is only looked at during the call.
   */
  serve(request: Uint8Array, room: number): Uint8Array
  /** The client is gone: forgets all fids and the agreed version. */
  reset(): void
  snapshot(): NinePSnapshot
  /**
   * Opens again, by their paths, the files that were open.
   * @returns the paths of those that are there no more; their fids answer ESTALE
   * @throws NinePSnapshotError for a snapshot that is none
   */
  restore(saved: unknown): readonly string[]
}

/** Rlerror: type 7, with a 32-bit error number. */
const RLERROR = 7
const ERROR_SIZE = HEADER + 4

const errorReply = (tag: number, errno: number, room: number): Uint8Array => {
  const values = { type: RLERROR, tag, fields: { ecode: 'u32' }, values: { ecode: errno }, room } as const
  const reply = encode(values)
  return failed(reply) ? new Uint8Array() : reply
}

interface Envelope {
  readonly type: number
  readonly tag: number
  readonly body: Uint8Array
}

/** The header of a request: its length must be the number of bytes that came, and be as agreed. */
function open(request: Uint8Array, msize: number): Envelope | undefined {
  if (request.length < HEADER || request.length > Math.max(msize, SMALLEST_MSIZE)) return undefined
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength)
  if (view.getUint32(0, true) !== request.length) return undefined
  return { type: view.getUint8(4), tag: view.getUint16(5, true), body: request.subarray(HEADER) }
}

/** Does what a request asks for and encodes what comes of it. */
function answer(session: Session, { type, tag, body }: Envelope): Answer<Uint8Array> {
  const row = messages.get(type)
  if (row === undefined) return { errno: Errno.EOPNOTSUPP }
  const request = decode(row.request, body)
  if (failed(request)) return request
  if (session.msize === 0 && row.name !== 'Tversion') return { errno: Errno.EPROTO }
  if (row.changes && !session.files.writable) return { errno: Errno.EROFS }
  const values = row.serve(session, request as never)
  if (failed(values)) return values
  return encode({ type: type + 1, tag, fields: row.reply, values, room: session.room })
}

/** Creates a server over a tree of files. */
export function createNinePServer({ files, msize = 2 ** 19, limits }: NinePOptions): NinePServer {
  const fids = createFidTable({ ...defaultLimits, ...limits })
  const session: Session = { files, fids, largest: msize, msize: 0, room: 0 }
  return {
    serve(request, room) {
      const envelope = open(request, session.msize)
      if (envelope === undefined) return errorReply(NOTAG, Errno.EPROTO, room)
      session.room = Math.min(room, session.msize === 0 ? session.largest : session.msize)
      // nothing is changed for a client that could not even be told that it failed
      if (session.room < ERROR_SIZE) return new Uint8Array()
      const reply = answer(session, envelope)
      return failed(reply) ? errorReply(envelope.tag, reply.errno, session.room) : reply
    },
    reset() {
      fids.clear()
      session.msize = 0
    },
    snapshot: () => saveFids(session),
    restore: (saved) => restoreFids(session, saved),
  }
}
