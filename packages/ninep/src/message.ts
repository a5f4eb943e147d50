/** How a message is declared: its number, the fields of request and reply, and what it does. */
import type { Answer } from './errno.ts'
import type { FidTable } from './fids.ts'
import type { NinePFiles } from './files.ts'
import type { Fields, Values } from './wire.ts'

/** What a message may use. */
export interface Session {
  readonly files: NinePFiles
  readonly fids: FidTable
  /** Bytes of the longest message that the server would agree to. */
  readonly largest: number
  /** Bytes of the longest message as agreed; 0 before Tversion. */
  msize: number
  /** Bytes that the reply to this request may have. */
  room: number
}

/** One message: a row of the table. */
export interface Message {
  /** The request's type; the reply's is one more. */
  readonly type: number
  readonly name: string
  readonly request: Fields
  readonly reply: Fields
  /** It changes files: EROFS on a tree that can't be written. */
  readonly changes: boolean
  readonly serve: (session: Session, request: never) => Answer<Values<Fields>>
}

/** What a row is made from. */
export interface MessageSpec<Q extends Fields, R extends Fields> {
  readonly type: number
  readonly name: string
  readonly request: Q
  readonly reply: R
  readonly changes?: boolean
  readonly serve: (session: Session, request: Values<Q>) => Answer<Values<R>>
}

/** Declares a message; its fields give the types of what `serve` takes and returns. */
export const message = <const Q extends Fields, const R extends Fields>(spec: MessageSpec<Q, R>): Message =>
  ({ changes: false, ...spec })
