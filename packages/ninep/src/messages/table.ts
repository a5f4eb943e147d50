/** All messages of 9P2000.L, by their number. */
import type { Message } from '../message.ts'
import { tgetattr, tsetattr, tstatfs, txattrcreate, txattrwalk } from './attributes.ts'
import { tfsync, tread, twrite } from './data.ts'
import { treaddir } from './directory.ts'
import { tgetlock, tlock } from './locks.ts'
import { tlink, tmkdir, treadlink, tremove, trename, trenameat, tsymlink, tunlinkat } from './names.ts'
import { tlcreate, tlopen, tmknod } from './open.ts'
import { tattach, tauth, tflush, tversion } from './session.ts'
import { tclunk, twalk } from './walk.ts'

const rows: readonly Message[] = [
  tstatfs, tlopen, tlcreate, tsymlink, tmknod, trename, treadlink, tgetattr, tsetattr, txattrwalk, txattrcreate,
  treaddir, tfsync, tlock, tgetlock, tlink, tmkdir, trenameat, tunlinkat, tversion, tauth, tattach, tflush, twalk,
  tread, twrite, tclunk, tremove,
]

/** The message that a request's type stands for. */
export const messages: ReadonlyMap<number, Message> = new Map(rows.map((row) => [row.type, row]))
